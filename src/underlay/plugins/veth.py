"""Chained plugin `veth`: a second way between a macvlan or SR-IOV pod and its node.

A macvlan child cannot talk to its own parent. So what goes between the pod and its node, and
through the node to services and to the overlay's pods, takes a veth pair instead:

    pod eth0  (macvlan) ----------------- LAN
    pod veth0 ======== vethXXXX host ---- node, services, overlay pods

On the node that is the host end, a route and a permanent neighbour for each address of the pod, and
one rule for all pods (`from all lookup 500`). In the pod it is the other end, routes through it to
the node's addresses and the hijacked subnets, and for each NIC a table of its own, so that every
NIC answers for itself. Why it is so, point by point: docs/how-a-packet-travels.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_network

from underlay.cni.errors import InvalidConfig, InvalidEnvironment
from underlay.cni.keys import Keys
from underlay.cni.plugin import Attachment, ChainedPlugin
from underlay.digest import sha256
from underlay.facts import Facts, Remains
from underlay.objects import HOST, IP, MAIN, POD, LinkUp, Neigh, Object, Route, Rule, Sysctl, VethPair
from underlay.plan import MainDefault, Plan
from underlay.plugins.chained import ALIASES, LOOSE, Chained, parse_chained
from underlay.plugins.hijack import forwarded, hijacked, left_out
from underlay.plugins.nic import Nic, answers, nic_of, own_routes, refuse_what_is_taken, table_of
from underlay.plugins.nic_settings import (
    mac_address,
    nic_settings,
    outranked,
    policy_routes,
    probing,
    without_routing,
)
from underlay.plugins.way import (
    HOST_TABLE,
    Way,
    first_of_node,
    from_node,
    node_addresses,
    node_is_at,
    node_rule,
    to_node,
    traces_of,
)
from underlay.values import dataclass

POD_END = "veth0"
IPV6_MTU = 1280  # bytes, RFC 8200 section 5


@dataclass(frozen=True, slots=True)
class Config:
    """The keys that `veth` shares with `router`, and its own."""

    chained: Chained
    veth_mtu: int  # bytes; 0 for that of the NIC


def parse(keys: Keys) -> Config | None:
    chained = parse_chained(keys)
    return None if chained is None else Config(chained, veth_mtu=keys.integer("veth_mtu", 0, 68, 65535))


def plan(config: Config, pod: Attachment, facts: Facts) -> Plan:
    _refuse_name(pod.ifname)
    chained = config.chained
    nic = nic_of(pod, facts, chained.policy_routes)
    if less := without_routing(chained, nic, facts.nic):
        return less
    refuse_what_is_taken(nic, facts)
    if 6 in nic.versions and 0 < config.veth_mtu < IPV6_MTU:
        raise InvalidConfig(f"veth_mtu: {config.veth_mtu} is too small for IPv6; give {IPV6_MTU} or more")
    made = _pair_of(facts.siblings)
    pair = made or veth_pair(pod.container_id, config.veth_mtu or facts.nic.mtu)
    node = node_addresses(nic, facts)
    way = _way(pair, nic, node, facts.siblings)
    mac = tuple(mac_address(chained, nic, facts.nic))
    return Plan(
        present=(
            *mac,
            pair,
            *_host_end(chained, nic, pair),
            *from_node(way, nic, node, facts, chained.host_rule_table),  # a route to each pod address
            *_pod_end(chained, nic, pair),
            *nic_settings(chained, facts.nic, nic.versions),
            *_routes(chained, nic, way, node),  # main, then the NIC's own table
            *policy_routes(chained, nic, facts.siblings),
            *answers(nic),  # from each pod address by that table
        ),
        node_rules=tuple(node_rule(version, chained.host_rule_table) for version in nic.versions),
        defaults=(MainDefault(nic.dev, chained.migrate_route, prefers=chained.default_route_nic),),
        reported=mac if made else (*mac, pair),
        notes=(
            *left_out(nic, way.next_hops, chained.hijacks, "the node has no IPv{version} address"),
            *outranked(chained, {POD: pair.pod_dev, HOST: pair.host_dev}, facts),
        ),
    )


def _refuse_name(ifname: str) -> None:
    if ifname == POD_END:
        raise InvalidEnvironment(
            f'CNI_IFNAME: "{POD_END}" is the name of the pod\'s end of the pair', "give the NIC another name"
        )


def _way(pair: VethPair, nic: Nic, node: tuple[IP, ...], siblings: tuple[Plan, ...]) -> Way:
    """Through the pair; behind the node by its first address of each family.

    For IPv6 without one, by the link-local address of the host end.
    """
    next_hops: dict[int, IP | None] = {6: _link_local(pair)} if 6 in nic.versions else {}
    next_hops |= first_of_node(pair.pod_dev, node, siblings)
    return Way(pair.pod_dev, pair.pod_mac, pair.host_dev, pair.host_mac, next_hops)


def _host_end(config: Chained, nic: Nic, pair: VethPair) -> Iterator[Object]:
    yield LinkUp(HOST, pair.host_dev)
    if config.rp_filter_on_host:
        yield Sysctl(HOST, 4, pair.host_dev, "rp_filter", config.rp_filter)
    if 6 in nic.versions:
        yield Sysctl(HOST, 6, pair.host_dev, "disable_ipv6", 0)


def _pod_end(config: Chained, nic: Nic, pair: VethPair) -> Iterator[Object]:
    yield LinkUp(POD, pair.pod_dev)
    yield Sysctl(POD, 4, pair.pod_dev, "rp_filter", config.rp_filter)
    if 6 in nic.versions:
        yield Sysctl(POD, 6, pair.pod_dev, "disable_ipv6", 0)


def _routes(config: Chained, nic: Nic, way: Way, node: tuple[IP, ...]) -> Iterator[Object]:
    """In the pod: to the node and behind it, in main and in the NIC's own table."""
    subnets = tuple(hijacked(nic, config.hijacks))
    gateways = [ip for ip in way.next_hops.values() if ip]
    yield from node_is_at(way, dict.fromkeys([*node, *gateways]))
    yield from to_node(way, node, subnets, MAIN)
    yield from own_routes(nic, but=node)
    yield from to_node(way, node, subnets, nic.table)


