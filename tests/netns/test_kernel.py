"""The contract of every kernel object, on the fake and the real kernel, with pyroute2 as a witness."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import fields, replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from tests.fake_kernel import FakeKernel
from underlay import netns
from underlay.cni.errors import CniError, Conflict, KernelError
from underlay.netlink.facts import NodeKernel
from underlay.netlink.pool import SocketPool
from underlay.objects import (
    HOST,
    POD,
    Address,
    Fdb,
    LinkAddress,
    LinkAlias,
    LinkUp,
    Macvlan,
    Neigh,
    Object,
    Route,
    Rule,
    Sysctl,
    TxQueueLen,
    VethPair,
    Vxlan,
    links_of,
    stands_on,
)
from underlay.objects.fdb import FLOOD
from underlay.objects.link import decode_link, link_by_name
from underlay.objects.sysctl import IPV4_PLACES, IPV6_PLACES, setting_of
from underlay.plan import Added, Found, apply, take_back

A4, A6 = ip_address("10.6.0.9"), ip_address("fd00:6::9")
GW4, GW6 = ip_address("10.6.0.1"), ip_address("fd00:6::1")
PAIR = VethPair("vethabcdef12345", "02:00:00:00:00:01", "veth0", "02:00:00:00:00:02", 1400)
UP = (LinkUp(HOST, PAIR.host_dev), LinkUp(POD, PAIR.pod_dev))
MAC = "02:00:00:00:00:99"
UP_BLUE = (LinkUp(HOST, "vx_blue"),)

VTEP4, VTEP6 = ip_address("192.168.50.12"), ip_address("fd50::12")
BLUE = Vxlan("vx_blue", 5001, "02:00:00:00:50:01", 1450, 4789)
FLOODING = [  # the packets of two leave by multicast, those of the others to VTEPs
    Vxlan("vx_red", 5002, "02:00:00:00:50:02", 1330, 4790, PAIR.host_dev, local=ip_address("fd50::11")),
    Vxlan("vx_pink", 5003, "02:00:00:00:50:03", 1350, 4791, PAIR.host_dev, group=ip_address("239.1.1.7")),
    Vxlan("vx_grey", 5004, "02:00:00:00:50:04", 1330, 4792, PAIR.host_dev, group=ip_address("ff05::100")),
]
TUNED = Vxlan(
    "vx_tuned",
    0xFFFFFF,
    "02:00:00:00:50:05",
    1300,
    4793,
    underlay=PAIR.host_dev,
    local=ip_address("192.168.50.11"),
    group=VTEP4,
    ttl=8,
    tos=4,
    learning=False,
    proxy=True,
    rsc=True,
    l2miss=True,
    l3miss=True,
    gbp=True,
    ageing=0,
    limit=1000,
    port_low=32768,
    port_high=60999,
    tx_queue_len=500,
)
GATEWAY = Macvlan(HOST, "mv_blue", "vx_blue", "02:00:00:00:60:01", 1450)
ETH0 = Macvlan(POD, "eth0", "vx_blue", "02:00:00:00:60:02", 1400)
LINKS: tuple[Object, ...] = (PAIR, BLUE, *FLOODING, TUNED, GATEWAY, ETH0)

SETTINGS = (Sysctl, LinkAddress, LinkAlias, TxQueueLen)
EVERY_KIND: list[Object] = [
    PAIR,
    *UP,
    BLUE,
    *FLOODING,
    TUNED,
    LinkAlias(HOST, "vx_blue", "vx_blue_is_a_network_with_a_long_name"),
    LinkUp(HOST, "vx_blue"),
    Fdb(HOST, "vx_blue", FLOOD, VTEP4),
    Fdb(HOST, "vx_blue", MAC, VTEP4),
    Fdb(HOST, "vx_red", FLOOD, VTEP6),
    Fdb(HOST, "vx_red", MAC, VTEP6),
    GATEWAY,
    Address(HOST, "mv_blue", ip_interface("10.66.0.1/24")),
    Address(HOST, "mv_blue", ip_interface("fd66::1/64"), nodad=True),
    LinkUp(HOST, "mv_blue"),
    Route(HOST, ip_network("10.66.0.11/32"), "mv_blue", proto=202),
    Route(HOST, ip_network("fd66::11/128"), "mv_blue", proto=202),
    ETH0,
    Address(POD, "eth0", ip_interface("10.66.0.11/24")),
    Address(POD, "eth0", ip_interface("fd66::11/64")),
    LinkUp(POD, "eth0"),
    Sysctl(POD, 4, "veth0", "rp_filter", 2),
    Sysctl(HOST, 4, PAIR.host_dev, "rp_filter", 1),
    Sysctl(POD, 4, "veth0", "arp_ignore", 1),
    Sysctl(POD, 4, "veth0", "arp_notify", 1),
    Sysctl(HOST, 4, PAIR.host_dev, "forwarding", 1),
    Sysctl(POD, 4, "veth0", "proxy_arp", 1),
    Sysctl(POD, 6, "veth0", "disable_ipv6", 1),
    Sysctl(POD, 6, "veth0", "accept_ra_defrtr", 0),
    LinkAddress(POD, "veth0", MAC),
    TxQueueLen(POD, "veth0", 250),
    Neigh(HOST, A4, MAC, PAIR.host_dev),
    Neigh(HOST, A6, MAC, PAIR.host_dev),
    Neigh(POD, GW4, MAC, "veth0"),
    Route(HOST, ip_network("10.6.0.9/32"), PAIR.host_dev, table=500),
    Route(HOST, ip_network("fd00:6::9/128"), PAIR.host_dev, table=500),
    Route(POD, ip_network("10.6.0.1/32"), "veth0"),
    Route(POD, ip_network("10.96.0.0/12"), "veth0", via=GW4, onlink=True),
    Route(POD, ip_network("fd00:96::/108"), "veth0", via=GW6, onlink=True),
    Route(POD, ip_network("0.0.0.0/0"), "veth0", via=GW4, table=100, onlink=True, metric=50),
    Route(POD, ip_network("::/0"), "veth0", via=ip_address("fe80::1"), table=100),
    Route(POD, ip_network("10.97.0.0/16"), "veth0", mtu=1300, advmss=1200, table=1007),
    Rule(HOST, 4, 500, 1000),
    Rule(HOST, 6, 500, 1000),
    Rule(POD, 4, 100, 2000, src=ip_network("10.6.0.9/32")),
    Rule(POD, 6, 101, 2000, src=ip_network("fd00:6::9/128")),
    Rule(HOST, 4, 502, 1100, src=ip_network("10.66.0.0/24"), dst=ip_network("10.66.0.0/24")),
    Rule(HOST, 6, 502, 1100, src=ip_network("fd66::/64"), dst=ip_network("fd66::/64")),
    Rule(HOST, 4, 502, 1200, dst=ip_network("10.66.0.11/32")),
    Rule(HOST, 6, 502, 1200, dst=ip_network("fd66::11/128")),
]


@pytest.fixture
def namespaces() -> Iterator[tuple[int, int]]:
    fds = netns.new_netns(), netns.new_netns()
    for fd in fds:  # a namespace without an address refuses gateways: it has no local table yet
        with netns.entered(fd), IPRoute() as ip:
            ip.link("set", index=1, state="up")
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.fixture
def real(namespaces: tuple[int, int]) -> Iterator[NodeKernel]:
    kernel = NodeKernel(*namespaces)
    yield kernel
    kernel.close()


@pytest.fixture(params=["fake", "real"])
def kernel(request: pytest.FixtureRequest) -> Any:
    return FakeKernel() if request.param == "fake" else request.getfixturevalue("real")


def found(obj: Object, namespaces: tuple[int, int]) -> Object | None:
    """What is there in its place now, seen by a kernel that remembers nothing."""
    with closing(NodeKernel(*namespaces)) as afresh:
        return afresh.found(obj)


def ground_for(obj: Object) -> list[Object]:
    """What has to be there before `obj` can be made: the links below it, up, the lowest first."""
    below = stands_on(obj)
    base = next((link for link in LINKS if below in links_of(link)), None)
    if base is None:
        return [] if links_of(obj) else [PAIR, *UP]
    ups = [LinkUp(ns, dev) for ns, dev in links_of(base)]
    return [*ground_for(base), base, *([] if isinstance(obj, LinkUp) else ups)]


@pytest.mark.parametrize("obj", EVERY_KIND, ids=str)
def test_what_is_added_is_what_is_found(kernel: Any, obj: Object) -> None:
    apply([*ground_for(obj), obj], kernel)

    assert kernel.found(obj) == obj


@pytest.mark.parametrize("obj", EVERY_KIND, ids=str)
def test_adding_again_finds_an_equal_object_and_changes_nothing(kernel: Any, obj: Object) -> None:
    apply([*ground_for(obj), obj], kernel)

    assert kernel.add([obj]) == [Found(obj)]
    assert apply([obj], kernel) == ((), ())


@pytest.mark.parametrize("obj", EVERY_KIND, ids=str)
def test_removing_twice_is_as_good_as_once(kernel: Any, obj: Object) -> None:
    apply([*ground_for(obj), obj], kernel)

    assert kernel.remove([obj]) == []
    assert kernel.remove([obj]) == []
    assert (kernel.found(obj) == obj) is isinstance(obj, SETTINGS)  # a setting dies with its device only


@pytest.mark.parametrize(
    "obj",
    [
        Sysctl(POD, 4, "veth0", "rp_filter", 2, was=1),
        Sysctl(POD, 6, "veth0", "accept_ra_defrtr", 0, was=1),
        LinkAddress(POD, "veth0", MAC, was="02:00:00:00:00:77"),
        TxQueueLen(POD, "veth0", 250, was=500),
    ],
    ids=str,
)
def test_a_setting_of_a_link_that_outlives_us_is_put_back_unless_somebody_changed_it(
    kernel: Any, obj: Any
) -> None:
    (field,) = (f.name for f in fields(obj) if f.name in ("value", "mac", "packets"))
    before = replace(obj, **{field: obj.was})
    apply([PAIR, *UP, obj], kernel)

    assert kernel.remove([obj]) == []
    assert kernel.found(obj) == before
    assert kernel.remove([obj]) == []
    assert kernel.found(obj) == before


@pytest.mark.parametrize("obj", EVERY_KIND, ids=str)
def test_what_stands_on_a_link_goes_with_it(kernel: Any, obj: Object) -> None:
    lowest, *_ = [*ground_for(obj), obj]
    apply([*ground_for(obj), obj], kernel)

    kernel.remove([lowest])

    assert kernel.found(obj) == (obj if isinstance(obj, Rule) else None)
    assert kernel.remove([obj]) == []


def test_a_pair_is_made_in_place_with_what_pyroute2_reads_back(
    real: NodeKernel, namespaces: tuple[int, int]
) -> None:
    apply([PAIR, *UP], real)

    for fd, dev, mac in zip(
        namespaces, ("vethabcdef12345", "veth0"), (PAIR.host_mac, PAIR.pod_mac), strict=True
    ):
        with netns.entered(fd), IPRoute() as witness:
            (link,) = witness.link("get", ifname=dev)
        assert link.get("address") == mac
        assert link.get("mtu") == 1400
        assert link.get("state") == "up"
        assert link.get("num_tx_queues") == link.get("num_rx_queues") == 1


def test_pyroute2_reads_every_option_of_a_vxlan_device(
    real: NodeKernel, namespaces: tuple[int, int]
) -> None:
    apply([PAIR, TUNED, *FLOODING, BLUE, LinkAlias(HOST, "vx_blue", "blue")], real)

    with netns.entered(namespaces[0]), IPRoute() as witness:
        seen = {link.get("ifname"): link for link in witness.get_links()}
    tuned, red, grey, blue = (
        dict(vxlan_data(seen[name])) for name in ("vx_tuned", "vx_red", "vx_grey", "vx_blue")
    )
    assert (seen["vx_tuned"].get("txqlen"), seen["vx_tuned"].get("state")) == (500, "down")
    assert (seen["vx_blue"].get("txqlen"), seen["vx_blue"].get("ifalias")) == (1000, "blue")
    assert {name: tuned[f"IFLA_VXLAN_{name}"] for name in TUNED_AS_SEEN} == TUNED_AS_SEEN
    assert "IFLA_VXLAN_GBP" in tuned
    assert tuned["IFLA_VXLAN_LINK"] == seen[PAIR.host_dev]["index"]
    assert red["IFLA_VXLAN_LOCAL6"] == "fd50::11"
    assert grey["IFLA_VXLAN_GROUP6"] == "ff05::100"
    assert (blue["IFLA_VXLAN_LEARNING"], blue["IFLA_VXLAN_PORT"], blue["IFLA_VXLAN_AGEING"]) == (
        1,
        4789,
        300,
    )


TUNED_AS_SEEN = {
    "ID": 0xFFFFFF,
    "GROUP": "192.168.50.12",
    "LOCAL": "192.168.50.11",
    "TTL": 8,
    "TOS": 4,
    "LEARNING": 0,
    "PROXY": 1,
    "RSC": 1,
    "L2MISS": 1,
    "L3MISS": 1,
    "AGEING": 0xFFFFFFFF,
    "LIMIT": 1000,
    "PORT_RANGE": {"low": 32768, "high": 60999},
    "PORT": 4793,
}


def vxlan_data(link: Any) -> Any:
    return dict(link.get("linkinfo")["attrs"])["IFLA_INFO_DATA"]["attrs"]


def test_pyroute2_reads_a_macvlan_that_was_made_in_the_pod(
    real: NodeKernel, namespaces: tuple[int, int]
) -> None:
    addresses: list[Object] = [obj for obj in EVERY_KIND if isinstance(obj, Address) and obj.ns == POD]
    apply([BLUE, *UP_BLUE, ETH0, *addresses, LinkUp(POD, "eth0")], real)

    with netns.entered(namespaces[0]), IPRoute() as witness:
        lower = witness.link_lookup(ifname="vx_blue")[0]
        assert witness.link_lookup(ifname="eth0") == []
    with netns.entered(namespaces[1]), IPRoute() as witness:
        (link,) = witness.link("get", ifname="eth0")
        held = [(a.get("address"), a["prefixlen"]) for a in witness.get_addr(index=link["index"], scope=0)]
    info = dict(link.get("linkinfo")["attrs"])
    assert (link.get("address"), link.get("mtu"), link.get("state")) == (ETH0.mac, 1400, "up")
    assert (link.get("link"), link.get("num_tx_queues"), link.get("num_rx_queues")) == (lower, 1, 1)
    assert (info["IFLA_INFO_KIND"], dict(info["IFLA_INFO_DATA"]["attrs"])["IFLA_MACVLAN_MODE"]) == (
        "macvlan",
        "bridge",
    )
    assert held == [("10.66.0.11", 24), ("fd66::11", 64)]
    assert real.index(POD, "eth0") == link["index"]


def test_pyroute2_reads_the_entries_of_the_forwarding_database(
    real: NodeKernel, namespaces: tuple[int, int]
) -> None:
    flood = [Fdb(HOST, "vx_blue", FLOOD, ip_address(f"192.168.50.{n}")) for n in (12, 13)]
    apply([BLUE, *UP_BLUE, *flood, Fdb(HOST, "vx_blue", MAC, VTEP4)], real)

    with netns.entered(namespaces[0]), IPRoute() as witness:
        entries = witness.fdb("dump", ifindex=witness.link_lookup(ifname="vx_blue")[0])
    assert sorted((e.get("lladdr"), e.get("dst"), e["state"], e["flags"]) for e in entries) == [
        (FLOOD, "192.168.50.12", 0x80, 2),
        (FLOOD, "192.168.50.13", 0x80, 2),
        (MAC, "192.168.50.12", 0x80, 2),
    ]


def test_pyroute2_reads_the_routes_rules_and_neighbours_that_were_written(
    real: NodeKernel, namespaces: tuple[int, int]
) -> None:
    apply([obj for obj in EVERY_KIND if not isinstance(obj, SETTINGS)], real)

    with netns.entered(namespaces[0]), IPRoute() as witness:
        on_node = witness.link_lookup(ifname="mv_blue")[0]
        bypass = [r for r in witness.get_rules(family=2) if r.get("priority") == 1100]
        claims = [r for r in witness.get_routes(family=2) if r["proto"] == 202]
    with netns.entered(namespaces[1]), IPRoute() as witness:
        index = witness.link_lookup(ifname="veth0")[0]
        services = [r for r in witness.get_routes(family=2) if r.get("dst") == "10.96.0.0"]
        rules = [r for r in witness.get_rules(family=2) if r.get("priority") == 2000]
        neighbours = witness.get_neighbours(family=2, ifindex=index)
    assert [(r.get("gateway"), r.get("oif"), r["proto"], r["flags"] & 4) for r in services] == [
        ("10.6.0.1", index, 201, 4)
    ]
    assert [(r.get("src"), r["src_len"], r.get("table"), r.get("protocol")) for r in rules] == [
        ("10.6.0.9", 32, 100, 201)
    ]
    assert [(r.get("src"), r.get("dst"), r["dst_len"], r.get("table")) for r in bypass] == [
        ("10.66.0.0", "10.66.0.0", 24, 502)
    ]
    assert [(r.get("oif"), r["scope"], r.get("table")) for r in claims] == [(on_node, 253, 254)]
    assert [(n.get("dst"), n.get("lladdr"), n["state"], n.get("protocol")) for n in neighbours] == [
        ("10.6.0.1", MAC, 0x80, 201)
    ]


def test_a_batch_goes_on_after_an_error_and_says_which_object_it_was(real: NodeKernel) -> None:
    apply([PAIR, *UP], real)
    good = Route(POD, ip_network("10.1.0.0/16"), "veth0")
    bad = Route(POD, ip_network("10.2.0.0/16"), "veth0", via=ip_address("192.0.2.77"))
    later = Route(POD, ip_network("10.3.0.0/16"), "veth0")

    first, second, third = real.add([good, bad, later])

    assert (first, third) == (Added(), Added())
    assert isinstance(second, CniError)
    assert second.msg.startswith(str(bad) + ": Network is unreachable")


def test_a_thousand_routes_are_one_call(real: NodeKernel) -> None:
    many = [Route(POD, ip_network((0x0B000000 + n * 256, 24)), "veth0") for n in range(1000)]
    apply([PAIR, *UP, *many], real)

    assert len([obj for obj in real.ours(POD) if obj in set(many)]) == 1000
    assert real.remove(many) == []
    assert not real.ours(POD)


def test_a_dead_pod_leaves_nothing_to_do(namespaces: tuple[int, int]) -> None:
    alone = NodeKernel(namespaces[0], None)
    try:
        assert alone.remove(EVERY_KIND) == []
        assert alone.found(PAIR) is None
    finally:
        alone.close()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (BLUE, replace(BLUE, mtu=1400, tx_queue_len=500)),
        (GATEWAY, replace(GATEWAY, mtu=1400)),
        (ETH0, replace(ETH0, mtu=1300)),
    ],
    ids=["vxlan", "macvlan on the node", "macvlan in the pod"],
)
def test_a_link_of_ours_is_adjusted_in_place_and_set_back_by_a_plan_that_fails(
    real: NodeKernel, old: Any, new: Any
) -> None:
    apply([*ground_for(old), old], real)
    before = real.link(old.ns, old.dev)

    applied = apply([new], real)

    assert real.found(new) == new
    assert take_back(applied, real) == []
    assert real.found(old) == old
    assert real.link(old.ns, old.dev) == before


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (BLUE, replace(BLUE, mac=MAC)),
        (BLUE, replace(BLUE, vni=5009)),
        (BLUE, replace(BLUE, port=8472)),
        (BLUE, replace(BLUE, local=VTEP4)),
        (BLUE, replace(BLUE, learning=False)),
        (GATEWAY, replace(GATEWAY, mac=MAC)),
        (ETH0, replace(ETH0, mac=MAC)),
        (Fdb(HOST, "vx_blue", MAC, VTEP4), Fdb(HOST, "vx_blue", MAC, ip_address("192.168.50.13"))),
    ],
    ids=["mac", "vni", "port", "local", "learning", "macvlan", "macvlan in the pod", "fdb"],
)
def test_another_object_in_the_place_is_told_and_not_taken_over(
    kernel: Any, there: Any, wanted: Any
) -> None:
    apply([*ground_for(there), there], kernel)

    with pytest.raises(Conflict) as refused:
        apply([wanted], kernel)

    assert f"there is: {there}" in refused.value.details
    assert kernel.found(there) == there


@pytest.mark.parametrize(
    ("there", "other"),
    [
        (BLUE, replace(BLUE, mac=MAC)),
        (BLUE, replace(BLUE, vni=5009)),
        (GATEWAY, replace(GATEWAY, mac=MAC)),
        (ETH0, replace(ETH0, mac=MAC)),
        (Fdb(HOST, "vx_blue", MAC, VTEP4), Fdb(HOST, "vx_blue", MAC, ip_address("192.168.50.13"))),
    ],
    ids=["mac", "vni", "macvlan", "macvlan in the pod", "fdb"],
)
def test_what_is_not_ours_is_not_removed(kernel: Any, there: Any, other: Any) -> None:
    apply([*ground_for(there), there], kernel)

    assert kernel.remove([other]) == []

    assert kernel.found(there) == there


@pytest.mark.parametrize(
    ("made", "by_now"),
    [(BLUE, replace(BLUE, mtu=1400)), (ETH0, replace(ETH0, mtu=1300))],
    ids=["vxlan", "macvlan"],
)
def test_a_link_of_ours_is_removed_whatever_its_mtu_is_by_now(
    real: NodeKernel, made: Any, by_now: Any
) -> None:
    apply([*ground_for(made), made], real)
    apply([by_now], real)

    assert real.remove([made]) == []

    assert real.link(made.ns, made.dev) is None


@pytest.mark.parametrize("obj", [replace(BLUE, dev="veth0"), replace(ETH0, ns=HOST, dev="veth0")], ids=str)
def test_a_link_of_another_kind_that_has_the_name_stays(real: NodeKernel, obj: Any) -> None:
    apply([VethPair("veth0", obj.mac, "other", MAC, 1500), *ground_for(obj)], real)

    with pytest.raises(Conflict, match="is there that is not ours") as refused:
        apply([obj], real)

    assert "there is another link veth0 on the node" in refused.value.details
    assert real.remove([obj]) == []
    assert real.link(HOST, "veth0")


def test_a_vni_that_another_device_has_is_told(real: NodeKernel) -> None:
    apply([BLUE], real)

    with pytest.raises(Conflict) as refused:
        apply([replace(BLUE, dev="vx_other", mac=MAC)], real)

    assert "VXLAN device of another name with VNI 5001 on port 4789" in refused.value.details


def test_a_vxlan_device_with_an_option_that_we_never_set_is_not_found(namespaces: tuple[int, int]) -> None:
    with netns.entered(namespaces[0]), IPRoute() as ip:
        ip.link(
            "add", ifname="vx_blue", kind="vxlan", address=BLUE.mac, mtu=1450, vxlan_id=5001, vxlan_port=4789
        )
        assert found(BLUE, namespaces) == BLUE
        ip.link("set", ifname="vx_blue", kind="vxlan", vxlan_df=1)

    assert found(BLUE, namespaces) is None


def test_a_macvlan_in_another_mode_is_not_found(real: NodeKernel, namespaces: tuple[int, int]) -> None:
    apply([BLUE, GATEWAY], real)
    with netns.entered(namespaces[0]), IPRoute() as ip:
        ip.link("set", ifname="mv_blue", kind="macvlan", macvlan_mode="private")

    assert found(GATEWAY, namespaces) is None


def test_links_of_the_pod_are_removed_from_the_pod(real: NodeKernel) -> None:
    apply([BLUE, *UP_BLUE, GATEWAY, ETH0], real)

    assert real.remove([ETH0]) == []
    assert real.found(ETH0) is None
    assert real.found(GATEWAY) == GATEWAY


@pytest.mark.parametrize("asked", range(1, 6))
def test_the_answers_of_the_pod_are_its_own_after_a_macvlan_is_made_there(
    real: NodeKernel, asked: int
) -> None:
    """An echo would come to the pod's socket, as the answer to a question with the same number."""
    apply([BLUE, *UP_BLUE], real)
    for _ in range(asked):
        assert real.link_at(POD, 1)

    apply([ETH0], real)

    answer = real.link_at(POD, 1)
    assert answer
    assert answer.name == "lo"


