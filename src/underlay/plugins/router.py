"""Chained plugin `router`: a macvlan or SR-IOV NIC beside the overlay's, each answering for itself.

The pod's first NIC belongs to the overlay (Calico, Cilium), a further one to the physical network.
East-west traffic, to the node, to services and to the overlay's pods, takes the overlay's NIC; north-south
traffic takes the new one, which also gets the default route:

    pod net1 (macvlan) -------------------- LAN, outside
    pod eth0 (overlay) ==== caliXXXX host -- node, services, overlay pods

On the node that is a route and a permanent neighbour for each address of the new NIC, through the
host end of the overlay's, and one rule for all pods (`from all lookup 500`). In the pod every NIC has
a table of its own, the overlay's too, with routes to the node's addresses and the hijacked subnets
through the overlay's NIC. Why it is so, point by point: docs/how-a-packet-travels.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from underlay.cni.errors import InvalidConfig
from underlay.cni.keys import Keys
from underlay.cni.plugin import Attachment, ChainedPlugin
from underlay.facts import Facts, Interface, OtherNic, Remains
from underlay.objects import HOST, IP, MAIN, OURS, POD, Neigh, Ns, Object, Route
from underlay.objects.link import Link
from underlay.objects.sysctl import setting
from underlay.plan import MainDefault, Plan
from underlay.plugins.chained import ALIASES, Chained, parse_chained
from underlay.plugins.hijack import forwarded, hijacked, left_out
from underlay.plugins.nic import (
    Nic,
    answers,
    nic_of,
    own_routes,
    refuse_foreign_routes,
    refuse_what_is_taken,
    rule_from,
    table_of,
)
from underlay.plugins.nic_settings import (
    mac_address,
    nic_settings,
    outranked,
    policy_routes,
    probing,
    without_routing,
)
from underlay.plugins.veth import PLUGIN as VETH
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

NOWHERE = Link(index=0, name="", mac="", mtu=0, up=False, peer=0, settings={4: (), 6: ()})


@dataclass(frozen=True, slots=True)
class Config:
    """The keys that `router` shares with `veth`, and its own."""

    chained: Chained
    overlay_interface: str
    sriov: bool


@dataclass(frozen=True, slots=True)
class Overlay:
    """The overlay's NIC: its own table, what it reaches by itself, and the way to the node through it."""

    dev: str
    table: int
    addresses: tuple[Interface, ...]
    routes: tuple[Route, ...]
    way: Way


def parse(keys: Keys) -> Config | None:
    chained = parse_chained(keys)
    if chained is None:
        return None
    return Config(
        chained,
        overlay_interface=keys.text("overlay_interface", "eth0"),
        sriov=keys.flag("sriov", False),
    )


def plan(config: Config, pod: Attachment, facts: Facts) -> Plan:
    chained = config.chained
    nic = nic_of(pod, facts, chained.policy_routes)
    if less := without_routing(chained, nic, facts.nic):
        return less
    refuse_what_is_taken(nic, facts)
    # An SR-IOV NIC and its node reach each other over the wire: the subnets alone lead through the overlay.
    node = () if config.sriov else node_addresses(nic, facts)
    overlay = _overlay(config, pod, facts, node)
    mac = tuple(mac_address(chained, nic, facts.nic))
    return Plan(
        present=(
            *mac,
            *_settings(config, nic, facts),
            *(() if config.sriov else from_node(overlay.way, nic, node, facts, chained.host_rule_table)),
            *node_is_at(overlay.way, node),
            *_routes(config, nic, overlay, node, facts),  # main, then each NIC's own table
            *policy_routes(chained, nic, facts.siblings),
            *answers(nic),  # from each address by its NIC's table
            *(rule_from(address.ip, overlay.table) for address in overlay.addresses),
        ),
        node_rules=()
        if config.sriov
        else tuple(node_rule(version, chained.host_rule_table) for version in nic.versions),
        defaults=(
            MainDefault(nic.dev, chained.migrate_route, takes_over=True, prefers=chained.default_route_nic),
            MainDefault(overlay.dev, 0),
        ),
        reported=mac,
        notes=(
            *left_out(
                nic, overlay.way.next_hops, chained.hijacks, f"{overlay.dev} has no IPv{{version}} default"
            ),
            *outranked(chained, {ns: link.name for ns, link in _ends(config, facts)}, facts),
        ),
    )