def _pair_of(siblings: tuple[Plan, ...]) -> VethPair | None:
    """The pair that another NIC of the pod has made."""
    return next((obj for plan in siblings for obj in plan.present if isinstance(obj, VethPair)), None)


def veth_pair(container_id: str, mtu: int) -> VethPair:
    """The pair of a container, derived from its id alone, so that DEL can derive it again."""
    digest = sha256(container_id.encode()).digest()
    return VethPair(
        host_dev=f"veth{container_id[:11]}",
        host_mac=_mac(digest[:5]),
        pod_dev=POD_END,
        pod_mac=_mac(digest[5:10]),
        mtu=mtu,
    )


def _mac(five: bytes) -> str:
    """A locally administered address. Set on creation, so that systemd-udevd leaves it alone."""
    return (b"\x02" + five).hex(":")


def _link_local(pair: VethPair) -> IPv6Address:
    """The address that the host end's MAC makes (RFC 4291, appendix A)."""
    mac = bytes.fromhex(pair.host_mac.replace(":", ""))
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:])


def traces(config: Config | None, pod: Attachment, remains: Remains) -> Plan:
    """What may be left without a record: found by our mark in the pod, and by the container id."""
    table = config.chained.host_rule_table if config else HOST_TABLE
    routes, rules = traces_of(pod.ifname, table_of(pod.ifname, 0), remains.ours)
    pair = veth_pair(pod.container_id, 0)
    # While another NIC still answers for itself, it needs the pair, and only the way to this one goes.
    is_last = all(rule in rules for rule in remains.ours if isinstance(rule, Rule))
    ways: list[Object] = []
    for source in (rule.src for rule in rules if rule.src):
        ways += [
            Neigh(HOST, source.network_address, pair.pod_mac, pair.host_dev),
            Route(HOST, source, pair.host_dev, table=table),
        ]
    return Plan(
        present=(*((pair,) if is_last else ways), *routes, *rules),
        node_rules=tuple(node_rule(version, table) for version in (4, 6)),
    )


SAMPLE = veth_pair("sample", 1500)
SAMPLE_DST = ip_network("192.0.2.1/32")  # TEST-NET-1, RFC 5737

PLUGIN = ChainedPlugin(
    name="veth",
    parse=parse,
    plan=plan,
    traces=traces,
    needs=Plan(
        present=(
            SAMPLE,
            LinkUp(HOST, SAMPLE.host_dev),
            LinkUp(POD, SAMPLE.pod_dev),
            Sysctl(POD, 4, SAMPLE.pod_dev, "rp_filter", LOOSE),
            Neigh(HOST, SAMPLE_DST.network_address, SAMPLE.pod_mac, SAMPLE.host_dev),
            Route(HOST, SAMPLE_DST, SAMPLE.host_dev, table=HOST_TABLE),
        ),
        node_rules=(node_rule(4, HOST_TABLE),),
    ),
    aliases=ALIASES,
    probing=lambda config, pod, facts: probing(config.chained, pod, facts),
    forwarded=lambda config: forwarded(config.chained.hijacks),
)