class Unlucky(NodeKernel):
    """It chooses the index of `lo`, which every namespace has."""

    chosen = 1

    def new_index(self) -> int:
        return self.chosen


def test_the_nodes_end_of_a_pair_is_born_up(real: NodeKernel, namespaces: tuple[int, int]) -> None:
    """And is not brought up once more; the other end can't be, before it has one to speak with."""
    near, far = UP

    apply([PAIR], real)

    assert (found(near, namespaces), found(far, namespaces)) == (near, None)
    assert real.add([near]) == [Added()]
    assert real.add([near]) == [Found(near)]


@pytest.mark.parametrize("index", [1, 199, 201], ids=["both", "in the pod", "on the node"])
def test_a_pair_with_an_index_that_is_taken_gets_others(namespaces: tuple[int, int], index: int) -> None:
    host, pod = namespaces
    with closing(Unlucky(pod, host)) as other, closing(Unlucky(host, pod)) as unlucky:
        other.chosen, unlucky.chosen = 200, index
        apply([replace(PAIR, host_dev="other0", pod_dev="other1")], other)  # 200 in the pod, 201 on the node
        routes = [Route(POD, ip_network("10.9.0.0/16"), PAIR.pod_dev)]

        applied = apply([PAIR, *UP, *routes], unlucky)

        assert applied.added == (PAIR, *UP, *routes)
    assert found(PAIR, namespaces) == PAIR
    assert [found(up, namespaces) for up in UP] == [*UP]


