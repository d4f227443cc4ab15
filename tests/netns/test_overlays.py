"""`router` beside overlays of other kinds than Calico's."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.netns.test_router import NICS, Scene, scene
from tests.netns.test_several_nics import main_defaults
from tests.netns.test_veth import add_veth
from tests.netns.world import LAN_A, LAN_B, World, address, failures, state_of
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.errors import PluginError
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime
from underlay.lab.topology import Node

__all__ = ["scene"]  # the fixture


@dataclass
class Beside:
    """A pod with an overlay's NIC of some kind, and networks for two more."""

    node: Node
    pod: Pod
    runtime: Runtime
    networks: dict[str, Json]

    def failures(self, results: list[Json]) -> list[str]:
        """Between the node and every new NIC, both ways."""
        own = [address(result, version) for result in results for version in VERSIONS]
        return failures(
            probe
            for at in own
            for probe in (
                Probe(self.node.netns, Server(self.pod.netns, at)),
                Probe(
                    self.pod.netns, Server(self.node.netns, self.node.addresses.of(at.version)), source=at
                ),
            )
        )


@pytest.fixture
def beside(world: World) -> Beside:
    for subnet in (LAN_A, LAN_B):
        world.lan(subnet)
    node = world.node()
    networks = {
        name: world.network(name, f"eth{n}", n, type="router", migrate_route=-1)
        for n, name in enumerate(NICS)
    }
    return Beside(node, world.pod(), world.runtime(node), networks)


def cilium(node: Node, pod: Pod, dev: str = "eth0") -> None:
    """A /32 whose gateway is an address of the node itself."""
    node.netns.ip(
        "link add cilium_host type bridge",
        "link set cilium_host up",
        "addr add 10.244.11.1/32 dev cilium_host",
        "addr add fd00:244:0:11::1/128 dev cilium_host nodad",
        f"link add lxc1 type veth peer name {dev} netns {pod.netns.name}",
        "link set lxc1 up",
        "route add 10.244.11.5/32 dev lxc1",
        "route add fd00:244:0:11::5/128 dev lxc1",
    )
    pod.netns.ip(
        f"addr add 10.244.11.5/32 dev {dev}",
        f"addr add fd00:244:0:11::5/128 dev {dev} nodad",
        f"link set {dev} up",
        f"route add 10.244.11.1 dev {dev} scope link",
        f"route add default via 10.244.11.1 dev {dev} mtu 1450",
        f"route add fd00:244:0:11::1 dev {dev}",
        f"route add default via fd00:244:0:11::1 dev {dev}",
    )


def flannel(node: Node, pod: Pod) -> None:
    """A bridge on the node, whose port is the other end of the pod's NIC."""
    node.netns.ip(
        "link add cni0 type bridge forward_delay 0 mcast_snooping 0",
        "link set cni0 up",
        "addr add 10.244.11.1/24 dev cni0",
        "addr add fd00:244:0:11::1/64 dev cni0 nodad",
        f"link add vethf1 type veth peer name eth0 netns {pod.netns.name}",
        "link set vethf1 master cni0 up",
    )
    pod.netns.ip(
        "addr add 10.244.11.5/24 dev eth0",
        "addr add fd00:244:0:11::5/64 dev eth0 nodad",
        "link set eth0 up",
        "route add default via 10.244.11.1",
        "route add default via fd00:244:0:11::1 dev eth0",
        "route add 10.244.0.0/16 via 10.244.11.1",
    )


