"""`underlay status` on a real node: what is there, what was broken, and after `gc` that all is well."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.netns.agents import Agent
from tests.netns.command import underlay
from tests.netns.site import Site, one_node
from tests.netns.world import LAN_A, World
from underlay.install import is_built
from underlay.lab.errors import PluginError
from underlay.lab.namespace import delete
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime


@pytest.fixture
def runtime(world: World) -> Runtime:
    """The runtime of a node on a LAN, on which the plugins are installed."""
    world.lan(LAN_A)
    there = world.runtime(world.node())
    done = underlay("install", *dirs(world), "--names-dir", f"{world.directory}/names")
    assert done.returncode == 0
    return replace(there, bin_dirs=(f"{world.directory}/bin", *world.bin_dirs[1:]))


@pytest.fixture
def pod(world: World, runtime: Runtime) -> Pod:
    """A pod with two NICs, on that node."""
    pod = world.pod()
    runtime.add(world.network(), pod)
    runtime.add(world.network("second"), pod, "net1")
    return pod


def dirs(world: World) -> list[str]:
    return ["--bin-dir", f"{world.directory}/bin", "--conf-dir", f"{world.directory}/conf"]


def options(world: World, socket: str = "/nonexistent/agent.sock") -> list[str]:
    return [*dirs(world), "--state", world.state, "--socket", socket]


def status(world: World, runtime: Runtime, socket: str = "/nonexistent/agent.sock") -> Json:
    """What a program reads; the exit code has to say the same."""
    done = underlay("status", "-o", "json", *options(world, socket), node=runtime.node)
    assert done.stderr == ""
    found: Json = json.loads(done.stdout)
    assert done.returncode == (0 if found["ok"] else 1)
    return found


def wrong(found: Json) -> list[str]:
    return [each["what"] for each in found["findings"] if each["level"] == "wrong"]


@pytest.mark.usefixtures("pod")
def test_a_node_that_is_well(world: World, runtime: Runtime) -> None:
    found = status(world, runtime)

    assert wrong(found) == []
    assert [(each["pod"], each["ifname"], each["addresses"]) for each in found["attachments"]] == [
        ("default/pod", "eth0", ["10.6.0.100", "fd00:6::100"]),
        ("default/pod", "net1", ["10.6.0.101", "fd00:6::101"]),
    ]
    assert [(each["name"], each["plugin"], each["pods"]) for each in found["networks"]] == [
        ("lan", "veth", 1),
        ("second", "veth", 1),
    ]
    assert found["installed"]["version"] == found["version"]


def test_a_person_reads_the_same_in_lines(world: World, runtime: Runtime, pod: Pod) -> None:
    done = underlay("status", *options(world), node=runtime.node, env={"COLUMNS": "120"})

    assert done.returncode == 0
    assert pod.container_id not in done.stdout  # it has a name
    assert "default/pod" in done.stdout
    assert "fd00:6::101" in done.stdout


def test_what_somebody_takes_away_is_named(world: World, runtime: Runtime, pod: Pod) -> None:
    runtime.node.ip("rule del priority 1000")
    pod.netns.ip("route flush table 100")

    first, second = wrong(status(world, runtime))

    assert first.startswith("default/pod eth0: missing or changed: pod:  ip route add 10.6.0.0/24 dev eth0")
    assert first.endswith(" table 100 proto 201 and 6 more")
    rule = "host: ip rule add from all lookup 500 priority 1000 proto 201"
    assert second == f"default/pod net1: missing or changed: {rule}"


def test_a_pod_that_is_gone_is_left_over_until_it_is_collected(
    world: World, runtime: Runtime, pod: Pod
) -> None:
    delete(pod.netns)

    assert wrong(status(world, runtime)) == ["left over: 2 things that nobody owns"]
    done = underlay("gc", "--state", world.state, node=runtime.node)

    assert done.returncode == 0
    found = status(world, runtime)
    assert (wrong(found), found["attachments"]) == ([], [])


@pytest.mark.usefixtures("pod")
def test_a_node_whose_address_changes_says_which_pods_look_for_it(world: World, runtime: Runtime) -> None:
    runtime.node.ip("addr del 10.6.0.11/24 dev eth0", "addr add 10.6.0.12/24 dev eth0")

    assert wrong(status(world, runtime)) == [
        "default/pod: made when the node had 10.6.0.11, which it has no more"
    ]


def test_a_plugin_that_somebody_replaced_is_named(world: World, runtime: Runtime) -> None:
    veth = Path(world.directory, "bin/veth")
    veth.write_text("#!/bin/sh\n")

    assert wrong(status(world, runtime)) == [f"veth in {veth.parent} is another program's"]


def test_a_firewall_that_drops_is_a_risk(world: World, runtime: Runtime) -> None:
    runtime.node.run("nft", "add table ip filter")
    runtime.node.run(
        "nft", "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    )
    runtime.node.run("nft", "add chain ip filter KUBE-FORWARD")
    runtime.node.run("nft", "add rule ip filter KUBE-FORWARD ct state invalid drop")

    found = status(world, runtime)

    risks = [each["what"] for each in found["findings"] if each["level"] == "risk"]
    assert [what for what in risks if what.startswith("the chain ip filter FORWARD drops")]
    assert [what for what in risks if what.startswith("ip filter KUBE-FORWARD drops packets that conntrack")]
    assert found["ok"]


def test_a_node_that_does_not_forward_is_wrong_and_its_plugins_say_so(
    world: World, runtime: Runtime
) -> None:
    network = {**world.network(), "cniVersion": "1.1.0"}
    network["plugins"] = network["plugins"][1:]
    runtime.status(network)
    runtime.node.sysctl({"ipv4/conf/all/forwarding": 0})

    assert wrong(status(world, runtime)) == [
        "net.ipv4.conf.all.forwarding is 0: pods reach this node, and nothing behind it"
    ]
    with pytest.raises(PluginError, match=r"net\.ipv4\.conf\.all\.forwarding is 0") as refused:
        runtime.status(network)
    assert refused.value.code == 51


def test_ipv6_is_asked_for_only_where_the_node_has_a_way_out(world: World, runtime: Runtime) -> None:
    network = {**world.network(), "cniVersion": "1.1.0"}
    network["plugins"] = network["plugins"][1:]
    runtime.node.sysctl({"ipv6/conf/all/forwarding": 0})
    runtime.node.run("ip", "-6", "route", "del", "default")

    runtime.status(network)


def test_what_networkd_would_take_away_is_a_risk(world: World, runtime: Runtime) -> None:
    """Below another root, in which one runs."""
    root = Path(world.directory, "host")
    (root / "run/systemd/netif").mkdir(parents=True)
    (root / "run/systemd/netif/state").write_text("")
    (root / "etc/systemd/networkd.conf.d").mkdir(parents=True)
    (root / "etc/systemd/networkd.conf.d/a.conf").write_text("[Network]\nManageForeignRoutes=no\n")

    done = underlay(
        "status", "-o", "json", "--host-root", str(root), "--state", world.state, node=runtime.node
    )

    found = [each["what"] for each in json.loads(done.stdout)["findings"]]
    assert (
        "when systemd-networkd starts, it removes what others made (ManageForeignRoutingPolicyRules)"
        in found
    )


# The agent


@pytest.fixture
def agent(world: World) -> Iterator[Agent]:
    if not is_built():
        pytest.skip("the agent: no C compiler has built the shim that asks it")
    with closing(Agent(world.state)) as agent:
        agent.start()
        yield agent


def test_an_agent_says_who_it_is(world: World, runtime: Runtime, agent: Agent) -> None:
    found = status(world, runtime, agent.socket)

    assert found["agent"]["pid"] == agent.process.pid
    assert found["agent"]["socket"] == agent.socket
    assert found["findings"] == []


def test_an_agent_that_was_killed_answers_nobody(world: World, runtime: Runtime, agent: Agent) -> None:
    agent.kill()

    found = status(world, runtime, agent.socket)

    assert found["agent"] == {"error": f"{agent.socket}: Connection refused"}
    assert [each["level"] for each in found["findings"]] == ["risk"]


# Networks of `vxlan`


@pytest.fixture
def site(world: World) -> Site:
    return one_node(world)


def test_what_the_node_has_in_a_network_is_shown(site: Site, world: World) -> None:
    pod = site.pod("one")

    found = status(world, pod.runtime)

    (network,) = found["networks"]
    assert (network["name"], network["plugin"], network["pods"]) == ("blue", "vxlan", 1)
    assert f"{pod.gateway()}/24" in network["node"]
    assert [each["addresses"] for each in found["attachments"]] == [
        [str(pod.address(4)), str(pod.address(6))],
    ]