def test_a_link_whose_index_is_taken_gets_another(namespaces: tuple[int, int]) -> None:
    with closing(Unlucky(*namespaces)) as unlucky:
        applied = apply([BLUE, *UP_BLUE, ETH0, LinkUp(POD, "eth0")], unlucky)

        assert applied.added == (BLUE, *UP_BLUE, ETH0, LinkUp(POD, "eth0"))
    assert found(ETH0, namespaces) == ETH0
    assert found(LinkUp(POD, "eth0"), namespaces)


def test_a_link_whose_index_and_name_are_taken_is_refused_by_name(namespaces: tuple[int, int]) -> None:
    other = replace(ETH0, mac=MAC)
    with closing(Unlucky(*namespaces)) as unlucky:
        apply([BLUE, *UP_BLUE, other], unlucky)

        with pytest.raises(Conflict) as refused:
            apply([ETH0], unlucky)

    assert f"there is: {other}" in refused.value.details
    assert found(ETH0, namespaces) == other


@pytest.mark.parametrize(
    ("setting", "other"),
    [
        (Sysctl(POD, 4, "eth0", "arp_notify", 1), Sysctl(POD, 4, "eth0", "arp_notify", 0)),
        (Sysctl(POD, 6, "eth0", "disable_ipv6", 1), Sysctl(POD, 6, "eth0", "disable_ipv6", 0)),
        (LinkAddress(POD, "eth0", MAC), LinkAddress(POD, "eth0", ETH0.mac)),
        (LinkAlias(POD, "eth0", "blue"), LinkAlias(POD, "eth0", "red")),
    ],
    ids=str,
)
def test_only_the_first_setting_of_a_new_link_replaces_nothing(
    real: NodeKernel, namespaces: tuple[int, int], setting: Object, other: Object
) -> None:
    apply([BLUE, *UP_BLUE, ETH0, setting], real)

    assert found(setting, namespaces) == setting
    assert apply([setting], real) == ((), ())
    assert apply([other], real).replaced == ((setting, other),)


