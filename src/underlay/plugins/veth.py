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

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network

from underlay.cni.keys import Alias, Keys
from underlay.cni.plugin import Attachment, Plugin
from underlay.facts import Facts
from underlay.objects import (
    HOST,
    IP,
    MAIN,
    POD,
    LinkUp,
    Neigh,
    Network,
    Object,
    Route,
    Rule,
    Sysctl,
    VethPair,
)
from underlay.plan import MainDefault, Plan
from underlay.plugins.hijack import ALIASES, Hijack, hijacked, left_out, parse_hijacks
from underlay.plugins.nic import Nic, answers, nic_of, own_routes, single, table_of

POD_END = "veth0"
HOST_TABLE = 500
HOST_RULE_PRIORITY = 1000  # after the local table and Cilium's rules, before main
LOOSE = 2  # rp_filter: a packet is welcome if any way leads back to its source
MIGRATE_ROUTE = {0: 1, 1: -1, 2: 0}  # the values of the older key `move_routes`
LATER = (
    "mac_prefix",
    "only_op_mac",
    "ip_conflict",
    "detect_gateway",
    "policy_routes",
    "tx_queue_len",
    "default_route_nic",
)


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of `veth`; docs/configuration.md has every key."""

    hijacks: tuple[Hijack, ...]
    migrate_route: int
    rp_filter: int
    rp_filter_on_host: bool
    host_rule_table: int
    veth_mtu: int  # bytes; 0 for that of the NIC


def parse(keys: Keys) -> Config | None:
    if keys.flag("skip_call", False):
        return None
    for key in LATER:
        keys.unsupported(key)
    rp_filter = keys.section("rp_filter", {"set_host": ("enabled",)})
    return Config(
        hijacks=parse_hijacks(keys),
        migrate_route=keys.choice("migrate_route", (-1, 0, 1), -1),
        rp_filter=rp_filter.choice("value", (0, 1, 2), LOOSE),
        rp_filter_on_host=rp_filter.flag("set_host", True),
        host_rule_table=keys.integer("host_rule_table", HOST_TABLE, 1, 2**32 - 1),
        veth_mtu=keys.integer("veth_mtu", 0, 68, 65535),
    )


def plan(config: Config, pod: Attachment, facts: Facts) -> Plan:
    nic = nic_of(pod, facts)
    if not nic.addresses:
        return Plan((), notes=(f"{nic.dev} has no address: there is nothing to route",))
    shared = _pair_of(facts.siblings)
    pair = shared or veth_pair(pod.container_id, config.veth_mtu or facts.nic.mtu)
    node = _node_addresses(nic, facts)
    gateways = _gateways(nic, pair, node)
    return Plan(
        present=(
            pair,
            *_host_side(config, nic, pair, node, facts),
            *_pod_side(config, nic, pair, node, gateways),
        ),
        node_rules=tuple(node_rule(version, config.host_rule_table) for version in nic.versions),
        default=MainDefault(nic.dev, config.migrate_route),
        reported=() if shared else (pair,),
        notes=(*left_out(nic, gateways, config.hijacks), *_outranked(config, pair, facts)),
    )


def _host_side(
    config: Config, nic: Nic, pair: VethPair, node: dict[int, tuple[IP, ...]], facts: Facts
) -> Iterator[Object]:
    """On the node: the way to each address of the NIC."""
    yield LinkUp(HOST, pair.host_dev)
    if config.rp_filter_on_host:
        yield Sysctl(HOST, 4, pair.host_dev, "rp_filter", config.rp_filter)
    if 6 in nic.versions:
        yield Sysctl(HOST, 6, pair.host_dev, "disable_ipv6", 0)
    for ip in nic.ips:
        yield Neigh(HOST, ip, pair.pod_mac, pair.host_dev)
        yield Route(
            HOST, single(ip), pair.host_dev, table=config.host_rule_table, src=_speaks_as(ip, node, facts)
        )


def _speaks_as(ip: IP, node: dict[int, tuple[IP, ...]], facts: Facts) -> IP | None:
    """The node's address toward the pod. The host end has none, and the kernel would take any link's.

    IPv6 selects its own well, and refuses an address that is still tentative.
    """
    if ip.version == 6 or not node[4]:
        return None
    source = facts.node_sources.get(ip)
    return source if source in node[4] else node[4][0]


def _pod_side(
    config: Config,
    nic: Nic,
    pair: VethPair,
    node: dict[int, tuple[IP, ...]],
    gateways: dict[int, IP],
) -> Iterator[Object]:
    """In the pod: the way to the node and what lies behind it, in main and in the NIC's own table."""
    yield LinkUp(POD, pair.pod_dev)
    for dev in (nic.dev, pair.pod_dev):
        yield Sysctl(POD, 4, dev, "rp_filter", config.rp_filter)
        if 6 in nic.versions:
            yield Sysctl(POD, 6, dev, "disable_ipv6", 0)
    yield Sysctl(POD, 4, nic.dev, "arp_ignore", 1)  # or two NICs on one subnet answer for each other
    addresses = [ip for version in nic.versions for ip in node[version]]
    for ip in dict.fromkeys([*addresses, *gateways.values()]):
        yield Neigh(POD, ip, pair.host_mac, pair.pod_dev)
    yield from _through_node(nic, config, pair, addresses, gateways, MAIN)
    yield from own_routes(nic)
    yield from _through_node(nic, config, pair, addresses, gateways, nic.table)
    yield from answers(nic)


