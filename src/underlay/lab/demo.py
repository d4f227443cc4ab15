"""What `underlay lab` does: build a cluster, show it, test it, demonstrate what plugins do, take it down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from rich.console import Console

from underlay.explain.text import commands_text
from underlay.lab import interrupt, runtimes
from underlay.lab.changes import changes
from underlay.lab.cluster import Cluster
from underlay.lab.definitions import definitions
from underlay.lab.lab import Lab
from underlay.lab.networks import Variant
from underlay.lab.progress import step
from underlay.lab.runs import Run, Runs
from underlay.lab.scenario import Deployment, Scenario, deployed
from underlay.lab.scenarios import SCENARIOS
from underlay.lab.setup import Setup, keep, kept
from underlay.lab.tables import cluster_table, matrix_table, networks_table, nics_table, traces_text, verdict
from underlay.lab.traces import Traces


def up(lab: Lab, scenario: Scenario, variant: Variant, setup: Setup, console: Console) -> None:
    """Builds the cluster and leaves it there; what is half built is taken down."""
    with interrupt.interruptible():
        lab.reserve()
        try:
            cluster = _build(lab, setup, console)
            _attach(_deployment(cluster, scenario, setup), variant, console)
        except BaseException:
            lab.down()
            raise
    show(lab, console)


def show(lab: Lab, console: Console) -> None:
    """Prints the machines of the lab that is up."""
    here, variant = _deployed(lab)
    console.print(f"Scenario {here.scenario.name}: {here.scenario.text}")
    console.print(f"The pods are made with {variant.made_with}. {kept(here.cluster)}")
    console.print(cluster_table(here, Runs(here.cluster).netns()))
    console.print(networks_table(definitions(here.cluster)))


def run(lab: Lab, pod: Run, console: Console) -> None:
    """Starts a pod on the lab that is up, and prints its NICs."""
    runs = Runs(Cluster(lab))
    with interrupt.interruptible(), step(console, f"starting {pod.name} on {pod.node}"):
        netns = runs.start(pod)
    console.print(nics_table([netns]))
    console.print(
        f"`underlay lab exec {pod.name} -- CMD` runs a command there, `underlay lab rm {pod.name}` ends it."
    )


def entering(lab: Lab, name: str, terminal: Sequence[str]) -> list[str]:
    """The beginning of a command that runs another one in a machine of the lab that is up."""
    cluster = Cluster(lab)
    return runtimes.entering(cluster, kept(cluster), name, terminal)


def remove(lab: Lab, name: str) -> None:
    """Ends a pod that was started by name."""
    Runs(Cluster(lab)).remove(name)


def test(lab: Lab, console: Console) -> bool:
    """Prints the matrix of the lab that is up; whether every row is as it must be."""
    return _matrix(*_deployed(lab), console)


def demo(lab: Lab, scenarios: Sequence[Scenario], setup: Setup, console: Console) -> bool:
    """Each scenario's matrix in each of its variants, and what our plugin changed. It leaves nothing."""
    with _for_a_while(lab):
        cluster = _build(lab, setup, console)
        right = [_demonstrate(_deployment(cluster, scenario, setup), console) for scenario in scenarios]
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


def _deployment(cluster: Cluster, scenario: Scenario, setup: Setup) -> Deployment:
    return Deployment(cluster, scenario, runtimes.hosting(cluster, setup))


def _deployed(lab: Lab) -> tuple[Deployment, Variant]:
    cluster = Cluster(lab)
    return deployed(cluster, SCENARIOS, runtimes.hosting(cluster, kept(cluster)))


def _build(lab: Lab, setup: Setup, console: Console) -> Cluster:
    cluster = Cluster(lab)
    with step(console, "building two LANs, two nodes, gateways, an overlay"):
        cluster.build()
    keep(setup, cluster)
    with step(console, f"starting {setup.started}") if setup.started else nullcontext():
        runtimes.start(cluster, setup)
    return cluster


def _attach(here: Deployment, variant: Variant, console: Console) -> None:
    with step(console, f"attaching pods with {variant.made_with}"):
        here.attach(variant)


def _matrix(here: Deployment, variant: Variant, console: Console) -> bool:
    with step(console, "sending TCP and UDP every way"):
        lines = here.measure()
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