def test_a_macvlan_on_a_link_that_is_not_there_says_so(real: NodeKernel) -> None:
    with pytest.raises(KernelError, match="there is no link vx_blue in the host namespace"):
        apply([ETH0], real)


def test_the_vteps_of_the_flood_entry_are_added_and_removed_one_by_one(kernel: Any) -> None:
    many = [Fdb(HOST, "vx_blue", FLOOD, ip_address(f"192.168.50.{n}")) for n in range(1, 60)]
    apply([BLUE, *UP_BLUE, *many], kernel)

    assert kernel.remove(many[:1]) == []

    assert [kernel.found(entry) for entry in many] == [None, *many[1:]]
    assert apply(many, kernel).added == (many[0],)


def test_what_the_kernel_has_learnt_of_a_mac_gives_way(
    real: NodeKernel, namespaces: tuple[int, int]
) -> None:
    wanted, learnt, reachable = Fdb(HOST, "vx_blue", MAC, VTEP4), "192.168.50.99", 0x02
    apply([BLUE, *UP_BLUE], real)
    with netns.entered(namespaces[0]), IPRoute() as ip:
        index = ip.link_lookup(ifname="vx_blue")[0]
        ip.fdb("add", ifindex=index, lladdr=MAC, dst=learnt, state=reachable)

    applied = apply([wanted], real)

    assert [str(old) for old, _ in applied.replaced] == [
        f"host: bridge fdb add {MAC} dev vx_blue dst {learnt} self dynamic"
    ]
    assert real.found(wanted) == wanted
    assert take_back(applied, real) == []
    assert real.found(wanted) is None


