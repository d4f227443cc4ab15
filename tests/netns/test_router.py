"""`router`: macvlan NICs beside an overlay's, behind gateways that drop what comes back another way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.netns.test_several_nics import main_defaults
from tests.netns.world import LAN_A, LAN_B, World, address, failures, state_of
from underlay.lab.addresses import VERSIONS, IPAddress
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.errors import PluginError
from underlay.lab.namespace import Netns, delete
from underlay.lab.overlay import OverlayPod, connect, refuse_spoofing
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime
from underlay.lab.topology import Host, Node

NICS = ("net1", "net2")


@dataclass
class Scene:
    """An overlay pod that gets macvlan NICs, and everybody that it should speak with."""

    node: Node
    second: Node
    overlay: OverlayPod
    pod: Pod
    runtime: Runtime
    networks: dict[str, Json]
    others: list[tuple[Netns, list[IPAddress]]]
    results: dict[str, Json] = field(default_factory=dict)

    def attach(self, *ifnames: str) -> None:
        for ifname in ifnames:
            self.results[ifname] = self.runtime.add(self.networks[ifname], self.pod, ifname)

    def detach(self, ifname: str) -> None:
        self.runtime.delete(self.networks[ifname], self.pod, ifname)
        del self.results[ifname]

    def own(self, version: int) -> list[IPAddress]:
        """The pod's addresses: the overlay's, and those of the NICs that are attached."""
        return [self.overlay.addresses.of(version), *(address(r, version) for r in self.results.values())]

    def probes(self, version: int) -> Iterator[Probe]:
        """Every address of the pod with everybody, both ways.

        The overlay's address is not known outside, so that pair is left out; and the second node,
        which is on both LANs without rules of its own, is asked on the pod's LAN only.
        """
        for own, (netns, addresses) in itertools.product(self.own(version), self.others):
            yield from self._both_ways(own, netns, [at for at in addresses if at.version == version])
        for own, lan in itertools.product(self.own(version), self.second.lans):
            if own in lan.subnets.of(version):
                yield from self._both_ways(
                    own, self.second.netns, [lan.host(self.second.number).of(version)]
                )

    def _both_ways(self, own: IPAddress, netns: Netns, addresses: list[IPAddress]) -> Iterator[Probe]:
        for at in addresses:
            if own == self.overlay.addresses.of(own.version) and not netns.name.startswith(INSIDE):
                continue
            yield Probe(self.pod.netns, Server(netns, at), source=own)
            yield Probe(netns, Server(self.pod.netns, own), source=at)


INSIDE = ("t-node11", "t-overlay")


@pytest.fixture
def scene(world: World) -> Scene:
    lan_a, lan_b = world.lan(LAN_A), world.lan(LAN_B)
    node, second = world.node(11), world.node(12)
    overlay, here, there = (world.overlay_pod(n, i) for n, i in ((node, 5), (node, 6), (second, 7)))
    connect([node, second])
    refuse_spoofing([node, second])
    hosts: list[Host | OverlayPod] = [world.host(lan_a), world.host(lan_b), world.external(), here, there]
    others = [(host.netns, [host.addresses.of(v) for v in VERSIONS]) for host in hosts]
    others.append((node.netns, [each.of(v) for each in node.devices.values() for v in VERSIONS]))
    networks = {
        "net1": world.network("first", "eth0", 0, type="router"),
        "net2": world.network("second", "eth1", 1, type="router"),
    }
    return Scene(node, second, overlay, Pod(overlay.netns, "pod"), world.runtime(node), networks, others)


@pytest.mark.parametrize("nics", [("net1",), NICS], ids=" ".join)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_nic_answers_for_itself_from_any_side(
    scene: Scene, version: int, nics: tuple[str, ...]
) -> None:
    scene.attach(*nics)

    assert failures(scene.probes(version)) == []


def test_without_router_the_second_nic_reaches_neither_its_node_nor_the_overlay(scene: Scene) -> None:
    for network in scene.networks.values():
        del network["plugins"][1:]
    scene.attach("net1")

    failed = failures(scene.probes(4))

    assert any("t-node11" in line for line in failed)
    assert any("t-overlay6" in line for line in failed)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_newest_nic_has_the_default_and_the_overlay_gets_it_back_last(
    scene: Scene, version: int
) -> None:
    holders = [main_defaults(scene.pod, version)]
    for ifname in NICS:
        scene.attach(ifname)
        holders.append(main_defaults(scene.pod, version))
    for ifname in reversed(NICS):
        scene.detach(ifname)
        holders.append(main_defaults(scene.pod, version))

    assert holders == [["eth0"], ["net1"], ["net2"], ["net1"], ["eth0"]]


@pytest.mark.parametrize("order", list(itertools.permutations(NICS)), ids=" ".join)
def test_nics_come_and_go_in_any_order_and_leave_no_trace(scene: Scene, order: tuple[str, ...]) -> None:
    before = state_of(scene.node.netns), state_of(scene.pod.netns)
    scene.attach(*order)
    for ifname in order:
        for each in scene.results:
            scene.runtime.check(scene.networks[each], scene.pod, each)
        scene.detach(ifname)
        assert failures(scene.probes(4)) == failures(scene.probes(6)) == []

    assert state_of(scene.node.netns).splitlines() == before[0].splitlines()
    assert state_of(scene.pod.netns).splitlines() == before[1].splitlines()


def test_a_dual_stack_nic_beside_an_overlay_without_ipv6_speaks_both_with_its_node(scene: Scene) -> None:
    scene.pod.netns.sysctl({"ipv6/conf/eth0/disable_ipv6": 1})
    scene.node.netns.sysctl({f"ipv6/conf/{scene.overlay.host_end}/disable_ipv6": 1})
    before = state_of(scene.node.netns), state_of(scene.pod.netns)

    scene.attach("net1")
    own = [address(scene.results["net1"], version) for version in VERSIONS]
    ends = [scene.node.addresses.of(version) for version in VERSIONS]
    ways = [Probe(scene.node.netns, Server(scene.pod.netns, at)) for at in own]
    ways += [Probe(scene.pod.netns, Server(scene.node.netns, at)) for at in ends]
    assert failures(ways) == []

    scene.detach("net1")
    assert (state_of(scene.node.netns), state_of(scene.pod.netns)) == before


@pytest.mark.parametrize("gone", ["overlay NIC", "namespace", "record"])
def test_del_works_when_the_rest_went_first(scene: Scene, world: World, gone: str) -> None:
    scene.attach("net1")
    if gone == "overlay NIC":
        scene.node.netns.ip(f"link del {scene.overlay.host_end}")
    elif gone == "namespace":
        delete(scene.pod.netns)
    else:
        world.forget_records()

    scene.detach("net1")
    scene.runtime.delete(scene.networks["net1"], scene.pod, "net1")

    left = state_of(scene.node.netns)
    assert "proto 201" not in left
    assert "lookup 500" not in left


@pytest.mark.parametrize(
    ("migrate", "expected"),
    [
        ((-1, -1), ["net2"]),
        ((-1, 0), ["net1", "net2"]),
        ((0, 0), ["eth0", "net1", "net2"]),
        ((1, -1), ["net1"]),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_default_goes_where_the_configuration_says(
    scene: Scene, version: int, migrate: tuple[int, int], expected: list[str]
) -> None:
    for ifname, value in zip(NICS, migrate, strict=True):
        scene.networks[ifname]["plugins"][-1]["migrate_route"] = value
    scene.attach(*NICS)

    assert sorted(main_defaults(scene.pod, version)) == expected


def test_an_sriov_nic_reaches_its_node_over_the_wire(scene: Scene) -> None:
    scene.networks["net1"]["plugins"][-1]["sriov"] = True
    scene.attach("net1")
    host, pod = state_of(scene.node.netns), state_of(scene.pod.netns)

    assert "proto 201" not in host
    assert "lookup 500" not in host
    assert "10.96.0.0/12 via 169.254.1.1 dev eth0 table 101" in pod
    assert not [line for line in pod.splitlines() if line.startswith("10.6.0.11 ")]


@pytest.mark.parametrize(
    ("ifname", "overlay", "message"),
    [
        ("net1", "net1", 'overlay_interface: "net1" is the NIC of this call itself'),
        ("net1", "eth7", 'overlay_interface: there is no "eth7" in the pod'),
        ("net1", "lo", 'overlay_interface: "lo" (hardware) has no end on this node'),
    ],
)
def test_an_overlay_interface_that_is_none_is_refused(
    scene: Scene, ifname: str, overlay: str, message: str
) -> None:
    scene.networks[ifname]["plugins"][-1]["overlay_interface"] = overlay

    with pytest.raises(PluginError) as refused:
        scene.attach(ifname)

    assert (refused.value.code, refused.value.msg) == (7, message)
