"""What `underlay lab` does: build a cluster, show it, test it, demonstrate the difference, take it down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from underlay.lab import interrupt
from underlay.lab.changes import changes
from underlay.lab.cluster import Cluster
from underlay.lab.lab import Lab
from underlay.lab.matrix import measure
from underlay.lab.networks import Chain
from underlay.lab.progress import step
from underlay.lab.scenario import Deployment, Scenario, deployed
from underlay.lab.scenarios import SCENARIOS
from underlay.lab.tables import cluster_table, commands_text, matrix_table, verdict


def up(lab: Lab, scenario: Scenario, chain: Chain, console: Console) -> None:
    """Builds the cluster and leaves it there; what is half built is taken down."""
    with interrupt.interruptible():
        lab.reserve()
        try:
            _attach(Deployment(_build(lab, console), scenario), chain, console)
        except BaseException:
            lab.down()
            raise
    show(lab, console)


def show(lab: Lab, console: Console) -> None:
    """Prints the machines of the lab that is up."""
    here, chain = deployed(Cluster(lab), SCENARIOS)
    console.print(f"Scenario {here.scenario.name}: {here.scenario.text}")
    console.print(f"The pods are made with {here.scenario.made_with(chain)}.")
    console.print(cluster_table(here))


def test(lab: Lab, console: Console) -> bool:
    """Prints the matrix of the lab that is up; whether every row is as it must be."""
    return _matrix(*deployed(Cluster(lab), SCENARIOS), console)


def demo(lab: Lab, scenarios: Sequence[Scenario], console: Console) -> bool:
    """Each scenario's matrix without and with our plugin, and what that changed. It leaves nothing."""
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
    right = []
    for chain in Chain:
        _attach(here, chain, console)
        right.append(_matrix(here, chain, console))
        if chain is Chain.WITH:
            _print_changes(here, console)
        with step(console, "deleting the pods"):
            here.detach()
    return all(right)


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


def _attach(here: Deployment, chain: Chain, console: Console) -> None:
    with step(console, f"attaching pods with {here.scenario.made_with(chain)}"):
        here.attach(chain)


def _matrix(here: Deployment, chain: Chain, console: Console) -> bool:
    with step(console, "sending TCP and UDP every way"):
        lines = measure(here.rows)
    made_with = here.scenario.made_with(chain)
    console.print()
    console.print(f"With {made_with}:", style="bold")
    console.print(matrix_table(lines, chain, console.width))
    console.print(verdict(lines, chain, made_with))
    if chain is Chain.WITHOUT and here.scenario.remark:
        console.print(here.scenario.remark, style="dim")
    console.print()
    return all(line.is_expected(chain) for line in lines)


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
