"""One NIC of a pod, and the table by which it answers for itself.

Every NIC has a full table and a rule for each of its addresses: what was asked of an address is
answered from that address by its own NIC, whatever the main table says (docs/how-a-packet-travels.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

from underlay.cni.errors import InvalidConfig
from underlay.cni.plugin import Attachment
from underlay.cni.result import IpConfig, ResultRoute
from underlay.facts import Facts, Interface
from underlay.main_default import nic_order
from underlay.objects import IP, MAIN, OURS, POD, Network, Route, Rule
from underlay.objects.wire import REMEMBERED
from underlay.values import dataclass

FROM_PRIORITY = 2000  # after the local table and a CNI's own rules, before main
FIRST_TABLE = 100  # eth0's; netN has 100+N
LAST_NUMBERED = 99
UNNUMBERED = 1000  # plus the NIC's index: other names have no number of their own
EVERYTHING = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
LINK_LOCAL = IPv6Network("fe80::/64")


@dataclass(frozen=True, slots=True)
class Nic:
    """A NIC as the plan sees it: its name, its table, its addresses, and the routes it was given."""

    dev: str
    table: int
    addresses: tuple[Interface, ...]
    routes: tuple[ResultRoute, ...]
    next_hops: dict[int, IP | None]  # of its default, by IP version; None for the link itself
    ips: tuple[IP, ...] = field(init=False)
    versions: tuple[int, ...] = field(init=False)  # that it speaks: 4, 6 or both
    subnets: tuple[Network, ...] = field(
        init=False
    )  # that it is on; a single address, /32 or /128, is on none

    def __post_init__(self) -> None:
        versions = tuple(sorted({address.version for address in self.addresses}))
        on = [a.network for a in self.addresses if a.network.prefixlen < a.max_prefixlen]
        object.__setattr__(self, "ips", tuple(address.ip for address in self.addresses))
        object.__setattr__(self, "versions", versions)
        object.__setattr__(self, "subnets", tuple(dict.fromkeys([*on, LINK_LOCAL] if 6 in versions else on)))


def table_of(dev: str, index: int) -> int:
    """The table of a NIC in its pod; `index` is the link's index there."""
    kind, number, _ = nic_order(dev)
    if kind == 0:
        return FIRST_TABLE
    return FIRST_TABLE + number if kind == 1 and 0 < number <= LAST_NUMBERED else UNNUMBERED + index


def nic_of(pod: Attachment, facts: Facts, further: Iterable[ResultRoute] = ()) -> Nic:
    """The NIC of a call, with the addresses of prevResult and the global ones found on it (SLAAC).

    `further` are routes that it gets beside those of prevResult.
    """
    given = _given_addresses(pod)
    announced: dict[int, IP] = {ip.address.version: ip.gateway for ip in reversed(given) if ip.gateway}
    routes = _with_gateways(pod.previous.routes if pod.previous else (), announced)
    return Nic(
        pod.ifname,
        table_of(pod.ifname, facts.nic.index),
        addresses=_all_addresses(given, facts),
        routes=(
            *further,
            *(route for route in routes if route.dst.prefixlen and route.table in (None, 0, MAIN)),
        ),
        next_hops=_next_hops(pod.ifname, routes, announced, facts),
    )


def addresses_of(pod: Attachment, facts: Facts) -> tuple[Interface, ...]:
    """The NIC's: those of prevResult, then what else is found on it."""
    return _all_addresses(_given_addresses(pod), facts)


def _given_addresses(pod: Attachment) -> tuple[IpConfig, ...]:
    return pod.previous.addresses_of(pod.ifname, pod.netns) if pod.previous else ()


def _all_addresses(given: Iterable[IpConfig], facts: Facts) -> tuple[Interface, ...]:
    addresses = tuple(ip.address for ip in given)
    if addresses == facts.nic_addresses:  # nearly always, and to hash them costs more than all the rest
        return addresses
    return tuple(dict.fromkeys([*addresses, *facts.nic_addresses]))


def _with_gateways(routes: Iterable[ResultRoute], announced: dict[int, IP]) -> tuple[ResultRoute, ...]:
    """The routes as the main plugin makes them: one that names no gateway takes that of its family."""
    return tuple(
        replace(route, gw=announced[route.dst.version])
        if route.gw is None and route.dst.version in announced
        else route
        for route in routes
    )


