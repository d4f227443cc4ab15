"""What `underlay lab` does: build a cluster, show it, test it, demonstrate what plugins do, take it down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from underlay.explain.text import commands_text
from underlay.lab import interrupt
from underlay.lab.changes import changes
from underlay.lab.cluster import Cluster
from underlay.lab.lab import Lab
from underlay.lab.matrix import measure
from underlay.lab.networks import Variant
from underlay.lab.progress import step
from underlay.lab.scenario import Deployment, Scenario, deployed
from underlay.lab.scenarios import SCENARIOS
from underlay.lab.tables import cluster_table, matrix_table, traces_text, verdict
from underlay.lab.traces import Traces


def up(lab: Lab, scenario: Scenario, variant: Variant, console: Console) -> None:
    """Builds the cluster and leaves it there; what is half built is taken down."""
    with interrupt.interruptible():
        lab.reserve()
        try:
            _attach(Deployment(_build(lab, console), scenario), variant, console)
        except BaseException:
            lab.down()
            raise
    show(lab, console)


def show(lab: Lab, console: Console) -> None:
    """Prints the machines of the lab that is up."""
    here, variant = deployed(Cluster(lab), SCENARIOS)
    console.print(f"Scenario {here.scenario.name}: {here.scenario.text}")
    console.print(f"The pods are made with {variant.made_with}.")
    console.print(cluster_table(here))


def test(lab: Lab, console: Console) -> bool:
    """Prints the matrix of the lab that is up; whether every row is as it must be."""
    return _matrix(*deployed(Cluster(lab), SCENARIOS), console)


def demo(lab: Lab, scenarios: Sequence[Scenario], console: Console) -> bool:
    """Each scenario's matrix in each of its variants, and what our plugin changed. It leaves nothing."""
    with _for_a_while(lab):
        cluster = _build(lab, console)
        right = [_demonstrate(Deployment(cluster, scenario), console) for scenario in scenarios]
    console.print("All of it is taken down.")
    return all(right)


def _demonstrate(here: Deployment, console: Console) -> bool:
    console.print()
    console.rule(f"[bold]{here.scenario.name}", align="left")
    console.print(here.scenario.text)
    console.print()
    before = Traces(here.cluster) if here.scenario.shared else None
    right = [_demonstrate_variant(here, variant, before, console) for variant in here.scenario.variants]
    return all(right)


def _demonstrate_variant(
    here: Deployment, variant: Variant, before: Traces | None, console: Console
) -> bool:
    _attach(here, variant, console)
    is_right = _matrix(here, variant, console)
    if variant == here.scenario.variants[-1]:
        _print_changes(here, console)
    with step(console, "deleting the pods"):
        here.detach()
    if before:
        is_right = _left_nothing(before, console) and is_right
    return is_right


@contextmanager
def _for_a_while(lab: Lab) -> Iterator[None]:
    """Takes the lab down at the end, whatever the end is."""
    with interrupt.interruptible():
        lab.reserve()
        try:
            yield
        finally:
            try:
                interrupt.ignore()  # a signal that comes between these lines still finds `down` ahead
            finally:
                lab.down()


def _build(lab: Lab, console: Console) -> Cluster:
    cluster = Cluster(lab)
    with step(console, "building two LANs, two nodes, gateways, an overlay"):
        cluster.build()
    return cluster


def _attach(here: Deployment, variant: Variant, console: Console) -> None:
    with step(console, f"attaching pods with {variant.made_with}"):
        here.attach(variant)


def _matrix(here: Deployment, variant: Variant, console: Console) -> bool:
    with step(console, "sending TCP and UDP every way"):
        lines = measure(here.rows)
    console.print()
    console.print(f"With {variant.made_with}:", style="bold")
    console.print(matrix_table(lines, variant, console.width))
    console.print(verdict(lines, variant))
    if variant.remark:
        console.print(variant.remark, style="dim")
    console.print()
    return all(line.is_expected(variant) for line in lines)


def _left_nothing(before: Traces, console: Console) -> bool:
    left = before.left()
    console.print(traces_text(left), soft_wrap=bool(left))
    console.print()
    return not left


def _print_changes(here: Deployment, console: Console) -> None:
    """A terminal gets lines that fit, anything else a line for each command."""
    nic = here.scene.shown
    plugin = here.scenario.plugin
    console.print(f"What the ADD of {plugin} did for {nic.ifname} of {nic.pod.name}:", style="bold")
    width = console.width if console.is_terminal else None
    for heading, commands in changes(here.cluster, nic):
        console.print()
        console.print(heading, style="cyan")
        console.print(commands_text(commands, width), soft_wrap=True)
    console.print()
