"""The contract of every kernel object, on the fake and the real kernel, with pyroute2 as a witness."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields, replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from pyroute2 import IPRoute

from tests.fake_kernel import FakeKernel
from underlay import netns
from underlay.cni.errors import CniError
from underlay.netlink.facts import NodeKernel
from underlay.objects import (
    HOST,
    POD,
    LinkAddress,
    LinkUp,
    Neigh,
    Object,
    Route,
    Rule,
    Sysctl,
    TxQueueLen,
    VethPair,
)
from underlay.plan import Added, Found, apply

A4, A6 = ip_address("10.6.0.9"), ip_address("fd00:6::9")
GW4, GW6 = ip_address("10.6.0.1"), ip_address("fd00:6::1")
PAIR = VethPair("vethabcdef12345", "02:00:00:00:00:01", "veth0", "02:00:00:00:00:02", 1400)
UP = (LinkUp(HOST, PAIR.host_dev), LinkUp(POD, PAIR.pod_dev))
MAC = "02:00:00:00:00:99"

SETTINGS = (Sysctl, LinkAddress, TxQueueLen)
EVERY_KIND: list[Object] = [
    PAIR,
    *UP,
    Sysctl(POD, 4, "veth0", "rp_filter", 2),
    Sysctl(HOST, 4, PAIR.host_dev, "rp_filter", 1),
    Sysctl(POD, 4, "veth0", "arp_ignore", 1),
    Sysctl(POD, 4, "veth0", "arp_notify", 1),
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


def ground_for(obj: Object) -> list[Object]:
    """What has to be there before `obj` can be made."""
    if obj == PAIR:
        return []
    return [PAIR] if obj in UP else [PAIR, *UP]


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
    apply([*ground_for(obj), obj], kernel)

    kernel.remove([PAIR])

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


def test_pyroute2_reads_the_routes_rules_and_neighbours_that_were_written(
    real: NodeKernel, namespaces: tuple[int, int]
) -> None:
    apply([obj for obj in EVERY_KIND if not isinstance(obj, SETTINGS)], real)

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
