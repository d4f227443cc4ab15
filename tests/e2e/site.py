"""The lab's cluster with containerd on its nodes, for tests that look at what a real runtime does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.kinds import Kind
from underlay.lab import routing
from underlay.lab.addresses import VERSIONS
from underlay.lab.cluster import Cluster
from underlay.lab.containerd import daemon
from underlay.lab.containerd.hosting import UnderContainerd
from underlay.lab.containerd.node import ContainerdNode
from underlay.lab.matrix import Line
from underlay.lab.namespace import delete
from underlay.lab.overlay import join, refuse_spoofing
from underlay.lab.scenario import Deployment
from underlay.lab.services import serve
from underlay.lab.topology import Node

BOTH_WAYS = pytest.mark.parametrize("way", ["process", "agent"], indirect=True)
PREFIX = "elab-"
STATE_DIR = "/run/elab"  # short: sockets are in it


def why_not() -> str:
    """Why containerd can't run here, or nothing."""
    if packages := daemon.missing():
        return f"not installed: {', '.join(packages)}"
    return why_no_containers()


def why_no_containers() -> str:
    """Why no container runtime can run here, or nothing."""
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
        return "it takes root, and not that of a user namespace"
    if not os.access("/sys/fs/cgroup", os.W_OK):
        return "no control groups can be made: /sys/fs/cgroup is read-only"
    return ""


@dataclass(frozen=True)
class Site:
    """A cluster, whose nodes run pods of one kind; `way` is who answers the plugins' calls."""

    cluster: Cluster
    kind: Kind
    way: str

    @property
    def here(self) -> Deployment:
        """The pods, as values: none of them need be there."""
        hosting = UnderContainerd({node: self.node(node).pods for node in self.nodes}, self.kind.annotations)
        return Deployment(self.cluster, self.kind.scenario, hosting)

    @property
    def nodes(self) -> list[Node]:
        """Those that pods are on."""
        nics = self.kind.scenario.scene(self.cluster).nics
        return list(dict.fromkeys(nic.node for nic in nics))

    def pods_on(self, node: Node) -> list[str]:
        """The names of the scenario's pods there."""
        nics = self.kind.scenario.scene(self.cluster).nics
        return list(dict.fromkeys(nic.pod.name for nic in nics if nic.node == node))

    def node(self, node: Node) -> ContainerdNode:
        return ContainerdNode(self.cluster, node)

    @property
    def first(self) -> ContainerdNode:
        """The node on which pods of every kind are."""
        return self.node(self.cluster.node1)

    def start(self, node: Node) -> None:
        """containerd, and an agent where one is to answer."""
        found = self.node(node)
        if self.way == "agent":
            found.start_agent()
        found.start(self.kind.network(self.cluster))

    def reboot(self, node: Node) -> None:
        """Ends all that runs on a node, its network and what it had on /run; then it starts again."""
        overlay = [pod for pod in (self.cluster.overlay1, self.cluster.overlay2) if pod.node == node]
        self.node(node).space.close()
        node.netns.ip(
            *(f"link del eth{index}" for index in range(len(node.lans)))
        )  # the kernel does it later
        delete(node.netns, *(pod.netns for pod in overlay))
        self.cluster.lab.up(node, *overlay)
        join(node, self.cluster.nodes)
        refuse_spoofing([node])
        if self.kind.scenario.routed:
            routing.withdraw(self.cluster)
        self.start(node)

    def renew(self, node: Node, *pods: str) -> None:
        """Gives pods of a node another sandbox each, and tells everybody where they are now."""
        if self.kind.scenario.routed:
            self._spread()  # after a reboot the node has not heard which addresses are another one's
        with ThreadPoolExecutor(len(pods)) as pool:
            list(pool.map(self.node(node).pods.renew, pods))
        if self.kind.scenario.routed:
            self._spread()
        serve(self.cluster.nodes, self.here.services)

    def _spread(self) -> None:
        """Gives everybody routes to what each node claims."""
        for each in self.nodes:
            routing.spread(self.cluster, each)

    def addresses(self, *pods: str) -> list[str]:
        """All that these have on eth0."""
        ends = [self.here.end(pod, "eth0").addresses for pod in pods]
        return sorted(str(end.of(version)) for end in ends for version in VERSIONS)

    def taken(self) -> list[str]:
        """The addresses that host-local has given away, and what runtimes have kept of pods."""
        leases = [path.name for path in Path(self.cluster.path("ipam")).rglob("*[.:]*")]
        kept = [str(path) for node in self.nodes for path in self.node(node).space.results()]
        return sorted([*(lease for lease in leases if not lease.startswith("last_reserved_ip")), *kept])


def wrong(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """The ways that are not as they must be, and how."""
    return [(line.row.text, cell.fault) for line in lines for cell in line.cells if cell.fault]


def running(words: str) -> list[str]:
    """The processes in whose command these words are."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words in command:
            found.append(command)
    return found
