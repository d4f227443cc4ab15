"""What `veth` and `router` share: fixed MACs, address conflicts, gateways, announcements, further routes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.netns.test_several_nics import main_defaults
from tests.netns.test_veth import add_veth
from tests.netns.world import LAN_A, LAN_B, World, address, seen, state_of
from underlay.lab.addresses import VERSIONS
from underlay.lab.errors import PluginError
from underlay.lab.namespace import Netns
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime

QUICK = {"enabled": True, "interval": "100ms", "retries": 2}


def mac_of(netns: Netns, dev: str) -> str:
    (link,) = json.loads(netns.run("ip", "-j", "link", "show", dev))
    return str(link["address"])


def plain(runtime: Runtime, network: Json, pod: Pod, ifname: str = "eth0") -> Json:
    """What macvlan alone makes; the test calls the chained plugin itself."""
    return runtime.add({**network, "plugins": network["plugins"][:1]}, pod, ifname)


def test_a_mac_prefix_is_in_the_pod_and_in_the_result(world: World) -> None:
    lan = world.lan(LAN_A)
    node, pod, client = world.node(), world.pod(), world.host(lan)
    runtime, network = world.runtime(node), world.network(mac_prefix="0a:1b")
    before = state_of(node.netns)

    result = runtime.add(network, pod)

    mac = "0a:1b:" + address(result, 4).packed.hex(":")
    assert mac_of(pod.netns, "eth0") == result["interfaces"][0]["mac"] == mac
    for version in VERSIONS:
        assert seen(client.netns, pod.netns, address(result, version)) == client.addresses.of(version)
    runtime.check(network, pod)
    runtime.delete(network, pod)
    assert state_of(node.netns) == before


def test_only_op_mac_changes_the_mac_and_del_gives_the_old_one_back(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    runtime = world.runtime(node)
    network = world.network(mac_prefix="0a:1b", only_op_mac=True)
    result = plain(runtime, network, pod)
    old, before = mac_of(pod.netns, "eth0"), state_of(node.netns)

    add_veth(runtime, network, pod, result)
    changed = mac_of(pod.netns, "eth0")
    assert state_of(node.netns) == before
    runtime.delete({**network, "plugins": network["plugins"][1:]}, pod)

    assert changed.startswith("0a:1b:")
    assert mac_of(pod.netns, "eth0") == old


def test_check_accepts_a_mac_that_a_later_plugin_has_changed_and_reported(world: World) -> None:
    world.lan(LAN_A)
    pod, runtime = world.pod(), world.runtime(world.node())
    network = world.network(mac_prefix="0a:1b")
    network["plugins"].append({"type": "tuning", "mac": "02:11:22:33:44:55", "mtu": 1400})
    runtime.add(network, pod)

    runtime.call(*_check(runtime, network, pod))
    pod.netns.ip("link set eth0 address 02:11:22:33:44:66")

    with pytest.raises(PluginError, match="ip link set dev eth0 address 0a:1b"):
        runtime.call(*_check(runtime, network, pod))


def _check(runtime: Runtime, network: Json, pod: Pod) -> Any:
    from tests.netns.test_veth import variables
    from underlay.lab.runtime import again

    config = again(network, network["plugins"][1], runtime.attachment(network, pod))
    return "veth", "CHECK", config, variables(runtime, pod)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_address_that_somebody_has_is_refused_and_nothing_changed(world: World, version: int) -> None:
    lan = world.lan(LAN_A)
    node, pod, other = world.node(), world.pod(), world.host(lan)
    runtime = world.runtime(node)
    network = world.network(ip_conflict=QUICK)
    result = plain(runtime, network, pod)
    taken = address(result, version)
    other.netns.ip(f"addr add {taken}/{taken.max_prefixlen} dev eth0 nodad")
    before = state_of(node.netns), state_of(pod.netns)

    with pytest.raises(PluginError) as refused:
        add_veth(runtime, network, pod, result)

    holder = mac_of(other.netns, "eth0")
    assert refused.value.code == 102
    assert (
        refused.value.msg == f"the address {taken} is in use on the network of eth0: {holder} answers for it"
    )
    assert (state_of(node.netns), state_of(pod.netns)) == before


def test_a_free_address_is_not_refused_though_the_node_answers_for_it(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    node.netns.sysctl({"ipv4/conf/eth0/proxy_arp": 1, "ipv4/neigh/eth0/proxy_delay": 0})
    runtime = world.runtime(node)

    result = runtime.add(world.network(ip_conflict=QUICK), pod)

    assert seen(node.netns, pod.netns, address(result, 4)) == node.addresses.v4


def test_gateways_that_answer_let_the_pod_come_up(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()

    result = world.runtime(node).add(world.network(detect_gateway=QUICK, mac_prefix="0a:1b"), pod)

    for version in VERSIONS:
        at = node.addresses.of(version)
        assert seen(pod.netns, node.netns, at) == address(result, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_gateway_that_is_silent_is_named_and_everything_is_as_before(world: World, version: int) -> None:
    lan = world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    runtime = world.runtime(node)
    network = world.network(detect_gateway=QUICK, mac_prefix="0a:1b")
    result = plain(runtime, network, pod)
    gateway = lan.gateway.of(version)
    Netns("t-router1").ip(f"addr del {gateway}/{lan.subnets.of(version).prefixlen} dev eth0")
    before = state_of(node.netns), state_of(pod.netns)

    with pytest.raises(PluginError, match=f"the gateway {gateway} does not answer on the network of eth0"):
        add_veth(runtime, network, pod, result)

    assert state_of(node.netns).splitlines() == before[0].splitlines()
    assert state_of(pod.netns).splitlines() == before[1].splitlines()


def test_a_reused_address_is_announced_so_that_everybody_finds_it_at_once(world: World) -> None:
    lan = world.lan(LAN_A)
    node, pod, client = world.node(), world.pod(), world.host(lan)
    runtime, network = world.runtime(node), world.network()
    result = plain(runtime, network, pod)
    for version in VERSIONS:
        own = address(result, version)
        client.netns.ip(f"neigh replace {own} lladdr 02:00:00:00:00:99 dev eth0 nud reachable")

    add_veth(runtime, network, pod, result)

    for version in VERSIONS:
        assert seen(client.netns, pod.netns, address(result, version)) == client.addresses.of(version)


def test_the_preferred_nic_has_the_default(world: World) -> None:
    for subnet in (LAN_A, LAN_B):
        world.lan(subnet)
    pod, runtime = world.pod(), world.runtime(world.node())
    networks = [world.network(f"n{n}", f"eth{n}", n, default_route_nic="net1") for n in (0, 1)]

    runtime.add(networks[0], pod, "eth0")
    alone = main_defaults(pod, 4), main_defaults(pod, 6)
    runtime.add(networks[1], pod, "net1")
    both = main_defaults(pod, 4), main_defaults(pod, 6)
    runtime.delete(networks[1], pod, "net1")

    assert alone == (["eth0"], ["eth0"])
    assert both == (["net1"], ["net1"])
    assert (main_defaults(pod, 4), main_defaults(pod, 6)) == alone


def test_further_routes_and_the_queue_length_are_on_the_nic(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    runtime = world.runtime(node)
    routes = [{"dst": "192.0.2.0/24", "gw": "10.6.0.1"}, {"dst": "2001:db8:2::/48", "gw": "fd00:6::1"}]
    network = world.network(policy_routes=routes, tx_queue_len=77)
    result = plain(runtime, network, pod)
    before = state_of(pod.netns)

    add_veth(runtime, network, pod, result)

    state = state_of(pod.netns)
    assert "192.0.2.0/24 via 10.6.0.1 dev eth0 proto 201" in state
    assert "192.0.2.0/24 via 10.6.0.1 dev eth0 table 100 proto 201" in state
    assert "2001:db8:2::/48 via fd00:6::1 dev eth0 proto 201" in state
    assert "qlen 77" in state
    runtime.delete({**network, "plugins": network["plugins"][1:]}, pod)
    assert state_of(pod.netns).splitlines() == before.splitlines()
