"""Errors of `vxlan` and `routetable` that users meet, for the reference to quote."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any, cast

from tests.fake_kernel import FakeKernel
from tests.unit.test_vxlan import ETH0, LAN
from underlay.claims import DIRECTORY, Claims
from underlay.cni.call import Call
from underlay.cni.claim import claim
from underlay.cni.errors import CniError
from underlay.cni.keys import Keys
from underlay.cni.plugin import Joining
from underlay.cni.scene import Scene
from underlay.cni.segment import join, underlay_of
from underlay.cni.wish import Claimant, Way, Wish
from underlay.facts import Underlay, VxlanLink
from underlay.log import Log, LogOptions
from underlay.objects import IP, POD, Ns, Route
from underlay.objects.link import Link
from underlay.plan import Outcome, Plan, apply
from underlay.plugins.routetable import PLUGIN as ROUTETABLE
from underlay.plugins.vxlan import PLUGIN as VXLAN
from underlay.ranges import Range
from underlay.record import Record
from underlay.records import Records

NETWORK_NAME = "vxlan-cni.travishegner.com/NetworkName"
REQUESTED = "vxlan-cni.travishegner.com/RequestedAddress"
PEERS = ["192.168.50.11", "192.168.50.12"]
BLUE: dict[str, Any] = {"name": "blue", "id": 5001, "cidr": "10.66.0.0/24", "peers": PEERS}
GREEN: dict[str, Any] = {"name": "green", "id": 5002, "cidr": "10.67.0.0/24", "peers": PEERS}
BOTH = [BLUE, GREEN]
ASKED, FULL = ip_address("10.66.0.9"), IPv4Network("10.66.0.0/29")
OWNER = "c0ffee/networks:eth0:vxlan.json"

WRONG_NETWORKS: list[dict[str, Any]] = [
    {"vxlans": [BLUE, GREEN | {"cidr": "10.66.0.0/16"}]},
    {"vxlans": [BLUE, GREEN | {"id": 5001}]},
    {"vxlans": [{key: value for key, value in BLUE.items() if key != "peers"}]},
    {"vxlans": [BLUE | {"options": {"dst_port": 8472}}]},
    {"vxlans": BOTH, "defaultNetwork": "red"},
]
WRONG_PODS: list[dict[str, Any]] = [
    {"args": {"annotations": {NETWORK_NAME: "red"}}},
    {"args": {"annotations": {NETWORK_NAME: "blue", REQUESTED: "10.99.0.1"}}},
    {},
]


class Host(FakeKernel):
    """A node whose NIC is `underlay`, None where it has none that leads anywhere."""

    def __init__(self, underlay: Underlay | None) -> None:
        super().__init__()
        self._underlay = underlay

    def underlay(self, dev: str, toward: Sequence[IP]) -> Underlay | None:
        return self._underlay

    def vxlan_links(self) -> list[VxlanLink]:
        return []


@dataclass(frozen=True)
class OneCall:
    """What a call knows of its node beside the kernel: records, and nothing of calls before it."""

    records: Records
    memory: None = None


@dataclass(frozen=True)
class Table:
    """A routing table with routes to some addresses, all of them by another node."""

    numbers: AbstractSet[int]
    has_daemon: bool = True

    def ways(self, ip: IP) -> list[Way]:
        return [Way(12, ETH0.index, ip_address("192.168.10.12"))] if int(ip) in self.numbers else []


@dataclass(frozen=True)
class Routed:
    """A node with these routes, on which nothing can be claimed."""

    taken: tuple[IP, ...]

    def host_routes(self, version: int) -> Table:
        return Table({int(ip) for ip in self.taken})

    def unchanged_routes(self, version: int) -> None:
        return None

    def link(self, ns: Ns, dev: str) -> Link | None:
        return None

    def dev(self, ns: Ns, index: int) -> str:
        return ETH0.name

    def is_own(self, ip: IP) -> bool:
        return False

    def add(self, objects: Sequence[Any]) -> list[Outcome]:
        raise AssertionError(f"{objects} are not free")

    def remove(self, objects: Iterable[Any]) -> list[CniError]:
        raise AssertionError(f"{objects} were not made")


def refusals() -> Iterator[CniError]:
    """One of each, in the words that the caller gets."""
    for wrong in WRONG_NETWORKS:
        with _refused() as seen:
            joining(**wrong)
        yield from seen
    for wrong in WRONG_PODS:
        with _refused() as seen:
            joining(defaultNetwork=None, **wrong)
        yield from seen
    yield from _of_the_node()
    yield from _of_claims()
    for config in ({"master": "eth0"}, {"ipam": {"ranges": ["10.66.0.0/24"]}}):
        with _refused() as seen:
            parsed = ROUTETABLE.parse(Keys(config))
            assert parsed
            ROUTETABLE.wanted(parsed, Call("ADD", config=config))
        yield from seen


def joining(**config: Any) -> Joining:
    """The way of a pod in the namespace `web`, into `blue` unless `config` says something else."""
    whole = {"vxlans": BOTH, "defaultNetwork": "blue", **config}
    parsed = VXLAN.parse(Keys(whole, VXLAN.aliases))
    assert parsed
    return VXLAN.choose(parsed, Call("ADD", config=whole, args={"K8S_POD_NAMESPACE": "web"}), {})


@contextmanager
def _refused() -> Iterator[list[CniError]]:
    """What is raised in the body, which must be something."""
    seen: list[CniError] = []
    try:
        yield seen
    except CniError as error:
        seen.append(error)
    assert seen, "nothing is refused"


def _of_the_node() -> Iterator[CniError]:
    for other in (VxlanLink("flannel.1", 5001, 4789), VxlanLink("vx_blue", 5001, 8472)):
        with _refused() as seen:
            joining().refuse_clash([other])
        yield from seen
    with _refused() as seen:
        joining(vxlans=[BLUE | {"mtu": 1500}]).node(LAN, ())
    yield from seen
    for options in ({"vtepdev": "bond0"}, {}):
        with _refused() as seen:
            underlay_of(joining(vxlans=[BLUE | {"options": options}]), cast(Any, Host(None)))
        yield from seen
    yield from _of_living_pods()
    yield from _of_a_second_default()


def _of_living_pods() -> Iterator[CniError]:
    """A pod joins, and the next ones come with other definitions of the same network."""
    anycast = BLUE | {"gateway": "anycast"}
    changed = {"options": {"port": 8472}}, {"cidr": "10.70.0.0/24"}
    with tempfile.TemporaryDirectory() as directory:
        node, log = OneCall(Records(directory, "1")), Log(LogOptions(file=os.devnull))
        with node.records.pod("c0ffee") as pod:
            scene = Scene(cast(Any, node), cast(Any, Host(LAN)), pod, log)
            join(joining(vxlans=[anycast]), _record("c0ffee"), scene)
            for keys in changed:
                with _refused() as seen:
                    join(joining(vxlans=[anycast | keys]), _record("c0ffef"), scene)
                yield from seen


def _record(container_id: str) -> Record:
    return Record("vxlan", "networks", container_id, "eth0", "", "", "", 0, Plan(()))


def _of_a_second_default() -> Iterator[CniError]:
    everywhere = ip_network("0.0.0.0/0")
    by_eth0, by_net1 = (
        Route(POD, everywhere, dev, via=ip_address(via), proto=4)
        for dev, via in (("eth0", "10.66.0.7"), ("net1", "10.67.0.7"))
    )
    kernel = FakeKernel((POD, "eth0"), (POD, "net1"))
    apply([by_eth0], kernel)
    with _refused() as seen:
        apply([by_net1], kernel)
    yield from seen


def _of_claims() -> Iterator[CniError]:
    """An address that a pod of this node has, one that another node has, and a range without any."""
    asked = Wish((Range(ip_network("10.66.0.0/24")),), ASKED)
    any_other = Wish((Range(FULL, exclude_first=3),))
    for holder, taken, wish in ((OWNER, (), asked), ("", (ASKED,), asked), ("", tuple(FULL), any_other)):
        with tempfile.TemporaryDirectory() as directory:
            store = Claims(f"{directory}/1/{DIRECTORY}", directory)
            if holder:
                store.reserve(ASKED, "mv_blue", holder)
            with _refused() as seen:
                claim([wish], Claimant("mv_blue", "c1"), store, Routed(taken), lambda _routes: None)
        yield from seen