def _through_node(
    nic: Nic, config: Config, pair: VethPair, addresses: list[IP], gateways: dict[int, IP], table: int
) -> Iterator[Route]:
    """The node's addresses, since a gateway must be known to be on the link; then the subnets."""
    for ip in addresses:
        yield Route(POD, single(ip), pair.pod_dev, table=table)
    known = {single(ip) for ip in addresses}
    for subnet in hijacked(nic, config.hijacks):
        if subnet.version in gateways and subnet not in known:
            via = gateways[subnet.version]
            yield Route(POD, subnet, pair.pod_dev, via=via, table=table, onlink=not via.is_link_local)


def _node_addresses(nic: Nic, facts: Facts) -> dict[int, tuple[IP, ...]]:
    """The node's addresses by IP version, those first by which it reaches the NIC."""
    sources = [facts.node_sources[ip] for ip in nic.ips if ip in facts.node_sources]
    ranked = dict.fromkeys([*(ip for ip in sources if ip in facts.node_addresses), *facts.node_addresses])
    return {version: tuple(ip for ip in ranked if ip.version == version) for version in (4, 6)}


def _outranked(config: Config, pair: VethPair, facts: Facts) -> Iterator[str]:
    """The kernel takes the higher of a link's rp_filter and that of `all`, which is not ours to change."""
    ends = {POD: pair.pod_dev} | ({HOST: pair.host_dev} if config.rp_filter_on_host else {})
    for ns, dev in ends.items():
        of_all = facts.rp_filter_of_all.get(ns, 0)
        if of_all > config.rp_filter:
            yield f"rp_filter: {config.rp_filter} on {dev} has no effect: conf.all is {of_all} on the {ns}"


def _pair_of(siblings: tuple[Plan, ...]) -> VethPair | None:
    """The pair that another NIC of the pod has made."""
    return next((obj for plan in siblings for obj in plan.present if isinstance(obj, VethPair)), None)


def veth_pair(container_id: str, mtu: int) -> VethPair:
    """The pair of a container, derived from its id alone, so that DEL can derive it again."""
    digest = hashlib.sha256(container_id.encode()).digest()
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


def _gateways(nic: Nic, pair: VethPair, node: dict[int, tuple[IP, ...]]) -> dict[int, IP]:
    """The node's first address of each family; for IPv6 without one, the host end's link-local address."""
    found: dict[int, IP] = {version: node[version][0] for version in nic.versions if node[version]}
    return {6: _link_local(pair), **found} if 6 in nic.versions else found


def _link_local(pair: VethPair) -> IPv6Address:
    """The host end's own address, where the node has no global IPv6 address (RFC 4291, appendix A)."""
    mac = bytes.fromhex(pair.host_mac.replace(":", ""))
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:])


def node_rule(version: int, table: int) -> Rule:
    """By which the node finds the routes to its pods; one for all of them."""
    return Rule(HOST, version, table, HOST_RULE_PRIORITY)


def traces(config: Config | None, pod: Attachment, ours: frozenset[Object]) -> Plan:
    """What may be left without a record: found by our mark in the pod, and by the container id."""
    host_table = config.host_rule_table if config else HOST_TABLE
    routes = [obj for obj in ours if isinstance(obj, Route) and obj.table != MAIN]
    rules = [obj for obj in ours if isinstance(obj, Rule)]
    tables = {route.table for route in routes if route.dev == pod.ifname} | {table_of(pod.ifname, 0)}
    mine = [rule for rule in rules if rule.table in tables]
    pair = veth_pair(pod.container_id, 0)
    ways = [Route(HOST, rule.src, pair.host_dev, table=host_table) for rule in mine if rule.src]
    # Another NIC that still answers for itself needs the pair.
    shared = [pair] if len(mine) == len(rules) else ways
    return Plan(
        present=(*shared, *(route for route in routes if route.table in tables), *mine),
        node_rules=tuple(node_rule(version, host_table) for version in (4, 6)),
    )


SAMPLE = veth_pair("sample", 1500)
SAMPLE_SUBNET: Network = ip_network("192.0.2.1/32")  # TEST-NET-1, RFC 5737

PLUGIN = Plugin(
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
            Neigh(HOST, SAMPLE_SUBNET.network_address, SAMPLE.pod_mac, SAMPLE.host_dev),
            Route(HOST, SAMPLE_SUBNET, SAMPLE.host_dev, table=HOST_TABLE),
        ),
        node_rules=(node_rule(4, HOST_TABLE),),
    ),
    aliases={"migrate_route": (Alias("move_routes", MIGRATE_ROUTE),), **ALIASES},
)
