"""The main plugin `vxlan` on a real kernel: pods on two nodes, in networks that both nodes join."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from tests.netns.site import GROUP, Attached, Site, two_nodes
from tests.netns.world import World, failures, seen
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe, Server
from underlay.lab.errors import PluginError


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    yield from two_nodes(world)


MULTICAST = {"peers": None, "options": {"group": GROUP, "vtepdev": "eth0"}}
UNICAST: dict[str, Any] = {}


def every_way(*pods: Attached) -> list[Probe]:
    return [
        Probe(one.pod.netns, Server(other.pod.netns, other.address(version)))
        for one in pods
        for other in pods
        for version in VERSIONS
        if one is not other
    ]


@pytest.mark.parametrize("keys", [UNICAST, MULTICAST], ids=["unicast", "multicast"])
def test_pods_of_one_network_reach_each_other_on_one_node_and_across(site: Site, keys: Any) -> None:
    network = site.network(site.blue(**keys))
    pods = [site.pod("a", 0, network), site.pod("b", 0, network), site.pod("c", 1, network)]

    assert failures(every_way(*pods)) == []


def test_a_node_and_its_pods_reach_each_other(site: Site) -> None:
    pod = site.pod("a")
    node = site.nodes[0]

    for version in VERSIONS:
        at = node.addresses.of(version)
        assert seen(pod.pod.netns, node.netns, at) == pod.address(version)
        assert str(seen(node.netns, pod.pod.netns, pod.address(version))) == pod.gateway(version)


def test_pods_of_two_networks_reach_each_other_through_their_node(site: Site) -> None:
    network = site.network(site.blue(), site.green())
    other = site.network(site.green(), site.blue())
    one, two = site.pod("a", 0, network), site.pod("b", 0, other)

    assert failures(every_way(one, two)) == []


def test_the_last_del_leaves_the_node_as_it_was(site: Site) -> None:
    before = site.footprint()
    pods = [site.pod("a", 0), site.pod("b", 0), site.pod("c", 1)]
    assert before.changes() != []

    for pod in pods[:2]:
        pod.delete()
    assert "vx_blue" not in site.nodes[0].netns.run("ip", "link")
    assert "vx_blue" in site.nodes[1].netns.run("ip", "link")
    pods[2].delete()

    assert before.changes() == []


def test_the_result_says_what_was_made(site: Site) -> None:
    pod = site.pod("a", 0, site.network(site.blue(routes=[{"dst": "10.99.0.0/16"}])))
    shown = json.loads(pod.pod.netns.run("ip", "-j", "addr", "show", "eth0"))[0]
    node, nic = pod.result["interfaces"]

    assert (nic["name"], nic["mac"], nic["sandbox"]) == ("eth0", shown["address"], pod.pod.netns.path)
    assert (node["name"], "sandbox" in node) == ("mv_blue", False)
    assert [ip["interface"] for ip in pod.result["ips"]] == [1, 1]
    assert [route["dst"] for route in pod.result["routes"]] == ["10.99.0.0/16", "0.0.0.0/0", "::/0"]
    assert {ip["address"] for ip in pod.result["ips"]} == {
        f"{a['local']}/{a['prefixlen']}" for a in shown["addr_info"] if a["scope"] == "global"
    }


def test_an_equal_add_gives_the_same_answer_and_changes_nothing(site: Site) -> None:
    pod = site.pod("a")
    first, before = pod.result, site.footprint()

    assert pod.add() == first
    assert before.changes() == []
    pod.call("CHECK", prevResult=first)


def test_reused_addresses_are_announced_so_that_everybody_finds_them_at_once(site: Site) -> None:
    asked = ["10.66.0.77", "fd00:66::77"]
    other, reused = site.pod("a", 1), site.nic("b")
    for ip in asked:
        other.pod.netns.ip(f"neigh replace {ip} lladdr 02:00:00:00:00:99 dev eth0 nud reachable")

    reused.call("ADD", runtimeConfig={"ips": asked})

    for version, ip in zip(VERSIONS, asked, strict=True):
        assert seen(other.pod.netns, reused.pod.netns, ip_address(ip)) == other.address(version)


def test_a_check_names_what_is_gone(site: Site) -> None:
    pod = site.pod("a")
    pod.call("CHECK", prevResult=pod.result)
    site.nodes[0].netns.ip(f"addr del {pod.gateway()}/24 dev mv_blue")

    with pytest.raises(PluginError, match="mv_blue") as refused:
        pod.call("CHECK", prevResult=pod.result)
    assert refused.value.code == 101


def test_the_next_pod_mends_what_somebody_has_taken_from_the_node(site: Site) -> None:
    pod = site.pod("a")
    node = site.nodes[0].netns
    before = site.footprint()
    gateway = pod.gateway()
    node.ip(f"addr del {gateway}/24 dev mv_blue", "rule del priority 1500", "link set mv_blue down")

    other = site.pod("b")
    other.delete()

    assert before.changes() == []
    assert failures(every_way(pod, site.pod("c", 1))) == []


@pytest.mark.parametrize("ifname", ["eth0", "net1"])
def test_a_del_needs_neither_namespace_nor_result_and_may_come_twice(site: Site, ifname: str) -> None:
    before = site.footprint()
    pod = site.pod("a", ifname=ifname)
    pod.call("DEL", {"CNI_NETNS": ""})
    assert before.changes() == []
    pod.call("DEL")
    assert before.changes() == []


def test_addresses_are_given_back_by_name(site: Site) -> None:
    network = site.network(site.blue(cidr=["10.66.0.0/29"]))
    first = site.pod("a", 0, network).address()
    annotated = {"vxlan-cni.travishegner.com/RequestedAddress": str(first)}
    wanted = {"args": {"annotations": annotated}}

    with pytest.raises(PluginError, match=f"{first}"):
        site.pod("b", 0, site.network(site.blue(cidr=["10.66.0.0/29"]), **wanted))
    site.nic("a", 0, network).delete()
    assert site.pod("b", 0, site.network(site.blue(cidr=["10.66.0.0/29"]), **wanted)).address() == first


def test_status_says_what_keeps_pods_from_the_rest_of_the_world(site: Site) -> None:
    nic = site.nic("a")
    nic.call("STATUS", cniVersion="1.1.0")
    site.nodes[0].netns.sysctl({"ipv6/conf/all/forwarding": 0})

    with pytest.raises(PluginError, match=r"net\.ipv6\.conf\.all\.forwarding is 0") as limited:
        nic.call("STATUS", cniVersion="1.1.0")
    assert limited.value.code == 51


def test_a_change_of_the_underlays_mtu_is_followed_by_the_next_pod(site: Site) -> None:
    one = site.pod("a")
    site.nodes[0].netns.ip("link set eth0 mtu 1400")

    other = site.pod("b")

    for pod in (one, other):
        pod.call("CHECK", prevResult=pod.result)
        assert json.loads(pod.pod.netns.run("ip", "-j", "link", "show", "eth0"))[0]["mtu"] == 1350
    assert failures(every_way(one, other)) == []


def test_peers_may_change_under_living_pods(site: Site) -> None:
    alone = site.network(site.blue(peers=[]))
    one = site.pod("a", 0, alone)

    other = site.pod("b", 0)

    assert failures(every_way(one, other, site.pod("c", 1))) == []
    site.pod("d", 0, alone)  # and back
    everybody = f"00:00:00:00:00:00 dst {site.peers[1]}"
    assert everybody not in site.nodes[0].netns.run("bridge", "fdb", "show", "dev", "vx_blue")


def test_what_can_not_change_under_living_pods_is_refused_and_done_when_they_are_gone(site: Site) -> None:
    other = site.network(site.blue(options={"port": 4790}))
    one = site.pod("a")
    before = site.footprint()

    with pytest.raises(PluginError, match="this can't change under living pods") as refused:
        site.pod("b", 0, other)
    assert refused.value.code == 7
    assert before.changes() == []
    one.delete()
    site.pod("b", 0, other)
    assert "dstport 4790" in site.nodes[0].netns.run("ip", "-d", "link", "show", "vx_blue")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("other type vxlan id 5001 dstport 4789", "5001 with port 4789 is that of other"),
        ("vx_blue type vxlan id 5001 dstport 8472", "vx_blue is there already with 8472"),
        ("vx_blue type vxlan id 5009 dstport 4789", "something else is there that is not ours"),
        ("mv_blue type bridge", "something else is there that is not ours"),
    ],
)
def test_a_device_that_is_not_ours_is_named_and_left_alone(site: Site, made: str, message: str) -> None:
    site.nodes[0].netns.ip(f"link add {made}")
    before = site.footprint()

    with pytest.raises(PluginError, match=message):
        site.pod("a")
    assert before.changes() == []


def test_a_long_name_gets_links_with_a_hash_and_an_alias(site: Site) -> None:
    before = site.footprint()
    name = "a-namespace-with-a-long-name"
    pod = site.pod("a", 0, site.network(site.blue(name=name)))

    assert site.nodes[0].netns.run("ip", "link").count(f"alias {name}") == 2
    pod.delete()
    assert before.changes() == []


def test_a_group_without_vtepdev_takes_the_link_of_the_default_route(site: Site) -> None:
    site.pod("a", 0, site.network(site.blue(peers=None, options={"group": GROUP})))

    assert f"group {GROUP} dev eth0" in site.nodes[0].netns.run("ip", "-d", "link", "show", "vx_blue")


def test_what_was_learned_is_sent_to_one_node_and_not_to_the_group(site: Site) -> None:
    network = site.network(site.blue(**MULTICAST))
    one, other = site.pod("a", 0, network), site.pod("b", 1, network)
    assert failures(every_way(one, other)) == []

    mac = other.result["interfaces"][1]["mac"]
    assert f"{mac} dst {site.peers[1]} self" in site.nodes[0].netns.run(
        "bridge", "fdb", "show", "dev", "vx_blue"
    )


def test_links_keep_the_queues_that_the_kernel_gives(site: Site) -> None:
    pod = site.pod("a")
    shown = site.nodes[0].netns.run("ip", "link", "show") + pod.pod.netns.run("ip", "link", "show", "eth0")

    lines = [line for line in shown.splitlines() if "vx_blue" in line]
    assert len(lines) == 2
    assert all("qlen 1000" in line for line in lines)