def test_an_address_that_waits_for_dad_is_changed_into_one_that_does_not(real: NodeKernel) -> None:
    waiting = Address(HOST, "mv_blue", ip_interface("fd66::1/64"))
    apply([*ground_for(waiting), waiting], real)

    applied = apply([replace(waiting, nodad=True)], real)

    assert real.found(waiting) == replace(waiting, nodad=True)
    assert take_back(applied, real) == []
    assert real.found(waiting) == waiting


def test_an_ipv6_address_with_another_length_is_in_the_way(real: NodeKernel) -> None:
    there = Address(HOST, "mv_blue", ip_interface("fd66::1/128"))
    apply([*ground_for(there), there], real)

    with pytest.raises(Conflict) as refused:
        apply([Address(HOST, "mv_blue", ip_interface("fd66::1/64"))], real)

    assert f"there is: {there}" in refused.value.details


def test_addresses_of_other_links_and_lengths_are_others(real: NodeKernel) -> None:
    here = Address(HOST, "mv_blue", ip_interface("10.66.0.1/24"))
    longer = replace(here, address=ip_interface("10.66.0.1/25"))
    apply([*ground_for(here), here, longer], real)

    assert real.remove([longer]) == []
    assert real.found(here) == here
    assert real.found(longer) is None
    assert real.found(replace(here, dev="vx_blue")) is None


