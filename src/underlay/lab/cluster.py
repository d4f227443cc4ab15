"""The cluster that `underlay lab` builds: two nodes, an overlay, two LANs with gateways, and others.

    external ── outside ─┬─ gateway-a ── lan-a ─┬─ node1 eth0 ── the scenario's pods; overlay1
                         │                      ├─ node2 eth0 ── overlay2
                         │                      └─ client
                         └─ gateway-b ── lan-b ─┬─ node1 eth1
                                                ├─ node2 eth1
                                                └─ client-b

A scenario adds its pods and services (scenario.py). All of this is fixed, so another process finds the
cluster again from the prefix and the state directory.
"""

from __future__ import annotations

import os

from underlay.install import install
from underlay.lab import networks, overlay_plugin
from underlay.lab.addresses import subnets
from underlay.lab.agent import Agent
from underlay.lab.errors import LabError
from underlay.lab.lab import Lab
from underlay.lab.overlay import connect, refuse_spoofing
from underlay.lab.pod import Json
from underlay.lab.process import Process
from underlay.lab.runtime import Runtime
from underlay.lab.topology import Lan, Node, Via

OUTSIDE = subnets(
    "203.0.113.0/24", "2001:db8:113::/64"
)  # documentation addresses, for the rest of the world
SYSTEM_BIN_DIRS = ("/usr/lib/cni", "/opt/cni/bin")
FIRST_POD, LAST_POD = 101, 199  # what host-local may give to the pods of a scenario, on a LAN


class Cluster:
    """The machines as values, and `build`, which makes them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.lan_a, self.lan_b = lab.lan("lan-a", 10), lab.lan("lan-b", 20)
        self.outside = Lan(lab.netns("outside"), OUTSIDE)
        to_a = Via(self.lan_a.subnets, self.outside.host(11))
        to_b = Via(self.lan_b.subnets, self.outside.host(12))
        self.gateway_a = lab.router("gateway-a", self.lan_a, self.outside, 11, routes=(to_b,))
        self.gateway_b = lab.router("gateway-b", self.lan_b, self.outside, 12, routes=(to_a,))
        self.client = lab.host("client", self.lan_a, 50)
        self.client_b = lab.host("client-b", self.lan_b, 50)
        self.external = lab.host("external", self.outside, 100, routes=(to_a, to_b))
        self.node1 = lab.node("node1", self.lan_a, self.lan_b, number=11, docker=True)
        self.node2 = lab.node("node2", self.lan_a, self.lan_b, number=12)
        self.nodes = (self.node1, self.node2)
        self.overlay1 = lab.overlay_pod("overlay1", self.node1, 5)
        self.overlay2 = lab.overlay_pod("overlay2", self.node2, 5)

    def build(self) -> None:
        """Makes all of them, and the executables that the runtimes call."""
        self.lab.up(
            self.lan_a, self.lan_b, self.outside, self.gateway_a, self.gateway_b, self.client, self.client_b,
            self.external, *self.nodes, self.overlay1, self.overlay2,
        )  # fmt: skip
        connect(self.nodes)
        refuse_spoofing(self.nodes)
        self._install_plugins()

    def _install_plugins(self) -> None:
        """Ours, the overlay's, and beside them the reference plugins: containerd looks in one directory."""
        bin_dir, system = self.path("bin"), system_bin_dir()
        install(bin_dir)
        overlay_plugin.install(bin_dir)
        for name in os.listdir(system):
            if not os.path.lexists(path := os.path.join(bin_dir, name)):
                os.symlink(os.path.join(system, name), path)

    def runtime(self, node: Node) -> Runtime:
        """The container runtime of a node."""
        return Runtime(node.netns, [self.path("bin")], self.path(node.netns.name), self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """What our plugins find things by, and never those of this machine."""
        return {"UNDERLAY_STATE": self.records, "UNDERLAY_SOCKET": self.agent.socket}

    @property
    def agent(self) -> Agent:
        """The agent that answers their calls, where it is started."""
        process = Process(self.path("agent", "agent.process"), self.path("agent", "agent.log"))
        socket = self.path("agent", "agent.sock")
        return Agent(process, socket, ("--socket", socket, "--state", self.records))

    def host_local(self, lan: Lan, first: int = FIRST_POD, last: int = LAST_POD) -> Json:
        """IPAM: the next free addresses of a LAN, and its gateway for the default routes.

        Each network has a range of its own: host-local knows what it has given by the network's name.
        """
        return networks.host_local(lan, first, last, self.path("ipam"))

    @property
    def records(self) -> str:
        """Where our plugins keep their records, in place of /run/underlay."""
        return self.path("records")

    def path(self, *parts: str) -> str:
        """A place in the lab's state directory."""
        return os.path.join(self.lab.state_dir, *parts)


def system_bin_dir() -> str:
    """Where the distribution or the cluster keeps the reference plugins."""
    for directory in SYSTEM_BIN_DIRS:
        if os.access(os.path.join(directory, "macvlan"), os.X_OK):
            return directory
    where = " or ".join(SYSTEM_BIN_DIRS)
    raise LabError(f"no macvlan plugin in {where}: install containernetworking-plugins")