def refuse_what_is_taken(nic: Nic, facts: Facts) -> None:
    """InvalidConfig where the NIC's table or an address of it is somebody else's already."""
    refuse_foreign_routes(nic.table, facts.pod_routes)
    ruled = {obj.src: obj.table for plan in facts.siblings for obj in plan.present if isinstance(obj, Rule)}
    for ip in nic.ips:
        if ip in facts.node_addresses:
            raise InvalidConfig(
                f"the address {ip} of {nic.dev} is the node's own",
                "neither could be reached by it: give the pod another address",
            )
        if ruled.get(single(ip), nic.table) != nic.table:
            raise InvalidConfig(
                f"the address {ip} of {nic.dev} is that of another NIC of the pod already",
                "an address is answered for by one NIC: give each its own",
            )


def refuse_foreign_routes(table: int, routes: Iterable[Route]) -> None:
    """InvalidConfig where somebody else uses a table of ours."""
    foreign = [route for route in routes if route.table == table and route.proto != OURS]
    if foreign:
        raise InvalidConfig(
            f"table {table} of the pod has a route that is not ours: {foreign[0]}",
            "probably the plugin sbr is in the same chain: leave it out, each NIC gets its own table here",
        )


def _next_hops(
    dev: str, routes: Sequence[ResultRoute], announced: dict[int, IP], facts: Facts
) -> dict[int, IP | None]:
    """The next hop of the NIC's default by IP version, None for the link itself; no entry without a default.

    What prevResult lists comes first, then a gateway that it announces without using it, then what
    the pod has learnt from a router advertisement.
    """
    learnt: dict[int, IP | None] = {
        route.dst.version: hop.via
        for route in facts.pod_routes
        if route.is_default and route.table == MAIN and route.proto != OURS
        for hop in route.hops_by(dev)
    }
    listed: dict[int, IP | None] = {r.dst.version: r.gw for r in reversed(routes) if not r.dst.prefixlen}
    return {**learnt, **announced, **listed}


def own_routes(nic: Nic, but: Iterable[IP] = ()) -> Iterator[Route]:
    """What the NIC reaches by itself, in its own table: subnets, the routes it was given, its default.

    One route to each destination, and none to the addresses `but`, which lie elsewhere.
    """
    done: dict[Network, list[int]] = {single(ip): [0] for ip in but}  # metrics; 0 stands for all of them
    for route in (*_on_link(nic), *_given(nic), *_defaults(nic)):
        metrics = done.setdefault(route.dst, [])
        if 0 not in metrics and route.metric not in metrics:
            metrics.append(route.metric)
            yield route


def _on_link(nic: Nic) -> Iterator[Route]:
    return (Route(POD, subnet, nic.dev, table=nic.table) for subnet in nic.subnets)


def _given(nic: Nic) -> Iterator[Route]:
    for given in nic.routes:
        if given.dst.version in nic.versions and given.dst not in nic.subnets:
            yield route_by(nic, given, nic.table)


def route_by(nic: Nic, given: ResultRoute, table: int) -> Route:
    """A route through the NIC, as a result or the configuration gives it."""
    return Route(
        POD,
        given.dst,
        nic.dev,
        via=given.gw,
        table=table,
        metric=given.priority or 0,
        onlink=_is_off_link(nic, given.gw),
        mtu=given.mtu,
        advmss=given.advmss,
    )


def _defaults(nic: Nic) -> Iterator[Route]:
    for version, via in nic.next_hops.items():
        if version in nic.versions:
            onlink = _is_off_link(nic, via)
            yield Route(POD, EVERYTHING[version], nic.dev, via=via, table=nic.table, onlink=onlink)


def _is_off_link(nic: Nic, via: IP | None) -> bool:
    """Whether a gateway must be taken on trust. IPv6 refuses that where another NIC is on its subnet."""
    return via is not None and not any(via in subnet for subnet in nic.subnets)


def answers(nic: Nic) -> Iterable[Rule]:
    """What comes from an address of this NIC goes by its table."""
    return (rule_from(ip, nic.table) for ip in nic.ips)


def rule_from(ip: IP, table: int) -> Rule:
    return Rule(POD, ip.version, table, FROM_PRIORITY, src=single(ip))


@lru_cache(REMEMBERED)
def single(ip: IPv4Address | IPv6Address) -> Network:
    """The network of one address."""
    return ip_network(ip)
