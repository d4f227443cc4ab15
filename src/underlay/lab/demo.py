"""What `underlay lab` does: build a cluster, show it, test it, demonstrate the difference, take it down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from underlay.lab import interrupt
from underlay.lab.changes import changes
from underlay.lab.cluster import Cluster
from underlay.lab.lab import Lab
from underlay.lab.matrix import measure
from underlay.lab.networks import Chain
from underlay.lab.progress import step
from underlay.lab.rows import rows
from underlay.lab.tables import cluster_table, matrix_table, verdict


def up(lab: Lab, chain: Chain, console: Console) -> None:
    """Builds the cluster and leaves it there; what is half built is taken down."""
    with interrupt.interruptible():
        lab.reserve()
        try:
            cluster = _build(lab, console)
            _attach(cluster, chain, console)
        except BaseException:
            lab.down()
            raise
    show(lab, console)


def show(lab: Lab, console: Console) -> None:
    """Prints the machines of the lab that is up."""
    cluster = Cluster(lab)
    console.print(f"The pods are made with {cluster.chain.value}.")
    console.print(cluster_table(cluster))


def test(lab: Lab, console: Console) -> bool:
    """Prints the matrix of the lab that is up; whether every row is as it must be."""
    cluster = Cluster(lab)
    return _matrix(cluster, cluster.chain, console)


def demo(lab: Lab, console: Console) -> bool:
    """The matrix without and with our plugin, and what the plugin changed; nothing is left afterwards."""
    with _for_a_while(lab):
        cluster = _build(lab, console)
        _attach(cluster, Chain.MACVLAN, console)
        without = _matrix(cluster, Chain.MACVLAN, console)
        with step(console, "deleting the pods"):
            cluster.detach()
        _attach(cluster, Chain.VETH, console)
        with_veth = _matrix(cluster, Chain.VETH, console)
        _print_changes(cluster, console)
    console.print("All of it is taken down.")
    return without and with_veth


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


def _attach(cluster: Cluster, chain: Chain, console: Console) -> None:
    with step(console, f"attaching pods with {chain.value}"):
        cluster.attach(chain)


def _matrix(cluster: Cluster, chain: Chain, console: Console) -> bool:
    with step(console, "sending TCP and UDP every way"):
        lines = measure(rows(cluster))
    console.print()
    console.print(f"With {chain.value}:", style="bold")
    console.print(matrix_table(lines, chain, console.width))
    console.print(verdict(lines, chain))
    console.print()
    return all(line.is_expected(chain) for line in lines)


def _print_changes(cluster: Cluster, console: Console) -> None:
    console.print("What the ADD of veth did for pod1, as commands:", style="bold")
    for command in changes(cluster, cluster.pod1):
        console.print(command, soft_wrap=True, markup=False)
    console.print()
