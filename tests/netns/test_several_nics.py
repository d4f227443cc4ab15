"""Several NICs in one pod, behind gateways that drop a reply which comes back another way."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.netns.world import LAN_A, LAN_B, World, address, failures, seen, state_of
from underlay.lab.addresses import VERSIONS, IPAddress
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.namespace import Netns
from underlay.lab.overlay import OverlayPod, connect
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime
from underlay.lab.services import Service, serve
from underlay.lab.topology import Host, Node


@dataclass
class Scene:
    """A pod with eth0 and net1, and everything that it should speak with."""

    node: Node
    second: Node
    pod: Pod
    runtime: Runtime
    networks: dict[str, Json]
    results: dict[str, Json]
    others: list[tuple[Netns, list[IPAddress]]]

    def sources(self, version: int) -> list[IPAddress]:
        return [address(result, version) for result in self.results.values()]


def scene(world: World, second_lan: int) -> Scene:
    """`second_lan` is the LAN of net1: 0 for that of eth0, 1 for another one."""
    lan_a, lan_b = world.lan(LAN_A), world.lan(LAN_B)
    node, second = world.node(11), world.node(12)
    here, there = world.overlay_pod(node, 5), world.overlay_pod(second, 6)
    connect([node, second])
    hosts: list[Host | OverlayPod] = [world.host(lan_a), world.host(lan_b), world.external(), here, there]
    pod, runtime = world.pod(), world.runtime(node)
    networks = {
        "eth0": world.network("first", "eth0", 0),
        "net1": world.network("second", f"eth{second_lan}", second_lan),
    }
    results = {ifname: runtime.add(network, pod, ifname) for ifname, network in networks.items()}
    others = [(host.netns, [host.addresses.of(v) for v in VERSIONS]) for host in hosts]
    every_node = [each.of(v) for each in node.devices.values() for v in VERSIONS]
    others.append((node.netns, every_node))
    return Scene(node, second, pod, runtime, networks, results, others)


@pytest.fixture(params=[1, 0], ids=["two LANs", "one subnet"])
def two_nics(request: pytest.FixtureRequest, world: World) -> Scene:
    return scene(world, request.param)


def pairs(scene: Scene, version: int) -> Iterator[tuple[IPAddress, Netns, IPAddress]]:
    """Each address of the pod with each address of everybody else.

    The second node has a NIC on both LANs and no rules of its own: asked at one from the other LAN
    it answers by the wrong NIC, whoever asks. So it is paired with the pod's NIC on the same LAN only.
    """
    for own, (netns, addresses) in itertools.product(scene.sources(version), scene.others):
        yield from ((own, netns, at) for at in addresses if at.version == version)
    for own, lan in itertools.product(scene.sources(version), scene.second.lans):
        if own in lan.subnets.of(version):
            yield own, scene.second.netns, lan.host(scene.second.number).of(version)


def to_everywhere(scene: Scene, version: int) -> Iterator[Probe]:
    for own, netns, at in pairs(scene, version):
        yield Probe(scene.pod.netns, Server(netns, at), source=own)


def from_everywhere(scene: Scene, version: int) -> Iterator[Probe]:
    for own, netns, at in pairs(scene, version):
        yield Probe(netns, Server(scene.pod.netns, own), source=at)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_address_speaks_with_everybody(two_nics: Scene, version: int) -> None:
    assert failures(to_everywhere(two_nics, version)) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_everybody_speaks_with_every_address(two_nics: Scene, version: int) -> None:
    assert failures(from_everywhere(two_nics, version)) == []


def test_every_address_reaches_services_wherever_the_endpoint_is(world: World) -> None:
    for subnet in (LAN_A, LAN_B):
        world.lan(subnet)
    node, second = world.node(11), world.node(12)
    ends = [world.overlay_pod(node, 5), world.overlay_pod(second, 6)]
    connect([node, second])
    services = [Service(f"s{n}", 10 + n, end.addresses, 8010 + n) for n, end in enumerate(ends)]
    serve([node, second], services)
    pod, runtime = world.pod(), world.runtime(node)
    results = [runtime.add(world.network(f"n{n}", f"eth{n}", n), pod, ("eth0", "net1")[n]) for n in (0, 1)]

    probes = [
        Probe(
            pod.netns,
            Server(end.netns, end.addresses.of(version), service.target_port),
            address=service.addresses.of(version),
            port=80,
            source=address(result, version),
        )
        for version in VERSIONS
        for result in results
        for end, service in zip(ends, services, strict=True)
    ]
    assert len(probes) == 8
    assert failures(probes) == []


def main_defaults(pod: Pod, version: int) -> list[str]:
    """The NICs that hold a default of the pod's main table."""
    words = pod.netns.run("ip", f"-{version}", "route", "show", "default").split()
    return [
        dev for word, dev in itertools.pairwise(words) if word == "dev"
    ]  # IPv6 lists two as one, multipath


