"""`veth` behind the real macvlan plugin on a real kernel: a pod reaches its node, and leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from tests.netns.world import LAN_A, World, address, failures, seen, state_of, without_veth
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.errors import PluginError
from underlay.lab.namespace import delete
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime, configuration


@pytest.mark.parametrize("version", VERSIONS)
def test_a_macvlan_pod_and_its_node_reach_each_other_only_with_veth(world: World, version: int) -> None:
    world.lan(LAN_A)
    node, pod, plain = world.node(), world.pod(), world.pod("plain")
    runtime = world.runtime(node)

    result = runtime.add(world.network(), pod)
    without = runtime.add(without_veth(world.network()), plain)

    at, own = node.addresses.of(version), address(result, version)
    assert seen(pod.netns, node.netns, at) == own
    assert seen(node.netns, pod.netns, own) == at
    assert seen(plain.netns, node.netns, at) is None
    assert seen(node.netns, plain.netns, address(without, version)) is None


def test_the_pod_is_reached_from_the_lan_and_reaches_it_as_before(world: World) -> None:
    lan = world.lan(LAN_A)
    node, pod, client = world.node(), world.pod(), world.host(lan)
    external = world.external()
    result = world.runtime(node).add(world.network(), pod)

    for version in VERSIONS:
        own = address(result, version)
        for other in (client, external):
            assert seen(other.netns, pod.netns, own) == other.addresses.of(version)
            assert seen(pod.netns, other.netns, other.addresses.of(version)) == own


def test_every_address_of_the_node_is_reached(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    world.runtime(node).add(world.network(), pod)

    every = [each.of(version) for each in node.devices.values() for version in VERSIONS]
    assert len(every) == 4  # the LAN's and a docker-like bridge's, in both families
    assert failures(Probe(pod.netns, Server(node.netns, at)) for at in every) == []


def test_del_leaves_the_node_as_it_was(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    runtime, network = world.runtime(node), world.network()
    before = state_of(node.netns)

    runtime.add(network, pod)
    assert state_of(node.netns) != before
    runtime.delete(network, pod)

    assert state_of(node.netns) == before
    assert not Path(world.state).exists()


def test_the_last_pod_takes_the_rule_with_it_and_no_earlier_one(world: World) -> None:
    world.lan(LAN_A)
    node, first, second = world.node(), world.pod("first"), world.pod("second")
    runtime, one, two = world.runtime(node), world.network(), world.network()
    before = state_of(node.netns)
    runtime.add(one, first)
    kept = state_of(node.netns)
    added = runtime.add(two, second)

    runtime.delete(one, first)
    assert "lookup 500" in node.netns.run("ip", "rule")
    assert seen(node.netns, second.netns, address(added, 4)) == node.addresses.v4
    runtime.delete(two, second)

    assert "lookup 500" in kept
    assert state_of(node.netns) == before


@pytest.mark.parametrize(
    "lost", ["nothing", "prevResult", "record", "prevResult and record", "namespace", "everything"]
)
def test_del_needs_nothing(world: World, lost: str) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    runtime, network = world.runtime(node), world.network()
    before = state_of(node.netns)
    runtime.add(network, pod)

    if lost in ("prevResult", "prevResult and record", "everything"):
        runtime.forget(network, pod)
    if lost in ("record", "prevResult and record", "everything"):
        world.forget_records()
    if lost in ("namespace", "everything"):
        delete(pod.netns)
    runtime.delete(network, pod)
    runtime.delete(network, pod)

    assert state_of(node.netns) == before


def test_del_before_add_changes_nothing(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    before = state_of(node.netns)

    world.runtime(node).delete(world.network(), pod)

    assert state_of(node.netns) == before


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}'])
def test_a_damaged_record_never_makes_del_fail(world: World, text: str) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    runtime, network = world.runtime(node), world.network()
    before = state_of(node.netns)
    runtime.add(network, pod)
    (record,) = Path(world.state).rglob("*.json")
    record.write_text(text)

    runtime.delete(network, pod)

    assert state_of(node.netns) == before


def test_a_second_add_changes_nothing_and_answers_the_same(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    runtime, network = world.runtime(node), world.network()
    first = runtime.add(network, pod)
    states = state_of(node.netns), state_of(pod.netns)

    assert add_veth(runtime, network, pod, first) == first
    assert state_of(node.netns).splitlines() == states[0].splitlines()
    assert state_of(pod.netns).splitlines() == states[1].splitlines()


def add_veth(runtime: Runtime, network: Json, pod: Pod, result: Json, ifname: str = "eth0") -> Json:
    """The chained ADD alone, as a runtime repeats it: with what macvlan had answered."""
    macvlan = {**result, "interfaces": result["interfaces"][:1]}
    config = configuration(network, network["plugins"][-1], macvlan, {})
    return cast(Json, json.loads(runtime.call("veth", "ADD", config, variables(runtime, pod, ifname))))


def variables(runtime: Runtime, pod: Pod, ifname: str = "eth0") -> dict[str, str]:
    return {
        "CNI_CONTAINERID": pod.container_id,
        "CNI_NETNS": pod.netns.path,
        "CNI_IFNAME": ifname,
        "CNI_PATH": ":".join(runtime.bin_dirs),
    }


def test_an_add_with_another_configuration_replaces_the_first(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    runtime, network = world.runtime(node), world.network()
    before = state_of(node.netns)
    result = runtime.add(network, pod)
    network["plugins"][-1]["service_hijack_subnet"] = ["10.112.0.0/12"]

    assert add_veth(runtime, network, pod, result) == result
    assert "10.112.0.0/12" in pod.netns.run("ip", "route")
    assert "10.96.0.0/12" not in pod.netns.run("ip", "route", "show", "table", "all")
    runtime.delete(network, pod)

    assert state_of(node.netns) == before


def test_the_result_has_the_pair_at_the_end_with_a_sandbox_on_the_pods_side_only(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    result = world.runtime(node).add(world.network(), pod)

    nic, host_end, pod_end = result["interfaces"]
    assert nic["name"] == "eth0"
    assert (host_end["name"], "sandbox" in host_end) == (f"veth{pod.container_id[:11]}", False)
    assert (pod_end["name"], pod_end["sandbox"]) == ("veth0", pod.netns.path)
    assert [ip["interface"] for ip in result["ips"]] == [0, 0]
    shown = pod.netns.run("ip", "-br", "link", "show", "veth0")
    assert pod_end["mac"] in shown


def test_check_passes_after_add_and_names_the_one_thing_that_is_lost(world: World) -> None:
    world.lan(LAN_A)
    node, pod = world.node(), world.pod()
    runtime, network = world.runtime(node), world.network()
    runtime.add(network, pod)
    runtime.check(network, pod)

    for netns, undo, redo, name in [
        (node, "route del 10.6.0.100 table 500", "", "host: ip route add 10.6.0.100/32"),
    ]:
        netns.netns.ip(undo)
        with pytest.raises(PluginError) as drift:
            runtime.check(network, pod)
        assert redo == ""
        assert name in drift.value.msg