@pytest.mark.parametrize(
    ("version", "key"), [(4, key) for key in IPV4_PLACES] + [(6, key) for key in IPV6_PLACES]
)
@pytest.mark.parametrize("value", [0, 1])
def test_a_link_carries_a_setting_as_its_file_has_it(
    real: NodeKernel, namespaces: tuple[int, int], version: int, key: str, value: int
) -> None:
    path = f"/proc/sys/net/ipv{version}/conf/veth0/{key}"
    apply([PAIR, *UP, Sysctl(POD, version, "veth0", key, value)], real)
    with netns.entered(namespaces[1]):
        assert Path(path).read_text(encoding="ascii") == f"{value}\n"
        Path(path).write_text(f"{1 - value}", encoding="ascii")

    with closing(NodeKernel(*namespaces)) as afresh:
        link = afresh.link(POD, "veth0")
    assert link
    assert setting_of(link, version, key) == 1 - value


def test_routing_daemons_hear_that_a_link_forwards(real: NodeKernel, namespaces: tuple[int, int]) -> None:
    rtnlgrp_ipv4_netconf, add_membership, sol_netlink = 24, 1, 270
    apply([PAIR], real)
    with netns.entered(namespaces[0]):
        daemon = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with daemon:
        daemon.bind((0, 0))
        daemon.setsockopt(sol_netlink, add_membership, rtnlgrp_ipv4_netconf)
        daemon.setblocking(False)  # what the kernel has to say, it says before the request is done

        apply([Sysctl(HOST, 4, PAIR.host_dev, "forwarding", 1)], real)

        assert daemon.recv(4096)


def test_links_that_are_deleted_in_the_background_are_gone_at_once(namespaces: tuple[int, int]) -> None:
    threads: list[threading.Thread] = []

    def background(work: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=work))
        threads[-1].start()

    kernel = NodeKernel(*namespaces, background)
    try:
        apply([PAIR, *UP], kernel)

        assert kernel.remove([PAIR]) == []
        assert kernel.link(HOST, PAIR.host_dev) is None
        assert kernel.remove([PAIR]) == []
    finally:
        for thread in threads:
            thread.join()
        kernel.close()
    assert len(threads) == 1


def test_the_socket_that_has_deleted_a_link_serves_the_next_call(namespaces: tuple[int, int]) -> None:
    threads: list[threading.Thread] = []

    def background(work: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=work))
        threads[-1].start()

    with closing(SocketPool()) as pool:
        for _ in range(3):
            with closing(NodeKernel(*namespaces, background, pool=pool)) as kernel:
                apply([PAIR, *UP], kernel)
                assert kernel.remove([PAIR]) == []
            threads[-1].join()

            used = pool.take(namespaces[0])
            assert used.is_idle
            assert decode_link(used.ask(link_by_name("lo")) or b"").name == "lo"
            pool.give(used)
