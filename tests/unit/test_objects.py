"""The codec of kernel objects, without a kernel: what is written is what is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import fields, replace
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from underlay.cni.errors import KernelError
from underlay.objects import (
    HOST,
    IP,
    KINDS,
    OURS,
    POD,
    Address,
    Fdb,
    Interface,
    LinkAddress,
    LinkAlias,
    LinkUp,
    Macvlan,
    Neigh,
    Network,
    Ns,
    Object,
    Route,
    Rule,
    Sysctl,
    TxQueueLen,
    VethPair,
    Vxlan,
    as_json,
    from_json,
)
from underlay.objects.fdb import FLOOD
from underlay.objects.link import Link, decode_link
from underlay.objects.route import ONLINK, Hop, foreign_defaults, foreign_routes, routes
from underlay.objects.rule import rules
from underlay.objects.veth_pair import VETH_INFO_PEER
from underlay.objects.wire import (
    IFINFO,
    IFLA_ADDRESS,
    IFLA_INFO_DATA,
    IFLA_LINKINFO,
    RTM_NEWLINK,
    Message,
    attribute,
    attributes,
    mac_bytes,
    mac_text,
)

DEVS = ("eth0", "veth0", "eth0.100", "n" * 15)
U32 = st.integers(1, 2**32 - 1)
BYTE = st.integers(0, 255)


class Memory:
    """What objects may ask of a kernel that holds the messages it was given, and these links."""

    def __init__(self, *held: Message) -> None:
        self.held = held

    def link(self, ns: Ns, dev: str) -> Link | None:
        made = [decode_link(held.body) for held in self.held if held.type == RTM_NEWLINK]
        if dev not in DEVS or made:
            return next((link for link in made if link.name == dev), None)
        return Link(
            index=self.index(ns, dev), name=dev, mac="", mtu=1500, up=True, settings={4: (), 6: ()}, peer=0
        )

    def index(self, ns: Ns, dev: str) -> int:
        if dev not in DEVS:
            raise KernelError(f"there is no link {dev}")
        return DEVS.index(dev) + 1

    def dev(self, ns: Ns, index: int) -> str:
        return DEVS[index - 1] if 0 < index <= len(DEVS) else ""

    def new_index(self) -> int:
        return 100

    def netns_fd(self, ns: Ns) -> int:
        return 7

    def dump(self, ns: Ns, request: Message) -> list[bytes]:
        """RTM_NEW… and RTM_GET… of one kind are two apart."""
        return [held.body for held in self.held if held.type == request.type - 2]

    def grouped(
        self, ns: Ns, request: Message, place: Callable[[bytes], Hashable]
    ) -> dict[Hashable, list[bytes]]:
        bodies = self.dump(ns, request)
        return {at: [body for body in bodies if place(body) == at] for at in map(place, bodies)}

    def sysctl(self, ns: Ns, path: str) -> str | None:
        return None


def networks(version: int) -> st.SearchStrategy[Network]:
    longest = 32 if version == 4 else 128
    return st.builds(
        lambda ip, length: ip_network((ip, length), strict=False),
        st.ip_addresses(v=version),  # type: ignore[arg-type]  # its overloads want a literal
        st.integers(0, longest),
    )


def addresses(version: int) -> st.SearchStrategy[IP]:
    return st.ip_addresses(v=version)  # type: ignore[arg-type]


NAMESPACES, DEV = st.sampled_from([HOST, POD]), st.sampled_from(DEVS)
MAC = st.binary(min_size=6, max_size=6).map(mac_text)
VERSION = st.sampled_from([4, 6])
HOP = st.builds(
    Hop,
    DEV,
    st.one_of(st.just(""), addresses(4).map(str), addresses(6).map(str)),
    st.sampled_from([0, ONLINK]),
    st.integers(1, 256),
)


@st.composite
def all_routes(draw: st.DrawFn) -> Route:
    version = draw(VERSION)
    is_multipath = version == 4 and draw(st.booleans())
    next_hop = st.one_of(addresses(4), addresses(6)) if version == 4 else addresses(6)
    return Route(
        draw(NAMESPACES),
        draw(networks(version)),
        dev="" if is_multipath else draw(DEV),
        via=None if is_multipath else draw(st.none() | next_hop),
        table=draw(U32),
        src=draw(st.none() | addresses(version)),
        metric=draw(st.just(0) | U32),
        proto=draw(BYTE | st.just(OURS)),
        onlink=draw(st.booleans()),
        mtu=draw(st.just(0) | U32),
        advmss=draw(st.just(0) | U32),
        hops=tuple(draw(st.lists(HOP, min_size=2, max_size=4))) if is_multipath else (),
        expires=draw(st.integers(0, 9000)),
    )


def interfaces(version: int) -> st.SearchStrategy[Interface]:
    longest = 32 if version == 4 else 128
    return st.builds(
        lambda ip, length: ip_interface((ip, length)), addresses(version), st.integers(0, longest)
    )


@st.composite
def vxlans(draw: st.DrawFn) -> Vxlan:
    version, port, flag = draw(VERSION), st.integers(0, 0xFFFF), st.booleans()
    low, high = sorted((draw(port), draw(port)))
    return Vxlan(
        draw(DEV),
        draw(st.integers(0, 0xFFFFFF)),
        draw(MAC),
        draw(st.integers(68, 65535)),
        draw(port),
        underlay=draw(st.just("") | DEV),
        local=draw(st.none() | addresses(version)),
        group=draw(st.none() | addresses(version)),
        ttl=draw(BYTE),
        tos=draw(BYTE),
        learning=draw(flag),
        proxy=draw(flag),
        rsc=draw(flag),
        l2miss=draw(flag),
        l3miss=draw(flag),
        gbp=draw(flag),
        ageing=draw(st.just(0) | st.integers(1, 2**32 - 2)),
        limit=draw(st.just(0) | U32),
        port_low=low,
        port_high=high,
        tx_queue_len=draw(st.just(0) | U32),
    )


MACVLANS = st.builds(Macvlan, NAMESPACES, DEV, DEV, MAC, st.integers(68, 65535))
ADDRESSES = st.builds(Address, NAMESPACES, DEV, VERSION.flatmap(interfaces), st.booleans())
FDB = st.builds(Fdb, NAMESPACES, DEV, st.just(FLOOD) | MAC, st.ip_addresses())
NEIGHS = st.builds(Neigh, NAMESPACES, st.ip_addresses(), MAC, DEV, BYTE)
RULES = VERSION.flatmap(
    lambda version: st.builds(
        Rule,
        NAMESPACES,
        st.just(version),
        U32,
        U32,
        st.none() | networks(version),
        BYTE,
        st.none() | networks(version),
    )
)
PAIRS = st.builds(VethPair, DEV, MAC, DEV, MAC, st.integers(68, 65535))
WAS = st.none() | st.integers(0, 2)
SYSCTLS = st.builds(Sysctl, NAMESPACES, VERSION, DEV, st.just("rp_filter"), st.integers(0, 2), WAS)
OTHERS = st.one_of(
    st.builds(LinkUp, NAMESPACES, DEV),
    st.builds(LinkAddress, NAMESPACES, DEV, MAC, st.just("") | MAC),
    st.builds(LinkAlias, NAMESPACES, DEV, st.text()),
    st.builds(TxQueueLen, NAMESPACES, DEV, U32, st.integers(-1, 9)),
)
FOUND: st.SearchStrategy[Object] = st.one_of(vxlans(), MACVLANS, ADDRESSES, FDB, NEIGHS, RULES)
OBJECTS: st.SearchStrategy[Object] = st.one_of(all_routes(), FOUND, PAIRS, SYSCTLS, OTHERS)


def held(obj: Object) -> Memory:
    """A kernel that holds what `obj` asks for."""
    request = obj.add(Memory())
    assert isinstance(request, Message)
    return Memory(request)


@given(all_routes())
def test_a_route_is_read_as_it_was_written(route: Route) -> None:
    assert route.found(held(route)) == route
    assert routes(held(route), route.ns, route.dst.version) == [route]


@given(all_routes())
def test_what_is_foreign_is_what_is_not_ours(route: Route) -> None:
    foreign = [route] if route.proto != OURS else []
    defaults = [] if route.dst.prefixlen else foreign

    assert foreign_routes(held(route), route.ns) == foreign
    assert foreign_defaults(held(route), route.ns, route.table) == defaults


@given(FOUND)
def test_an_object_is_read_as_it_was_written(obj: Object) -> None:
    assert obj.found(held(obj)) == obj


@given(RULES)
def test_rules_are_listed_by_version(rule: Rule) -> None:
    assert rules(held(rule), rule.ns, rule.version) == [rule]
    assert rules(held(rule), rule.ns, 10 - rule.version) == []


@given(PAIRS)
def test_both_ends_of_a_pair_are_in_one_message(pair: VethPair) -> None:
    request = pair.add(Memory())
    assert isinstance(request, Message)
    info = attributes(attributes(request.body, IFINFO.size)[IFLA_LINKINFO])
    peer = attributes(info[IFLA_INFO_DATA])[VETH_INFO_PEER]

    ends = [decode_link(body) for body in (request.body, peer)]

    assert [(end.name, end.mac, end.mtu) for end in ends] == [
        (pair.host_dev, pair.host_mac, pair.mtu),
        (pair.pod_dev, pair.pod_mac, pair.mtu),
    ]


@given(st.builds(LinkAddress, NAMESPACES, DEV, MAC))
def test_an_address_is_written_as_it_is(wanted: LinkAddress) -> None:
    request = wanted.add(Memory())
    assert isinstance(request, Message)

    assert attributes(request.body, IFINFO.size) == {IFLA_ADDRESS: mac_bytes(wanted.mac)}


@given(OBJECTS)
def test_json_brings_back_every_field(obj: Object) -> None:
    again = from_json(json.loads(json.dumps(as_json(obj))))

    assert again == obj
    assert repr(again) == repr(obj)  # fields that are no part of what it is, too


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["10.0.0.0/8", "pod"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """JSON that begins like an object's, or not even that."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    names = [field.name for field in fields(KINDS[kind])]
    values = {"kind": st.just(kind), **dict.fromkeys(names, JSON), "ns": st.just("pod")}
    return draw(st.one_of(JSON, st.fixed_dictionaries(values)))


