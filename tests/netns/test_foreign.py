"""What is not ours is never taken over nor removed; what an earlier pod left of ours is replaced."""

from __future__ import annotations

import re

import pytest

from tests.netns.world import LAN_A, Footprint, Nic, World, address, seen
from underlay.lab.addresses import VERSIONS
from underlay.lab.errors import PluginError
from underlay.lab.namespace import Netns
from underlay.lab.pod import Pod

HOST_END = "veth425c89ed5bb"  # of the pod named "pod"


@pytest.fixture
def nic(world: World) -> Nic:
    world.lan(LAN_A)
    return world.nic(world.runtime(world.node()), world.pod())


def there(nic: Nic, where: str) -> Netns:
    return nic.runtime.node if where == "host" else nic.pod.netns


IN_THE_WAY = [
    ("host", "ip route add 10.6.0.100/32 dev eth0 table 500 proto static"),
    ("host", "ip route add 10.6.0.100/32 via 10.6.0.1 table 500 proto bird"),
    ("host", "ip -6 route add fd00:6::100/128 dev eth0 table 500 proto static"),
    ("pod", "ip route add 10.6.0.11/32 dev eth0 proto static"),
    ("pod", "ip route add 10.96.0.0/12 via 10.6.0.1 proto static"),
    ("pod", "ip -6 route add fd00:96::/108 via fd00:6::1 proto static"),
]


@pytest.mark.parametrize(("where", "command"), IN_THE_WAY)
def test_a_foreign_route_in_the_way_is_a_conflict_and_the_message_says_what_is_there(
    world: World, nic: Nic, where: str, command: str
) -> None:
    there(nic, where).run(*command.split())
    before = Footprint(world, nic.runtime.node, nic.pod.netns)

    with pytest.raises(PluginError) as refused:
        nic.call("ADD")

    dst = command.split("add ")[1].split(maxsplit=1)[0]
    assert refused.value.code == 102
    assert re.match(rf"{where}: +ip (-6 )?route add {dst} .*: something else is there", refused.value.msg)
    assert before.changes() == []
    (obstacle,) = re.findall(r"(?:host|pod): +(ip .*? proto \d+)", refused.value.details)
    there(nic, where).run(*obstacle.replace(" add ", " del ").split())
    nic.call("ADD")
    nic.call("CHECK")


@pytest.mark.parametrize(
    "command",
    [
        f"link add {HOST_END} type veth peer name foreign",
        f"link add {HOST_END} type bridge",
    ],
)
def test_a_foreign_link_with_the_name_of_the_host_end_is_a_conflict(
    world: World, nic: Nic, command: str
) -> None:
    nic.runtime.node.ip(command)
    before = Footprint(world, nic.runtime.node, nic.pod.netns)

    with pytest.raises(PluginError, match=f"ip link add {HOST_END} .*: something else is there") as refused:
        nic.call("ADD")

    assert refused.value.code == 102
    assert before.changes() == []
    nic.call("DEL")
    assert before.changes() == []


def test_a_foreign_veth0_in_the_pod_is_a_conflict(world: World, nic: Nic) -> None:
    nic.pod.netns.ip("link add veth0 type veth peer name other")
    before = Footprint(world, nic.runtime.node, nic.pod.netns)

    with pytest.raises(PluginError, match=r"veth0 .*: something else is there") as refused:
        nic.call("ADD")

    assert refused.value.code == 102
    assert before.changes() == []
    nic.call("DEL")
    assert before.changes() == []


def test_a_foreign_route_in_the_table_of_the_nic_names_the_table_and_the_plugin_sbr(
    world: World, nic: Nic
) -> None:
    nic.pod.netns.ip("route add default via 10.6.0.1 dev eth0 table 100")
    before = Footprint(world, nic.runtime.node, nic.pod.netns)

    with pytest.raises(PluginError, match="table 100 of the pod has a route that is not ours") as refused:
        nic.call("ADD")

    assert refused.value.code == 7
    assert "sbr" in refused.value.details
    assert before.changes() == []


@pytest.mark.parametrize("dev", ["eth0", "docker0"])
def test_the_routes_that_an_earlier_pod_left_are_replaced_and_gone_after_del(
    world: World, nic: Nic, dev: str
) -> None:
    node = nic.runtime.node
    before = Footprint(world, node)
    node.run("ip", "route", "add", "10.6.0.100/32", "dev", dev, "table", "500", "proto", "201")
    node.run("ip", "-6", "route", "add", "fd00:6::100/128", "dev", dev, "table", "500", "proto", "201")

    nic.call("ADD")
    nic.call("CHECK")
    shown = node.run("ip", "route", "show", "table", "500") + node.run(
        "ip", "-6", "route", "show", "table", "500"
    )
    nic.call("DEL")

    assert shown.count(f"dev {HOST_END}") == len(shown.splitlines()) == 2
    assert before.changes() == []


def test_a_foreign_twin_of_the_host_rule_stands_beside_ours_and_survives_del(world: World, nic: Nic) -> None:
    node = nic.runtime.node
    for family in ("-4", "-6"):
        node.run("ip", family, "rule", "add", "from", "all", "lookup", "500", "priority", "1000")
    before = Footprint(world, node)

    nic.call("ADD")
    rules = [node.run("ip", family, "rule").count("from all lookup 500") for family in ("-4", "-6")]
    nic.call("DEL")

    assert rules == [2, 2]
    assert before.changes() == []


def test_foreign_routes_rules_and_links_on_the_node_are_nobodys_business(world: World, nic: Nic) -> None:
    node = nic.runtime.node
    node.ip(
        "link add vethforeign type veth peer name foreign",
        "link set vethforeign up",
        "route add 10.6.0.200/32 dev eth0 table 500",
        "rule add from 10.6.0.200 lookup 500 priority 999",
        "neigh add 10.6.0.200 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
    )
    before = Footprint(world, node)

    for verb in ("ADD", "CHECK", "DEL", "DEL"):
        nic.call(verb)

    assert before.changes() == []


@pytest.mark.parametrize("plugin", ["veth", "router"])
@pytest.mark.parametrize("version", VERSIONS)
def test_an_add_that_fails_leaves_the_pod_that_has_the_same_address_by_mistake_as_it_was(
    world: World, version: int, plugin: str
) -> None:
    world.lan(LAN_A)
    node = world.node()
    first, second = (Pod(world.overlay_pod(node, n).netns, f"pod{n}") for n in (5, 6))
    runtime, network = world.runtime(node), world.network(type=plugin)
    own = address(runtime.add(network, first, "net1"), version)
    # In the way of what is made last:
    second.netns.ip("link add lan type veth peer name other", "link set lan up", "link set other up")
    second.netns.ip("route add 10.96.0.0/12 dev lan proto static")

    with pytest.raises(PluginError, match="something else is there"):
        runtime.add(network, second, "net1")
    runtime.delete(network, second, "net1")

    assert seen(node.netns, first.netns, own) is not None
    runtime.check(network, first, "net1")
