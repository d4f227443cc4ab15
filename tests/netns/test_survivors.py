"""What a call for one NIC must not do to the others, nor to another pod."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.netns.test_several_nics import main_defaults
from tests.netns.test_veth import add_veth, variables
from tests.netns.world import LAN_A, LAN_B, World, address, failures, seen, state_of
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.errors import PluginError
from underlay.lab.namespace import create, delete
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime, configuration


def call(runtime: Runtime, pod: Pod, verb: str, network: Json, **environment: str) -> str:
    """One call of the chained plugin alone, without prevResult."""
    config = configuration(network, network["plugins"][-1], None, {})
    plugin = network["plugins"][-1]["type"]
    return runtime.call(plugin, verb, config, variables(runtime, pod) | environment)


@pytest.fixture
def two(world: World) -> tuple[World, Runtime, Pod, dict[str, Json], dict[str, Json]]:
    """A pod with eth0 and net1 on two LANs."""
    for subnet in (LAN_A, LAN_B):
        world.lan(subnet)
    pod, runtime = world.pod(), world.runtime(world.node())
    networks = {ifname: world.network(ifname, f"eth{n}", n) for n, ifname in enumerate(("eth0", "net1"))}
    results = {ifname: runtime.add(network, pod, ifname) for ifname, network in networks.items()}
    return world, runtime, pod, networks, results


def test_del_of_a_nic_that_never_was_leaves_the_pods_pair_alone(two: Any) -> None:
    _, runtime, pod, networks, results = two

    call(runtime, pod, "DEL", networks["eth0"] | {"name": "never"}, CNI_NETNS="", CNI_IFNAME="net2")

    for ifname, network in networks.items():
        runtime.check(network, pod, ifname)
    runtime.delete(networks["eth0"], pod, "eth0")
    assert main_defaults(pod, 4) == main_defaults(pod, 6) == ["net1"]
    assert seen(runtime.node, pod.netns, address(results["net1"], 4))


@pytest.mark.parametrize("is_recorded", [True, False], ids=["record", "no record"])
def test_del_with_a_path_that_leads_to_another_pod_touches_only_its_own(
    world: World, is_recorded: bool
) -> None:
    world.lan(LAN_A)
    node = world.node()
    runtime, first, second = world.runtime(node), world.pod("first"), world.pod("second")
    one, two = world.network("one"), world.network("two")
    runtime.add(one, first)
    runtime.add(two, second)
    before = state_of(second.netns)
    if not is_recorded:
        call(runtime, first, "DEL", one)

    call(runtime, first, "DEL", one, CNI_NETNS=second.netns.path)

    assert state_of(second.netns) == before
    runtime.check(two, second)


def test_a_repeated_add_that_is_refused_leaves_the_working_pod_as_it_is(two: Any) -> None:
    _, runtime, pod, networks, results = two
    before = state_of(runtime.node), state_of(pod.netns)
    networks["eth0"]["plugins"][-1]["overlay_hijack_subnet"] = [str(LAN_A.v4)]

    with pytest.raises(PluginError, match="is the subnet of eth0 itself"):
        add_veth(runtime, networks["eth0"], pod, results["eth0"])

    assert (state_of(runtime.node), state_of(pod.netns)) == before


def test_del_succeeds_and_the_default_comes_back_later_when_the_other_nic_is_down(two: Any) -> None:
    _, runtime, pod, networks, results = two
    pod.netns.ip("link set net1 down")

    runtime.delete(networks["eth0"], pod, "eth0")
    pod.netns.ip("link set net1 up", f"addr add {address(results['net1'], 6)}/64 dev net1 nodad")
    add_veth(runtime, networks["net1"], pod, results["net1"], "net1")

    assert main_defaults(pod, 4) == main_defaults(pod, 6) == ["net1"]


def test_a_nic_that_is_plugged_in_again_elsewhere_gets_nothing_of_its_predecessor(two: Any) -> None:
    world, runtime, pod, networks, _ = two
    pod.netns.ip("link del net1")  # without DEL

    networks["net1"] = world.network("again", "eth0", 0)
    runtime.add(networks["net1"], pod, "net1")
    runtime.delete(networks["eth0"], pod, "eth0")

    for version in VERSIONS:
        default = pod.netns.run("ip", f"-{version}", "route", "show", "default")
        assert str(LAN_A.host(1).of(version)) in default
        assert str(LAN_B.host(1).of(version)) not in default


def test_the_pairs_settings_are_those_of_the_nic_that_made_it(world: World) -> None:
    world.lan(LAN_A)
    pod, runtime = world.pod(), world.runtime(world.node())
    first = world.network("first")
    runtime.add(first, pod, "eth0")
    runtime.add(world.network("second", rp_filter={"value": 0}), pod, "net1")

    runtime.check(first, pod, "eth0")


def test_gc_after_the_namespace_was_made_anew_leaves_the_living_pod_alone(world: World) -> None:
    world.lan(LAN_A)
    pod, runtime = world.pod(), world.runtime(world.node())
    network = world.network()
    network["plugins"][0]["ipam"] |= {"type": "static"}
    runtime.add(network, pod)
    delete(pod.netns)
    create(pod.netns)
    runtime.forget(network, pod)
    runtime.add(network, pod)

    newest = {**network, "cniVersion": "1.1.0"}
    call(runtime, pod, "GC", newest)

    runtime.check(network, pod)


def test_one_busy_container_does_not_keep_gc_from_the_others(world: World) -> None:
    world.lan(LAN_A)
    runtime, network = world.runtime(world.node()), world.network()
    for name in ("first", "second"):
        pod = world.pod(name)
        runtime.add(world.network(), pod)
        delete(pod.netns)
    (host,) = Path(world.state).iterdir()
    damaged = sorted(host.iterdir())[0]
    (record,) = damaged.glob("*.json")
    record.write_text("{")

    valid: dict[str, Any] = {"cni.dev/valid-attachments": []}
    call(runtime, world.pod("any"), "GC", {**network, "cniVersion": "1.1.0", **valid})

    newest = configuration({**network, "cniVersion": "1.1.0"}, network["plugins"][-1], None, {}) | valid
    runtime.call("veth", "GC", newest, {"CNI_PATH": ":".join(runtime.bin_dirs)})
    assert not Path(world.state).exists()


def test_a_multipath_default_is_whole_again_after_a_failed_add(world: World) -> None:
    for subnet in (LAN_A, LAN_B):
        world.lan(subnet)
    pod, runtime = world.pod(), world.runtime(world.node())
    runtime.add(world.network("first", "eth0", 0), pod, "eth0")
    network = world.network("second", "eth1", 1)
    macvlan = {**network, "plugins": network["plugins"][:1]}
    result = runtime.add(macvlan, pod, "net1")
    pod.netns.ip(
        "route flush default",
        "route add default nexthop via 10.6.0.1 dev eth0 weight 3 nexthop via 10.7.0.1 dev net1 weight 5",
        "route add 10.8.0.0/16 dev net1 table 101",
    )
    before = pod.netns.run("ip", "route")

    with pytest.raises(PluginError, match="table 101 of the pod has a route that is not ours"):
        add_veth(runtime, network, pod, result, "net1")
    assert pod.netns.run("ip", "route") == before

    pod.netns.ip("route del 10.8.0.0/16 table 101")
    add_veth(runtime, network, pod, result, "net1")
    assert main_defaults(pod, 4) == ["eth0"]


def test_routes_of_the_result_that_say_the_same_twice_are_one(world: World) -> None:
    world.lan(LAN_A)
    node = world.node()
    pod, runtime, network = world.pod(), world.runtime(node), world.network()
    routes = network["plugins"][0]["ipam"]["routes"]
    routes += [
        {"dst": "203.0.113.0/24", "gw": "10.6.0.1"},
        {"dst": f"{node.addresses.v4}/32", "gw": "10.6.0.1"},
    ]
    plain = {**network, "plugins": network["plugins"][:1]}
    result = runtime.add(plain, pod)
    pod.netns.ip(f"route del {node.addresses.v4}/32")
    result["routes"].append({"dst": "203.0.113.0/24", "gw": "10.6.0.2"})

    config = configuration(network, network["plugins"][-1], result, {})
    runtime.call("veth", "ADD", config, variables(runtime, pod))
    runtime.call("veth", "CHECK", config, variables(runtime, pod))

    assert f"{node.addresses.v4} dev veth0" in pod.netns.run("ip", "route", "show", "table", "100")


def test_records_are_for_root_alone_whatever_the_umask(world: World) -> None:
    world.lan(LAN_A)
    pod, runtime = world.pod(), world.runtime(world.node())
    before = os.umask(0)
    try:
        runtime.add(world.network(), pod)
    finally:
        os.umask(before)

    for path in [Path(world.state), *Path(world.state).rglob("*")]:
        assert path.stat().st_mode & 0o022 == 0, path
        assert not path.is_dir() or path.stat().st_mode & 0o777 == 0o700


def test_a_nic_that_is_down_is_brought_up(world: World) -> None:
    world.lan(LAN_A)
    pod, runtime, network = world.pod(), world.runtime(world.node()), world.network()
    result = runtime.add({**network, "plugins": network["plugins"][:1]}, pod)
    pod.netns.ip("link set eth0 down")

    add_veth(runtime, network, pod, result)

    assert "UP" in json.loads(pod.netns.run("ip", "-j", "link", "show", "eth0"))[0]["flags"]
    assert failures([Probe(runtime.node, Server(pod.netns, address(result, 4)))]) == []
