"""The runtimes that the lab has: what starts them, and what makes pods with each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from underlay.lab import definitions
from underlay.lab.cluster import Cluster
from underlay.lab.definitions import OVERLAY, asking_for
from underlay.lab.errors import LabError
from underlay.lab.overlay import OverlayPod
from underlay.lab.scenario import Deployment, Hosting, Nic
from underlay.lab.setup import AGENT, CONTAINERD, Setup
from underlay.lab.standin import StandIn, StandInPods
from underlay.lab.topology import Node


class PodRuntime(Protocol):
    """Starts pods on one node."""

    def run(self, name: str, annotations: Mapping[str, str]) -> object:
        """A pod with the networks that its annotations ask for; what is half made is taken back."""

    def remove(self, name: str) -> None:
        """Ends it, and takes its networks away."""


def start(cluster: Cluster, setup: Setup) -> None:
    """Starts what the setup needs on a cluster that is built, and writes what pods may ask for."""
    definitions.write_ready(cluster)
    if setup.runtime == CONTAINERD:
        _start_containerd(cluster, setup)
    elif setup.answer == AGENT:
        cluster.agent.start()


def _start_containerd(cluster: Cluster, setup: Setup) -> None:
    from underlay.lab.containerd.node import ContainerdNode

    for node in cluster.nodes:
        found = ContainerdNode(cluster, node)
        if setup.answer == AGENT:
            found.start_agent()
        found.start(definitions.several_nics(cluster))


def pods(cluster: Cluster, setup: Setup, node: Node) -> PodRuntime:
    """What starts pods on a node."""
    if setup.runtime != CONTAINERD:
        return StandInPods(cluster, node)
    from underlay.lab.containerd.node import ContainerdNode

    return ContainerdNode(cluster, node).pods


def entering(cluster: Cluster, setup: Setup, name: str, terminal: Sequence[str] = ()) -> list[str]:
    """The beginning of a command that runs another one in a pod, or another machine of the lab, once.

    `terminal` is for containerd's client, where a person has one. LabError where there is no such machine.
    """
    if setup.runtime == CONTAINERD:
        from underlay.lab.containerd.node import ContainerdNode

        for node in cluster.nodes:
            found = ContainerdNode(cluster, node).pods
            if any(sandbox.name == name for sandbox in found.all()):
                return found.entering(name, *terminal)
    netns = cluster.lab.netns(name)
    if not netns.exists:
        raise LabError(f"there is no pod or machine {name}: `underlay lab status` lists them")
    return ["nsenter", f"--net={netns.path}"]


def hosting(cluster: Cluster, setup: Setup) -> Hosting:
    """What makes the pods of a scenario."""
    if setup.runtime != CONTAINERD:
        return StandIn(cluster)
    from underlay.lab.containerd.hosting import UnderContainerd
    from underlay.lab.containerd.node import ContainerdNode

    return UnderContainerd(
        {node: ContainerdNode(cluster, node).pods for node in cluster.nodes}, annotations_of
    )


def annotations_of(here: Deployment, nics: Sequence[Nic]) -> Mapping[str, str]:
    """Those of a scenario's pod: a NIC that is not among these is the overlay's, and comes first."""
    is_overlay = any(
        isinstance(pod, OverlayPod) and pod.netns == nics[0].pod.netns for pod in here.scene.pods
    )
    first, others = (OVERLAY, nics) if is_overlay else (nics[0].network, nics[1:])
    return asking_for(first, [f"{nic.network}@{nic.ifname}" for nic in others])