@pytest.mark.parametrize(
    ("migrate", "expected"),
    [
        ((None, None), ["eth0"]),
        ((-1, 0), ["eth0", "net1"]),
        ((0, 1), ["eth0"]),
        ((1, -1), ["net1"]),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_main_default_is_with_the_nic_that_the_configuration_says(
    world: World, version: int, migrate: tuple[int | None, int | None], expected: list[str]
) -> None:
    world.lan(LAN_A)
    world.lan(LAN_B)
    pod, runtime = world.pod(), world.runtime(world.node())
    for number, ifname in enumerate(("eth0", "net1")):
        network = world.network(ifname, f"eth{number}", number, migrate_route=migrate[number])
        runtime.add(network, pod, ifname)

    assert sorted(main_defaults(pod, version)) == expected
    for number in (0, 1):
        table = pod.netns.run("ip", f"-{version}", "route", "show", "default", "table", str(100 + number))
        assert f"dev {('eth0', 'net1')[number]}" in table


@pytest.mark.parametrize("order", list(itertools.permutations(["eth0", "net1", "net10"])), ids=" ".join)
def test_nics_can_go_in_any_order_and_those_that_stay_are_not_disturbed(
    world: World, order: list[str]
) -> None:
    lan = world.lan(LAN_A)
    node, pod, client = world.node(), world.pod(), world.host(lan)
    runtime, before = world.runtime(node), state_of(node.netns)
    networks = {ifname: world.network(ifname) for ifname in ("eth0", "net1", "net10")}
    results = {ifname: runtime.add(network, pod, ifname) for ifname, network in networks.items()}

    left = ["eth0", "net1", "net10"]
    for gone in order[:-1]:
        runtime.delete(networks[gone], pod, gone)
        left.remove(gone)
        assert main_defaults(pod, 4) == main_defaults(pod, 6) == left[:1]
        for version in VERSIONS:
            own = [address(results[ifname], version) for ifname in left]
            peers = [(client.netns, client.addresses.of(version)), (node.netns, node.addresses.of(version))]
            assert (
                failures(Probe(n, Server(pod.netns, to), source=at) for to in own for n, at in peers) == []
            )
    runtime.delete(networks[order[-1]], pod, order[-1])

    assert state_of(node.netns) == before
    assert "veth0" not in pod.netns.run("ip", "link")
    assert "lookup 10" not in pod.netns.run("ip", "rule") + pod.netns.run("ip", "-6", "rule")


def test_the_pair_is_made_once_and_reported_by_the_nic_that_made_it(world: World) -> None:
    world.lan(LAN_A)
    pod, runtime = world.pod(), world.runtime(world.node())
    first = runtime.add(world.network("first", veth_mtu=1400), pod, "eth0")
    second = runtime.add(world.network("second", veth_mtu=1300), pod, "net1")

    assert [nic["name"] for nic in first["interfaces"]] == ["eth0", f"veth{pod.container_id[:11]}", "veth0"]
    assert [nic["name"] for nic in second["interfaces"]] == ["net1"]
    assert "mtu 1400" in pod.netns.run("ip", "link", "show", "veth0")


def test_the_second_nic_on_another_lan_leaves_what_the_first_has_made(world: World) -> None:
    for subnet in (LAN_A, LAN_B):
        world.lan(subnet)
    pod, runtime = world.pod(), world.runtime(world.node())
    networks = {ifname: world.network(ifname, f"eth{n}", n) for n, ifname in enumerate(("eth0", "net1"))}
    runtime.add(networks["eth0"], pod, "eth0")
    main = {
        version: pod.netns.run("ip", f"-{version}", "route", "show", "dev", "veth0") for version in VERSIONS
    }

    runtime.add(networks["net1"], pod, "net1")
    runtime.check(networks["eth0"], pod, "eth0")
    runtime.check(networks["net1"], pod, "net1")
    runtime.delete(networks["net1"], pod, "net1")

    runtime.check(networks["eth0"], pod, "eth0")
    for version in VERSIONS:
        assert pod.netns.run("ip", f"-{version}", "route", "show", "dev", "veth0") == main[version]


def test_a_nic_with_any_name_has_a_table_of_its_own(world: World) -> None:
    lan = world.lan(LAN_A)
    pod, runtime, client = world.pod(), world.runtime(world.node()), world.host(lan)
    runtime.add(world.network("first"), pod, "eth0")
    result = runtime.add(world.network("second"), pod, "lan0")

    with pod.netns.entered():
        table = 1000 + socket.if_nametoindex("lan0")
    assert f"from {address(result, 4)} lookup {table}" in pod.netns.run("ip", "rule")
    assert seen(client.netns, pod.netns, address(result, 4)) == client.addresses.v4
