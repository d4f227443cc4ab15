"""The way between a pod and its node: a link with an end on each side, and all that leads through it.

`veth` makes that link, `router` finds it: the overlay's. What goes through it is the same for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from underlay.facts import Facts
from underlay.objects import HOST, IP, MAIN, POD, Neigh, Network, Object, Route, Rule
from underlay.plan import Plan
from underlay.plugins.nic import Nic, single
from underlay.values import dataclass

HOST_TABLE = 500
HOST_RULE_PRIORITY = 1000  # after the local table and Cilium's rules, before main


@dataclass(frozen=True, slots=True)
class Way:
    """Both ends of the link, and by IP version the next hop in the pod for what lies behind the node.

    A next hop of None is the link itself; a version without one has no way to what lies behind.
    """

    pod_dev: str
    pod_mac: str
    host_dev: str
    host_mac: str
    next_hops: dict[int, IP | None]


def node_addresses(nic: Nic, facts: Facts) -> tuple[IP, ...]:
    """The node's addresses in the NIC's families, those first by which it reaches the NIC."""
    sources = [facts.node_sources[ip] for ip in nic.ips if ip in facts.node_sources]
    ranked = dict.fromkeys([*(ip for ip in sources if ip in facts.node_addresses), *facts.node_addresses])
    return tuple(ip for version in nic.versions for ip in ranked if ip.version == version)


def first_of_node(dev: str, node: tuple[IP, ...], siblings: Iterable[Plan]) -> dict[int, IP | None]:
    """The node's first address of each family, as next hop through `dev`.

    The pod's other NICs have decided already: main can have one route to a subnet, and every address
    of the node is as good.
    """
    theirs = (obj for plan in siblings for obj in plan.present if isinstance(obj, Route))
    decided = {r.dst.version: r.via for r in theirs if r.dev == dev and r.via in node}
    first: dict[int, IP | None] = {ip.version: ip for ip in reversed(node)}
    return first | decided


def from_node(way: Way, nic: Nic, node: tuple[IP, ...], facts: Facts, table: int) -> Iterator[Object]:
    """On the node: where each address of the NIC is, in the host table."""
    for ip in nic.ips:
        yield Neigh(HOST, ip, way.pod_mac, way.host_dev)
        yield Route(HOST, single(ip), way.host_dev, table=table, src=_speaks_as(ip, node, facts))


def _speaks_as(ip: IP, node: tuple[IP, ...], facts: Facts) -> IP | None:
    """The node's address toward the pod. The host end has none, and the kernel would take any link's.

    IPv6 selects its own well, and refuses an address that is still tentative.
    """
    own = [address for address in node if address.version == 4]
    if ip.version == 6 or not own:
        return None
    source = facts.node_sources.get(ip)
    return source if source in own else own[0]


def node_is_at(way: Way, addresses: Iterable[IP]) -> Iterator[Neigh]:
    """In the pod: the MAC behind which the node's addresses are. IPv6 does not work without."""
    for ip in addresses:
        yield Neigh(POD, ip, way.host_mac, way.pod_dev)


def to_node(
    way: Way, node: Iterable[IP], subnets: Iterable[Network], table: int, served: Iterable[Network] = ()
) -> Iterator[Route]:
    """In the pod, in one table: the node's addresses, then the subnets behind it, but for those `served`.

    In that order, since a gateway must be known to be on the link.
    """
    done = set(served)
    singles = [single(ip) for ip in node]
    for dst in singles:
        if dst not in done:
            yield Route(POD, dst, way.pod_dev, table=table)
    done.update(singles)
    for subnet in subnets:
        if subnet.version in way.next_hops and subnet not in done:
            via = way.next_hops[subnet.version]
            onlink = via is not None and not (via.version == 6 and via.is_link_local)
            yield Route(POD, subnet, way.pod_dev, via=via, table=table, onlink=onlink)


def node_rule(version: int, table: int) -> Rule:
    """By which the node finds the routes to its pods; one for all of them."""
    return Rule(HOST, version, table, HOST_RULE_PRIORITY)


def traces_of(nic: str, number: int, ours: Iterable[Object]) -> tuple[tuple[Route, ...], tuple[Rule, ...]]:
    """What carries our mark and is this NIC's: the routes of its table, and the rules that lead there.

    `number` is the table if its name tells; else it is known by a route through the NIC.
    """
    found = tuple(ours)
    routes = [obj for obj in found if isinstance(obj, Route) and obj.table != MAIN]
    tables = {route.table for route in routes if route.dev == nic} | {number}
    return (
        tuple(route for route in routes if route.table in tables),
        tuple(obj for obj in found if isinstance(obj, Rule) and obj.table in tables),
    )