@given(damaged())
@example({"kind": "Route", "ns": "pod", "dst": None, "dev": "eth0"})
@example({"kind": ["Route"]})
def test_damaged_json_raises_what_the_reader_of_records_expects(raw: Any) -> None:
    try:
        from_json(raw)
    except (KeyError, TypeError, ValueError):
        return


@given(st.binary(max_size=200), st.integers(0, 220))
def test_attributes_of_any_bytes_are_pieces_of_them(data: bytes, start: int) -> None:
    assert all(payload in data for payload in attributes(data, start).values())


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40)))
def test_attributes_are_read_as_they_were_written(wanted: dict[int, bytes]) -> None:
    assert attributes(b"".join(attribute(kind, payload) for kind, payload in wanted.items())) == wanted


def test_objects_are_equal_when_they_are_the_same_thing_in_the_kernel() -> None:
    net6, ip4, ip6 = ip_network("fd00::/64"), ip_interface("10.6.0.1/24"), ip_interface("fd00::1/64")

    assert Address(POD, "eth0", ip4, nodad=True) == Address(POD, "eth0", ip4)
    assert Address(POD, "eth0", ip6, nodad=True) != Address(POD, "eth0", ip6)
    assert Route(POD, net6, "eth0") == Route(POD, net6, "eth0", metric=1024, expires=60)
    assert Sysctl(POD, 4, "eth0", "rp_filter", 2, was=0) == Sysctl(POD, 4, "eth0", "rp_filter", 2)
    assert Rule(HOST, 4, 500, 1000) != Rule(HOST, 4, 500, 1000, proto=4)