@pytest.mark.parametrize("make", [cilium, flannel], ids=["cilium", "flannel"])
@pytest.mark.parametrize("rp_filter", [2, 1], ids=["loose node", "strict node"])
def test_two_nics_beside_other_overlays(beside: Beside, make: object, rp_filter: int) -> None:
    beside.node.netns.sysctl({"ipv4/conf/default/rp_filter": rp_filter})
    (cilium if make is cilium else flannel)(beside.node, beside.pod)
    before = state_of(beside.pod.netns)

    results = [beside.runtime.add(network, beside.pod, name) for name, network in beside.networks.items()]
    for name, network in beside.networks.items():
        beside.runtime.check(network, beside.pod, name)
    assert beside.failures(results) == []

    for name, network in beside.networks.items():
        beside.runtime.delete(network, beside.pod, name)
    host = state_of(beside.node.netns)
    assert "proto 201" not in host
    assert "lookup 500" not in host
    assert state_of(beside.pod.netns).splitlines() == before.splitlines()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_overlay_nic_of_any_name_gives_up_main(beside: Beside, version: int) -> None:
    cilium(beside.node, beside.pod, "ovl0")
    network = beside.networks["net1"]
    network["plugins"][-1]["overlay_interface"] = "ovl0"

    beside.runtime.add(network, beside.pod, "net1")
    with_net1 = main_defaults(beside.pod, version)
    beside.runtime.delete(network, beside.pod, "net1")

    assert (with_net1, main_defaults(beside.pod, version)) == (["net1"], ["ovl0"])


def test_two_dual_stack_nics_beside_an_ipv4_overlay_leave_each_other_alone(scene: Scene) -> None:
    scene.pod.netns.sysctl({"ipv6/conf/eth0/disable_ipv6": 1})
    before = state_of(scene.node.netns), state_of(scene.pod.netns)

    scene.attach(*NICS)
    for ifname in NICS:
        scene.runtime.check(scene.networks[ifname], scene.pod, ifname)
    scene.detach("net2")
    scene.runtime.check(scene.networks["net1"], scene.pod, "net1")
    scene.detach("net1")

    assert (state_of(scene.node.netns), state_of(scene.pod.netns)) == before


def test_a_further_route_that_another_nic_has_is_refused_by_name(scene: Scene) -> None:
    for ifname, gateway in zip(NICS, ("10.6.0.1", "10.7.0.1"), strict=True):
        chained = scene.networks[ifname]["plugins"][-1]
        chained["policy_routes"] = [{"dst": "192.0.2.0/24", "gw": gateway}]
    scene.attach("net1")

    with pytest.raises(PluginError, match=r"policy_routes\[0\].dst: .* is a route through net1 already"):
        scene.attach("net2")
    scene.runtime.check(scene.networks["net1"], scene.pod, "net1")


def test_a_multipath_default_over_the_nic_that_goes_leaves_the_other_one_its_part(world: World) -> None:
    for subnet in (LAN_A, LAN_B):
        world.lan(subnet)
    pod, runtime = world.pod(), world.runtime(world.node())
    networks = {name: world.network(name, f"eth{n}", n) for n, name in enumerate(("eth0", "net1"))}
    runtime.add(networks["eth0"], pod, "eth0")
    plain = {**networks["net1"], "plugins": networks["net1"]["plugins"][:1]}
    result = runtime.add(plain, pod, "net1")
    pod.netns.ip(
        "route flush default",
        "route add default nexthop via 10.6.0.1 dev eth0 nexthop via 10.7.0.1 dev net1",
    )
    add_veth(runtime, networks["net1"], pod, result, "net1")

    runtime.delete(networks["eth0"], pod, "eth0")

    assert main_defaults(pod, 4) == ["net1"]


def test_a_repeated_add_that_fails_at_the_gateway_leaves_the_working_pod_as_it_is(world: World) -> None:
    world.lan(LAN_A)
    pod, runtime, network = world.pod(), world.runtime(world.node()), world.network()
    result = runtime.add(network, pod)
    before = state_of(runtime.node), state_of(pod.netns)
    quick = {"enabled": True, "interval": "50ms", "retries": 1}
    network["plugins"][-1] |= {"mac_prefix": "0a:1b", "detect_gateway": quick}
    result["ips"][0]["gateway"] = "10.6.0.77"

    with pytest.raises(PluginError, match=r"the gateway 10\.6\.0\.77 does not answer"):
        add_veth(runtime, network, pod, result)

    assert (state_of(runtime.node), state_of(pod.netns)) == before
