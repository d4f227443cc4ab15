"""The cluster that `underlay lab` builds: two nodes, an overlay, services, two LANs with gateways, and pods.

    external ── outside ─┬─ gateway-a ── lan-a ─┬─ node1 eth0 ── pod1, pod2, dual eth0 (macvlan); overlay1
                         │                      ├─ node2 eth0 ── overlay2
                         │                      └─ client
                         └─ gateway-b ── lan-b ─┬─ node1 eth1 ── dual net1 (macvlan)
                                                └─ node2 eth1

All of it but the macvlan pods' addresses is fixed, and those are in the runtime's cache: another process
finds the cluster again from the prefix and the state directory.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_interface

from underlay.install import install
from underlay.lab import networks
from underlay.lab.addresses import Addresses, subnets
from underlay.lab.errors import LabError
from underlay.lab.lab import Lab
from underlay.lab.networks import Chain
from underlay.lab.overlay import OVERLAY, connect
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime
from underlay.lab.services import SERVICES, Service, serve
from underlay.lab.topology import Lan, Via

OUTSIDE = subnets(
    "203.0.113.0/24", "2001:db8:113::/64"
)  # documentation addresses, for the rest of the world
SYSTEM_BIN_DIRS = ("/usr/lib/cni", "/opt/cni/bin")
FIRST_POD, LAST_POD = 101, 199  # what host-local may give away on a LAN


@dataclass(frozen=True)
class Nic:
    """One attachment that the cluster makes: this NIC of this pod on this network."""

    pod: Pod
    ifname: str
    network: str


class Cluster:
    """The machines as values; `build`, `attach` and `detach` change the kernel."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.lan_a, self.lan_b = lab.lan("lan-a", 10), lab.lan("lan-b", 20)
        self.outside = Lan(lab.netns("outside"), OUTSIDE)
        to_a = Via(self.lan_a.subnets, self.outside.host(11))
        to_b = Via(self.lan_b.subnets, self.outside.host(12))
        self.gateway_a = lab.router("gateway-a", self.lan_a, self.outside, 11, routes=(to_b,))
        self.gateway_b = lab.router("gateway-b", self.lan_b, self.outside, 12, routes=(to_a,))
        self.client = lab.host("client", self.lan_a, 50)
        self.external = lab.host("external", self.outside, 100, routes=(to_a, to_b))
        self.node1 = lab.node("node1", self.lan_a, self.lan_b, number=11, docker=True)
        self.node2 = lab.node("node2", self.lan_a, self.lan_b, number=12)
        self.overlay1 = lab.overlay_pod("overlay1", self.node1, 5)
        self.overlay2 = lab.overlay_pod("overlay2", self.node2, 5)
        self.pod1, self.pod2, self.dual = (lab.pod(name) for name in ("pod1", "pod2", "dual"))
        self.nics = (
            Nic(self.pod1, "eth0", "lan-a"),
            Nic(self.pod2, "eth0", "lan-a"),
            Nic(self.dual, "eth0", "lan-a"),
            Nic(self.dual, "net1", "lan-b"),
        )

    def build(self) -> None:
        """Everything but the macvlan pods."""
        self.lab.up(
            self.lan_a, self.lan_b, self.outside, self.gateway_a, self.gateway_b, self.client, self.external,
            self.node1, self.node2, self.overlay1, self.overlay2,
        )  # fmt: skip
        connect([self.node1, self.node2])

    def attach(self, chain: Chain) -> None:
        """Makes the macvlan pods with real CNI calls, and the services that have them as endpoints."""
        install(self._path("bin"))
        for name, network in self._networks(chain).items():
            self._write_network(name, network)
        self.lab.up(self.pod1, self.pod2, self.dual)
        for nic in self.nics:
            self.runtime.add(self.network(nic.network), nic.pod, nic.ifname)
        serve([self.node1, self.node2], list(self.services.values()))

    def detach(self) -> None:
        """Deletes the macvlan pods as a runtime does, last NIC first."""
        for nic in reversed(self.nics):
            self.runtime.delete(self.network(nic.network), nic.pod, nic.ifname)
        self.lab.remove(self.pod1, self.pod2, self.dual)

    def addresses(self, pod: Pod, ifname: str = "eth0") -> Addresses:
        """Those that IPAM gave to the pod's NIC."""
        nic = next(nic for nic in self.nics if (nic.pod, nic.ifname) == (pod, ifname))
        attachment = self.runtime.attachment(self.network(nic.network), pod, ifname)
        if attachment is None:
            raise LabError(f"pod {pod.name} has no {ifname}: take the lab down and up again")
        given = [ip_interface(each["address"]).ip for each in attachment.result["ips"]]
        found = {each.version: each for each in given}
        return Addresses(IPv4Address(found[4]), IPv6Address(found[6]))

    @property
    def services(self) -> dict[str, Service]:
        """One for each place where an endpoint may be."""
        endpoints = {
            "here": self.overlay1.addresses,
            "there": self.overlay2.addresses,
            "macvlan": self.addresses(self.pod2),
            "itself": self.addresses(self.pod1),
        }
        return {
            name: Service(name, number, endpoint, target_port=8000 + number)
            for number, (name, endpoint) in enumerate(endpoints.items(), 11)
        }

    @cached_property
    def runtime(self) -> Runtime:
        """The container runtime of node1, where the macvlan pods are."""
        state = {"UNDERLAY_STATE": self.records}
        return Runtime(self.node1.netns, (self._path("bin"), system_bin_dir()), self._path("node1"), state)

    @property
    def records(self) -> str:
        """Where our plugins keep their records, in place of /run/underlay."""
        return self._path("records")

    @property
    def chain(self) -> Chain:
        """What made the pods of the lab that is up."""
        return Chain.VETH if len(self.network("lan-a")["plugins"]) > 1 else Chain.MACVLAN

    def network(self, name: str) -> Json:
        """A configuration list, read where a runtime reads it."""
        try:
            with open(self._path("net.d", f"{name}.conflist"), encoding="utf-8") as file:
                network: Json = json.load(file)
        except FileNotFoundError as error:
            raise LabError("no lab is up: `underlay lab up` builds one") from error
        return network

    def _networks(self, chain: Chain) -> dict[str, Json]:
        ipam = self._path("ipam")
        lan_a = networks.host_local(self.lan_a, FIRST_POD, LAST_POD, ipam)
        lan_b = networks.host_local(self.lan_b, FIRST_POD, LAST_POD, ipam)
        # Two default routes in one table would leave to chance which way IPv6 takes without our plugin.
        lan_b["routes"] = []
        log = {"log_options": {"log_file": self._path("veth.log")}}
        veth = [networks.veth(SERVICES, OVERLAY, **log)] if chain is Chain.VETH else []
        return {
            "lan-a": networks.network("lan-a", networks.macvlan("eth0", lan_a), *veth),
            "lan-b": networks.network("lan-b", networks.macvlan("eth1", lan_b), *veth),
        }

    def _write_network(self, name: str, network: Json) -> None:
        os.makedirs(self._path("net.d"), exist_ok=True)
        with open(self._path("net.d", f"{name}.conflist"), "w", encoding="utf-8") as file:
            json.dump(network, file, indent=2)

    def _path(self, *parts: str) -> str:
        return os.path.join(self.lab.state_dir, *parts)


def system_bin_dir() -> str:
    """Where the distribution or the cluster keeps the reference plugins."""
    for directory in SYSTEM_BIN_DIRS:
        if os.access(os.path.join(directory, "macvlan"), os.X_OK):
            return directory
    where = " or ".join(SYSTEM_BIN_DIRS)
    raise LabError(f"no macvlan plugin in {where}: install containernetworking-plugins")
