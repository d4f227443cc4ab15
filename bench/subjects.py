"""The plugins that are measured: how a pod is prepared, and what is called for it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Protocol

from bench.calls import in_process
from bench.errors import BenchError
from bench.nics import macvlan_result, plug_macvlan, plug_overlay
from bench.stage import FIRST_POD, OTHER_NODE, Calls, Stage, calls
from underlay.lab.pod import Json, Pod

Versions = tuple[int, ...]  # of IP
IPV4, DUAL = (4,), (4, 6)
FIRST_NIC = "eth0"
HIJACKED: Json = {
    "service_hijack_subnet": ["10.96.0.0/12", "fd00:96::/108"],
    "overlay_hijack_subnet": ["10.244.0.0/16", "fd00:244::/48"],
}
# Half of each network is for those who ask: what is drawn at random is never what one of them has.
ASKED_FOR = 1 << 15
VXLANS: dict[Versions, Json] = {
    IPV4: {"name": "blue", "id": 5001, "cidr": "10.66.0.0/16", "excludeFirst": ASKED_FOR},
    DUAL: {
        "name": "green",
        "id": 5002,
        "cidr": ["10.67.0.0/16", "fd67::/64"],
        "excludeFirst": ASKED_FOR,
    },
}


class Subject(Protocol):
    """A plugin, for pods of the IP versions that are asked for."""

    @property
    def name(self) -> str: ...

    def plug(self, stage: Stage, pods: Sequence[Pod], versions: Versions) -> None:
        """What has to be there before the plugin is called."""

    def calls(self, pod: Pod, versions: Versions) -> Calls:
        """Its calls for a pod of `plug`."""

    def steady_calls(self, pod: Pod, versions: Versions) -> Calls:
        """The same for a pod whose ADD is recorded, undone, and replayed later: with addresses that
        nobody else is given meanwhile."""


@dataclass(frozen=True)
class Chained:
    """A plugin that is chained behind a macvlan, which is there already."""

    name: str
    ifname: str
    hijacked: Json = field(default_factory=HIJACKED.copy)

    def calls(self, pod: Pod, versions: Versions) -> Calls:
        network = {"cniVersion": "1.0.0", "name": "bench", "type": self.name}
        result = macvlan_result(pod, self.ifname, versions)
        return calls({**network, **self.hijacked, "prevResult": result}, pod, self.ifname)

    def steady_calls(self, pod: Pod, versions: Versions) -> Calls:
        return self.calls(pod, versions)


@dataclass(frozen=True)
class Veth(Chained):
    """`veth` for a pod's first NIC."""

    name: str = "veth"
    ifname: str = FIRST_NIC

    def plug(self, stage: Stage, pods: Sequence[Pod], versions: Versions) -> None:
        plug_macvlan(stage, pods, self.ifname, versions)


@dataclass(frozen=True)
class Router(Chained):
    """`router` for the NIC behind the overlay's, which is dual stack in any case."""

    name: str = "router"
    ifname: str = "net1"

    def plug(self, stage: Stage, pods: Sequence[Pod], versions: Versions) -> None:
        plug_overlay(stage, pods)
        plug_macvlan(stage, pods, self.ifname, versions)


@dataclass(frozen=True)
class Vxlan:
    """`vxlan` with `routetable`, which waits for nothing."""

    ifname: str = FIRST_NIC
    networks: Mapping[Versions, Json] = field(default_factory=VXLANS.copy)
    name: str = "vxlan"

    def plug(self, stage: Stage, pods: Sequence[Pod], versions: Versions) -> None:
        """It makes the NIC itself."""

    def calls(self, pod: Pod, versions: Versions) -> Calls:
        return calls(self._config(versions), pod, self.ifname)

    def steady_calls(self, pod: Pod, versions: Versions) -> Calls:
        asked = {"runtimeConfig": {"ips": self._own(pod, versions)}}
        return calls(self._config(versions) | asked, pod, self.ifname)

    def _config(self, versions: Versions) -> Json:
        network = {**self.networks[versions], "peers": [str(OTHER_NODE)], "options": {"port": "4789"}}
        if self.ifname != FIRST_NIC:
            network["default_route"] = False  # the first NIC has it
        return {
            "cniVersion": "1.0.0",
            "name": f"{network['name']}-net",
            "type": self.name,
            "defaultNetwork": network["name"],
            "vxlans": [network],
            "ipam": {"type": "routetable", "propagation_wait": "0s"},
        }

    def _own(self, pod: Pod, versions: Versions) -> list[str]:
        """The addresses of the pod's number, in the part of each subnet that nothing is drawn from."""
        network = self.networks[versions]
        number = int(pod.name) - FIRST_POD + 1
        if number >= network["excludeFirst"]:
            raise BenchError(f"the network {network['name']} has no address to ask for left")
        cidrs = [network["cidr"]] if isinstance(network["cidr"], str) else network["cidr"]
        return [str(ip_network(cidr)[number]) for cidr in cidrs]


SUBJECTS: tuple[Subject, ...] = Veth(), Router(), Vxlan()


def hijacking(count: int) -> Veth:
    """`veth` with so many IPv4 subnets to hijack."""
    subnets = IPv4Network("10.128.0.0/9").subnets(new_prefix=24)
    return Veth(
        hijacked={
            "service_hijack_subnet": [str(subnet) for subnet in itertools.islice(subnets, count)],
            "overlay_hijack_subnet": [],
        }
    )


def stand(stage: Stage, pods: Sequence[Pod]) -> None:
    """Attaches pods that stay: one half has veth on its first NIC, the other router behind the overlay's.
    All have a further NIC by vxlan."""
    for chained, half in ((Veth(), pods[::2]), (Router(), pods[1::2])):
        chained.plug(stage, half, IPV4)
        for pod, subject in itertools.product(half, (chained, Vxlan(ifname="net2"))):
            in_process(stage, subject.calls(pod, IPV4), "ADD")