def test_a_macvlan_without_a_mac_is_refused() -> None:
    with pytest.raises(ValueError, match="a macvlan without a MAC: eth0"):
        Macvlan(POD, "eth0", "vx", "", 1450)


def test_a_link_of_ours_changes_its_size_alone() -> None:
    smaller = replace(VX, mtu=1400, tx_queue_len=9)

    assert VX.yields_to(smaller)
    others = (replace(smaller, mac="n"), replace(smaller, vni=8), replace(smaller, port=8472))
    assert not any(VX.yields_to(other) for other in others)
    assert MV.yields_to(replace(MV, mtu=1400))
    assert not any(MV.yields_to(other) for other in (replace(MV, mac="n"), replace(MV, lower="vx9")))


VX, MV = Vxlan("vx", 7, "m", 1450, 4789), Macvlan(HOST, "mv", "vx", "m", 1450)
NET, GW, V6 = IPv4Network("10.96.0.0/12"), ip_address("10.6.0.1"), ip_address("fe80::1")


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (LinkUp(HOST, "veth1"), "host: ip link set dev veth1 up"),
        (LinkAddress(POD, "eth0", "02::1"), "pod:  ip link set dev eth0 address 02::1"),
        (TxQueueLen(POD, "eth0", 7), "pod:  ip link set dev eth0 txqueuelen 7"),
        (Sysctl(POD, 6, "eth0", "disable_ipv6", 0), "pod:  sysctl -w net.ipv6.conf.eth0.disable_ipv6=0"),
        (Sysctl(POD, 4, "e.1", "rp_filter", 2), "pod:  sysctl -w net/ipv4/conf/e.1/rp_filter=2"),
        (Neigh(HOST, GW, "m", "v"), "host: ip neigh add 10.6.0.1 lladdr m dev v nud permanent proto 201"),
        (Neigh(HOST, V6, "m", "v", 0), "host: ip -6 neigh add fe80::1 lladdr m dev v nud permanent"),
        (Route(POD, NET, "v"), "pod:  ip route add 10.96.0.0/12 dev v scope link proto 201"),
        (
            Route(POD, NET, "v", via=GW, table=100, onlink=True, metric=5, src=GW),
            "pod:  ip route add 10.96.0.0/12 via 10.6.0.1 dev v src 10.6.0.1"
            " metric 5 table 100 proto 201 onlink",
        ),
        (Route(POD, NET, "v", via=V6), "pod:  ip route add 10.96.0.0/12 via inet6 fe80::1 dev v proto 201"),
        (Route(POD, ip_network("::/0"), "v"), "pod:  ip -6 route add default dev v proto 201"),
        (Rule(HOST, 4, 500, 1000), "host: ip rule add from all lookup 500 priority 1000 proto 201"),
        (
            Rule(POD, 6, 100, 2000, src=ip_network("fd00::9/128")),
            "pod:  ip -6 rule add from fd00::9 lookup 100 priority 2000 proto 201",
        ),
        (
            Rule(HOST, 4, 500, 1000, src=NET, dst=ip_network("10.6.0.1/32")),
            "host: ip rule add from 10.96.0.0/12 to 10.6.0.1 lookup 500 priority 1000 proto 201",
        ),
        (LinkAlias(HOST, "vx", "red"), "host: ip link set dev vx alias red"),
        (Address(HOST, "mv", ip_interface("10.6.0.1/24")), "host: ip addr add 10.6.0.1/24 dev mv"),
        (
            Address(POD, "eth0", ip_interface("fd00::9/64"), nodad=True),
            "pod:  ip -6 addr add fd00::9/64 dev eth0 nodad",
        ),
        (
            Fdb(HOST, "vx", FLOOD, GW),
            "host: bridge fdb append 00:00:00:00:00:00 dev vx dst 10.6.0.1 self permanent",
        ),
        (Fdb(HOST, "vx", "m", V6), "host: bridge fdb add m dev vx dst fe80::1 self permanent"),
        (VX, "host: ip link add vx address m mtu 1450 type vxlan id 7 dstport 4789"),
        (
            replace(VX, underlay="u0", local=GW, group=ip_address("239.1.1.1"), ttl=8, tos=4, proxy=True),
            "host: ip link add vx address m mtu 1450 type vxlan id 7 dstport 4789 dev u0 local 10.6.0.1"
            " group 239.1.1.1 ttl 8 tos 4 proxy",
        ),
        (
            replace(VX, group=V6, learning=False, gbp=True, ageing=0, limit=5, port_high=9, tx_queue_len=3),
            "host: ip link add vx txqueuelen 3 address m mtu 1450 type vxlan id 7 dstport 4789"
            " remote fe80::1 nolearning gbp ageing 4294967295 maxaddress 5 srcport 0 9",
        ),
        (MV, "host: ip link add mv link vx address m mtu 1450 type macvlan mode bridge"),
        (
            Macvlan(POD, "eth0", "vx", "m", 1450),
            "host: ip link add eth0 netns POD link vx address m mtu 1450 type macvlan mode bridge",
        ),
        (
            VethPair("veth1", "m", "veth0", "n", 1500),
            "host: ip link add veth1 address m mtu 1500 type veth"
            " peer name veth0 address n mtu 1500 netns POD",
        ),
    ],
    ids=str,
)
def test_an_object_reads_as_a_command(obj: Object, text: str) -> None:
    assert str(obj) == text
