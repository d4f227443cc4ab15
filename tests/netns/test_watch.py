"""What a process that stays remembers of a node counts as long as nothing has changed there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.netns.site import Attached, Site, two_nodes
from tests.netns.world import Inside, World
from underlay.cni.plugin import Topic
from underlay.lab.namespace import Netns
from underlay.netlink.watch import Watch
from underlay.netns import open_netns


@pytest.fixture
def node(world: World) -> Netns:
    made = world.netns("watched")
    made.ip("link add nic0 type veth peer name nic1", "link set nic0 up", "link set nic1 up")
    made.ip(
        "addr add 10.6.0.1/24 dev nic0", "route add 10.7.0.0/16 dev nic0", "rule add table 77 priority 77"
    )
    return made


@pytest.fixture
def watch(node: Netns) -> Iterator[Watch]:
    fd = open_netns(node.path)
    with closing(Watch(fd)) as watch:
        os.close(fd)
        yield watch


def settled(watch: Watch, topic: Topic = Topic.ALL) -> int:
    """The count when nothing comes any more: the kernel gives links their addresses a moment later."""
    deadline = time.monotonic() + 10
    before, now = -1, watch.changes(topic)
    while before != now:
        assert time.monotonic() < deadline
        time.sleep(0.3)
        before, now = now, watch.changes(topic)
    return now


CHANGES = [
    "link set nic0 mtu 1400",
    "link set nic0 down",
    "link set nic0 address 02:00:00:00:00:77",
    "link set nic0 name nic7",
    "link del nic0",
    "link add br0 type bridge",
    "addr add 10.6.0.2/24 dev nic0",
    "addr del 10.6.0.1/24 dev nic0",
    "-6 addr add fd00:6::1/64 dev nic0",
    "route add default via 10.6.0.9",
    "route del 10.7.0.0/16 dev nic0",
    "-6 route add fd00:7::/64 dev nic0",
    "rule del priority 77",
    "-6 rule add table 78 priority 78",
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_pods_share_is_counted(node: Netns, watch: Watch, change: str) -> None:
    settled(watch)
    node.ip("link set nic0 promisc off")  # tells of each link once
    before = settled(watch)

    node.run("ip", *change.split())

    assert watch.changes() > before


def test_what_a_pod_brings_with_it_is_not(node: Netns, watch: Watch) -> None:
    settled(watch)
    node.ip("link set nic0 promisc on", "link set nic0 promisc off")  # tells of each link once
    before = settled(watch)

    node.ip("route add 10.66.0.5 dev nic0 proto 202", "route add fd00:66::5 dev nic0 proto 202")
    node.ip("link set nic0 promisc on", "route del 10.66.0.5 dev nic0 proto 202")
    node.ip("neigh add 10.6.0.8 lladdr 02:00:00:00:00:08 dev nic0", "neigh del 10.6.0.8 dev nic0")

    assert settled(watch) == before


SETTINGS = [
    "addr add 10.6.0.2/24 dev nic0",
    "addr del 10.6.0.1/24 dev nic0",
    "-6 addr add fd00:6::1/64 dev nic0",
    "rule del priority 77",
    "-6 rule add table 78 priority 78",
]


@pytest.mark.parametrize("change", SETTINGS)
def test_a_change_of_the_settings_is_counted(node: Netns, watch: Watch, change: str) -> None:
    before = settled(watch, Topic.SETTINGS)

    node.run("ip", *change.split())

    assert watch.changes(Topic.SETTINGS) > before


def test_so_is_one_of_what_holds_for_all_links(node: Netns, watch: Watch) -> None:
    before = settled(watch, Topic.SETTINGS)

    node.sysctl({"ipv4/conf/all/rp_filter": 2})

    assert watch.changes(Topic.SETTINGS) > before


def test_a_pair_that_comes_and_goes_is_no_change_of_the_settings(node: Netns, watch: Watch) -> None:
    before = settled(watch, Topic.SETTINGS)

    node.ip("link add pod0 type veth peer name pod1", "link set pod0 up", "link set pod1 up")
    node.ip("route add 10.6.0.9 dev pod0 table 500", "neigh add 10.6.0.9 lladdr 02:00:00:00:00:09 dev pod0")
    assert settled(watch, Topic.SETTINGS) == before
    node.ip("link del pod0")

    assert settled(watch, Topic.SETTINGS) == before


def test_whom_a_vxlan_sends_to_is_counted(node: Netns, watch: Watch) -> None:
    node.ip("link add vx0 type vxlan id 7 dstport 4789 local 10.6.0.1")
    before = settled(watch)
    node.run("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx0", "dst", "10.6.0.9")
    middle = watch.changes()
    node.run("bridge", "fdb", "del", "00:00:00:00:00:00", "dev", "vx0", "dst", "10.6.0.9")

    assert before < middle < watch.changes()


def test_what_was_kept_is_forgotten_with_the_next_change(node: Netns, watch: Watch) -> None:
    before = settled(watch)
    watch.keep("blue", before, "as it was")

    assert watch.recall("blue", watch.changes()) == "as it was"
    assert watch.recall("green", watch.changes()) is None
    node.ip("addr add 10.6.0.2/24 dev nic0")
    assert watch.recall("blue", watch.changes()) is None


def test_more_than_can_be_told_is_a_change(node: Netns, watch: Watch) -> None:
    settled(watch)
    node.ip("link set nic0 promisc on", "link set nic0 promisc off")  # tells of each link once
    before = settled(watch)
    node.ip(*["link set nic0 promisc on", "link set nic0 promisc off"] * 10)
    assert settled(watch) == before

    node.ip(*["link set nic0 promisc on", "link set nic0 promisc off"] * 1000)

    assert watch.changes() > before


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    yield from two_nodes(world)


@pytest.fixture
def staying(site: Site) -> Iterator[Inside]:
    """A process that stays on the first node."""
    with closing(Inside(site.nodes[0].netns, site.world.state)) as node:
        node.memory = watch = Watch(node._host)  # noqa: SLF001  as the agent does
        with closing(watch):
            yield node


BROKEN = [
    "link set mv_blue down",
    "link set vx_blue down",
    "addr flush dev mv_blue",
    "rule del priority 1500",
    "-6 rule del priority 1500",
    "route flush table 1000005001",
    "link del mv_blue",
]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_process_that_stays_mends_what_somebody_has_broken(
    site: Site, staying: Inside, broken: str
) -> None:
    pods = [site.nic(name) for name in ("a", "b", "c")]
    for pod in pods[:2]:
        pod.run("ADD", staying)
    site.nodes[0].netns.run("ip", *broken.split())

    pods[2].run("ADD", staying)

    checked(pods[2], staying)
    if broken != "link del mv_blue":  # the address that pods were given is gone for good
        checked(pods[0], staying)


def checked(pod: Attached, node: Inside) -> None:
    pod.run("CHECK", node, prevResult=pod.result)


def test_a_process_that_stays_follows_a_change_of_the_configuration(site: Site, staying: Inside) -> None:
    peers = [*site.peers, "10.6.0.77"]
    for name in ("a", "b"):
        site.nic(name).run("ADD", staying)

    site.nic("c", network=site.network(site.blue(peers=peers))).run("ADD", staying)

    assert "dst 10.6.0.77" in site.nodes[0].netns.run("bridge", "fdb", "show", "dev", "vx_blue")


def test_a_process_that_stays_joins_again_after_the_last_pod_has_gone(site: Site, staying: Inside) -> None:
    before = site.footprint()
    for _ in range(3):
        for name in ("a", "b"):
            site.nic(name).run("ADD", staying)
        checked(site_nic := site.nic("a"), staying)
        for name in ("a", "b"):
            site.nic(name).run("DEL", staying)
        assert before.changes() == []
        assert site_nic.result is not None