def _overlay(config: Config, pod: Attachment, facts: Facts, node: tuple[IP, ...]) -> Overlay:
    found = _other_nic(config, pod, facts)
    dev, table = found.link.name, table_of(found.link.name, found.link.index)
    refuse_foreign_routes(table, facts.pod_routes)
    by_main = [route for route in facts.pod_routes if route.table == MAIN and route.proto != OURS]
    hops = [hop for route in by_main for hop in route.hops_by(dev)]
    # Links before gateways, which must be known to be on a link.
    routes = tuple(_in_table(table, hop) for hop in sorted(hops, key=lambda hop: hop.via is not None))
    next_hops = first_of_node(dev, node, facts.siblings)
    next_hops |= {route.dst.version: route.via for route in reversed(routes) if route.is_default}
    host_end = found.host_end or NOWHERE
    way = Way(dev, found.link.mac, host_end.name, host_end.mac, next_hops)
    return Overlay(dev, table, found.addresses, routes, way)


def _in_table(table: int, hop: Route) -> Route:
    """The same in a table of ours, without a hint at a source."""
    return Route(
        POD,
        hop.dst,
        hop.dev,
        via=hop.via,
        table=table,
        metric=hop.metric,
        onlink=hop.onlink,
        mtu=hop.mtu,
        advmss=hop.advmss,
    )


def _other_nic(config: Config, pod: Attachment, facts: Facts) -> OtherNic:
    name = config.overlay_interface
    if name == pod.ifname:
        raise InvalidConfig(
            f'overlay_interface: "{name}" is the NIC of this call itself',
            "router is for the NICs beside the overlay's; behind the first NIC's plugin, chain veth",
        )
    if facts.other is None:
        raise InvalidConfig(
            f'overlay_interface: there is no "{name}" in the pod',
            "give the name of the NIC that the overlay network makes, which comes first",
        )
    if facts.other.host_end is None and not config.sriov:
        raise InvalidConfig(
            f'overlay_interface: "{name}" ({facts.other.link.kind or "hardware"}) has no end on this node',
            "the node reaches the pod through it, so it must be a veth; with `sriov` that is not needed",
        )
    return facts.other


def _settings(config: Config, nic: Nic, facts: Facts) -> Iterator[Object]:
    """Of the NIC, and of the overlay's both ends, whose own family may be IPv4 alone.

    rp_filter: what comes there may be answered elsewhere.
    """
    chained = config.chained
    yield from nic_settings(chained, facts.nic, nic.versions)
    for ns, link in _ends(config, facts):
        if ns == POD or chained.rp_filter_on_host:
            yield setting(ns, link, 4, "rp_filter", chained.rp_filter)
        if 6 in nic.versions:
            yield setting(ns, link, 6, "disable_ipv6", 0)


def _ends(config: Config, facts: Facts) -> Iterator[tuple[Ns, Link]]:
    """The ends of the overlay's link that are this pod's to set: a bridge on the node is everybody's."""
    if facts.other is None:
        return
    yield POD, facts.other.link
    end = facts.other.host_end
    if end and not config.sriov and end.kind != "bridge":
        yield HOST, end


def _routes(
    config: Config, nic: Nic, overlay: Overlay, node: tuple[IP, ...], facts: Facts
) -> Iterator[Object]:
    """In the pod, through the overlay's NIC: to the node and behind it, in main and in both tables."""
    subnets = tuple(hijacked(nic, config.chained.hijacks))
    in_main = (r for r in facts.pod_routes if r.table == MAIN and r.proto != OURS and overlay.dev in r.devs)
    yield from to_node(overlay.way, node, subnets, MAIN, served=[route.dst for route in in_main])
    yield from overlay.routes
    yield from to_node(overlay.way, node, subnets, overlay.table, served=[r.dst for r in overlay.routes])
    yield from own_routes(nic, but=node)
    yield from to_node(overlay.way, node, subnets, nic.table)


def traces(config: Config | None, pod: Attachment, remains: Remains) -> Plan:
    """What may be left without a record: found by our mark in the pod, and behind the overlay's NIC."""
    table = config.chained.host_rule_table if config else HOST_TABLE
    routes, rules = traces_of(pod.ifname, table_of(pod.ifname, 0), remains.ours)
    # Only through the host end of this very pod: its address may be another pod's by now.
    ways: list[Object] = []
    if remains.other and remains.other.host_end:
        mac, end = remains.other.link.mac, remains.other.host_end.name
        for source in (rule.src for rule in rules if rule.src):
            ways += [Neigh(HOST, source.network_address, mac, end), Route(HOST, source, end, table=table)]
    return Plan(
        present=(*ways, *routes, *rules),
        node_rules=tuple(node_rule(version, table) for version in (4, 6)),
    )


PLUGIN = ChainedPlugin(
    name="router",
    parse=parse,
    plan=plan,
    traces=traces,
    needs=VETH.needs,
    aliases=ALIASES,
    other_nic=lambda config: config.overlay_interface,
    probing=lambda config, pod, facts: probing(config.chained, pod, facts),
    forwarded=lambda config: forwarded(config.chained.hijacks),
)
