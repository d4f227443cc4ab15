"""A unicast route."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import field, replace
from ipaddress import ip_address, ip_network
from typing import ClassVar, NamedTuple

from underlay.objects.place import MAIN, OURS, Ns, Request, View, ip_command, on
from underlay.objects.wire import (
    AF_INET,
    AF_INET6,
    ATTRIBUTE,
    CREATE,
    DUMP,
    EXCL,
    IP,
    NUMBER,
    REPLACE,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    Message,
    Network,
    address,
    attribute,
    attributes,
    family_of,
    i32,
    network,
    number,
    u32,
)
from underlay.values import dataclass

HEADER = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
DST_LEN, PROTO = 1, 5  # where it has them
COMMON = {  # what nearly every route has, packed at once: the header, then RTA_DST, RTA_TABLE and RTA_OIF
    4: struct.Struct(HEADER.format + "HH4sHHIHHI"),
    16: struct.Struct(HEADER.format + "HH16sHHIHHI"),
}
ANYWHERE = {AF_INET: bytes(4), AF_INET6: bytes(16)}  # a default route has no RTA_DST
TABLE_AND_DST = struct.Struct("=HH4xHH")  # two attributes of a route: the one whole, the other's header
RTNEXTHOP = struct.Struct("=HBBi")  # length, flags, weight − 1, index
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS = 1, 4, 5, 6, 7, 8
RTA_MULTIPATH, RTA_CACHEINFO, RTA_TABLE, RTA_VIA, RTA_EXPIRES = 9, 12, 15, 18, 23
RTAX_MTU, RTAX_ADVMSS = 2, 8
RTN_UNICAST = 1
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_NOWHERE = 0, 253, 255
ONLINK, CLONED = 4, 0x200
# The rest of what a dump can bring, routes to own addresses and to groups, is the longer part of a pod's.
ALL_UNICAST = Message(RTM_GETROUTE, DUMP, HEADER.pack(0, 0, 0, 0, 0, 0, 0, RTN_UNICAST, 0))
TICKS = 100  # USER_HZ
IPV6_METRIC = 1024  # what the kernel takes for an IPv6 route without a metric


class Hop(NamedTuple):
    """One way of a multipath route; `flags` of rtnexthop that are ours to keep, such as onlink."""

    dev: str
    via: str = ""
    flags: int = 0
    weight: int = 1

    def __str__(self) -> str:
        via = f" via {self.via}" if self.via else ""
        onlink = " onlink" if self.flags & ONLINK else ""
        return f"nexthop{via} dev {self.dev} weight {self.weight}{onlink}"


@dataclass(frozen=True, slots=True)
class Route:
    """`dst` by `dev`, through `via` where there is one; for IPv4 multipath by several `hops` instead.

    `metric` 0 is the kernel's default; `mtu` and `advmss` are in bytes, 0 for none. `expires` is in
    seconds, 0 for never; it passes, so it is no part of what a route is.
    """

    ns: Ns
    dst: Network
    dev: str = ""
    via: IP | None = None
    table: int = MAIN
    src: IP | None = None
    metric: int = 0
    proto: int = OURS
    onlink: bool = False
    mtu: int = 0
    advmss: int = 0
    hops: tuple[Hop, ...] = ()
    expires: int = field(default=0, compare=False)
    PARSE: ClassVar = {
        "dst": ip_network,
        "via": ip_address,
        "src": ip_address,
        "hops": lambda hops: tuple(Hop(*hop) for hop in hops),
    }

    def __post_init__(self) -> None:
        if self.dst.version == 6 and not self.metric:
            object.__setattr__(self, "metric", IPV6_METRIC)

    def __str__(self) -> str:
        words = [f"{ip_command(self.dst.version)} route add {self._dst_text()}", *self._way_text()]
        if self.dst.version == 4 and not self.via and not self.hops:
            words.append("scope link")
        if self.src:
            words.append(f"src {self.src}")
        if self.metric not in (0, IPV6_METRIC):
            words.append(f"metric {self.metric}")
        if self.table != MAIN:
            words.append(f"table {self.table}")
        words += [f"{name} {value}" for name, value in (("mtu", self.mtu), ("advmss", self.advmss)) if value]
        words.append(f"proto {self.proto}")
        if self.onlink:
            words.append("onlink")
        return on(self.ns, " ".join([*words, *map(str, self.hops)]))

    def _dst_text(self) -> str:
        return "default" if self.is_default else str(self.dst)

    def _way_text(self) -> Iterator[str]:
        if self.via:
            family = "inet6 " if self.via.version != self.dst.version else ""
            yield f"via {family}{self.via}"
        if self.dev:
            yield f"dev {self.dev}"

    @property
    def is_default(self) -> bool:
        return self.dst.prefixlen == 0

    @property
    def devs(self) -> tuple[str, ...]:
        """The links that the route leads through."""
        return tuple(hop.dev for hop in self.hops) if self.hops else (self.dev,)

    def hops_by(self, dev: str) -> tuple[Route, ...]:
        """What this route is worth for one link alone: a plain route for each of its hops there."""
        if not self.hops:
            return (self,) if self.dev == dev else ()
        return tuple(self._alone(hop) for hop in self.hops if hop.dev == dev)

    def without(self, dev: str) -> Route | None:
        """The route without its hops through `dev`; None when nothing is left."""
        hops = tuple(hop for hop in self.hops if hop.dev != dev)
        if len(hops) > 1:
            return replace(self, hops=hops)
        return self._alone(hops[0]) if hops else None

    def _alone(self, hop: Hop) -> Route:
        via = ip_address(hop.via) if hop.via else None
        return replace(self, hops=(), dev=hop.dev, via=via, onlink=bool(hop.flags & ONLINK))

    def add(self, view: View) -> Request:
        return Message(RTM_NEWROUTE, CREATE | EXCL, self._body(view, self._scope()))

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        return [(self.ns, Message(RTM_NEWROUTE, CREATE | REPLACE, self._body(view, self._scope())))]

    def restore(self, view: View) -> Request:
        """Puts back what was taken away, beside any other route to the same destination."""
        return Message(RTM_NEWROUTE, CREATE, self._body(view, self._scope()))

    def remove(self, view: View) -> Request | None:
        for dev in self.devs:
            if view.link(self.ns, dev) is None:
                return None  # a route goes with its link
        return Message(RTM_DELROUTE, 0, self._body(view, SCOPE_NOWHERE if self.dst.version == 4 else 0))

    def _scope(self) -> int:
        on_link = self.dst.version == 4 and not self.via and not self.hops
        return SCOPE_LINK if on_link else SCOPE_UNIVERSE

    def _body(self, view: View, scope: int) -> bytes:
        dst = self.dst.network_address.packed
        size = len(dst)
        body = COMMON[size].pack(
            AF_INET if size == 4 else AF_INET6,
            self.dst.prefixlen,
            0,
            0,
            0,  # the table is an attribute: here it has 8 bits only
            self.proto,
            scope,
            RTN_UNICAST,
            ONLINK if self.onlink else 0,
            ATTRIBUTE.size + size,
            RTA_DST,
            dst,
            NUMBER.size,
            RTA_TABLE,
            self.table,
            NUMBER.size,
            RTA_OIF,
            view.index(self.ns, self.dev) if self.dev else 0,
        )
        if not self.dev:
            body = body[: -NUMBER.size]
        if self.hops:
            body += attribute(RTA_MULTIPATH, b"".join(self._hop(view, hop) for hop in self.hops))
        if self.via:
            body += self._gateway(self.via)
        if self.src:
            body += attribute(RTA_PREFSRC, self.src.packed)
        if self.metric:
            body += number(RTA_PRIORITY, self.metric)
        return body + self._limits() if self.expires or self.mtu or self.advmss else body

    def _limits(self) -> bytes:
        """What few routes have."""
        expires = number(RTA_EXPIRES, self.expires) if self.expires else b""
        metrics = [number(place, n) for place, n in ((RTAX_MTU, self.mtu), (RTAX_ADVMSS, self.advmss)) if n]
        return expires + (attribute(RTA_METRICS, b"".join(metrics)) if metrics else b"")

    def _gateway(self, via: IP | None) -> bytes:
        if via is None:
            return b""
        if via.version == self.dst.version:
            return attribute(RTA_GATEWAY, via.packed)
        return attribute(RTA_VIA, struct.pack("=H", family_of(via.version)) + via.packed)

    def _hop(self, view: View, hop: Hop) -> bytes:
        gateway = self._gateway(ip_address(hop.via) if hop.via else None)
        index = view.index(self.ns, hop.dev)
        return RTNEXTHOP.pack(RTNEXTHOP.size + len(gateway), hop.flags, hop.weight - 1, index) + gateway

    def found(self, view: View) -> Route | None:
        """This very route, else another one that stands where it would."""
        request = routes_request(self.dst.version, self.table)
        by_dst = view.grouped(self.ns, request, _dst)
        bodies = by_dst.get((self.dst.prefixlen, self.dst.network_address.packed), ())
        here = [route for body in bodies if (route := _decode(view, self.ns, body))]
        same_place = [route for route in here if route.metric == self.metric and route.table == self.table]
        return self if self in same_place else next(iter(same_place), None)

    def yields_to(self, new: Route) -> bool:
        return self.proto == OURS


def routes(view: View, ns: Ns, version: int, table: int = 0, proto: int = 0) -> list[Route]:
    """The unicast routes of a namespace: of one table, of one protocol (0: all)."""
    bodies = view.dump(ns, routes_request(version, table, proto))
    found = (_decode(view, ns, body) for body in bodies)
    # A kernel without IPv6 answers a request for it with everything that it has.
    return [route for route in found if route and route.dst.version == version]


def all_routes(view: View, ns: Ns) -> list[Route]:
    """All unicast routes of a namespace, those of IPv4 first: one request for both."""
    found = (_decode(view, ns, body) for body in view.dump(ns, ALL_UNICAST))
    return [route for route in found if route]


def foreign_routes(view: View, ns: Ns) -> list[Route]:
    """Those of all routes that are not ours; the others are passed over."""
    bodies = (body for body in view.dump(ns, ALL_UNICAST) if body[PROTO] != OURS)
    return [route for body in bodies if (route := _decode(view, ns, body))]


def foreign_defaults(view: View, ns: Ns, table: int) -> list[Route]:
    """The default routes of a table that are not ours, those of IPv4 first; the others are passed over."""
    request = ALL_UNICAST._replace(body=ALL_UNICAST.body + number(RTA_TABLE, table))
    bodies = (body for body in view.dump(ns, request) if not body[DST_LEN] and body[PROTO] != OURS)
    return [route for body in bodies if (route := _decode(view, ns, body))]


def routes_request(version: int, table: int = 0, proto: int = 0) -> Message:
    header = HEADER.pack(family_of(version), 0, 0, 0, 0, proto, 0, 0, 0)
    return Message(RTM_GETROUTE, DUMP, header + (number(RTA_TABLE, table) if table else b""))


def _dst(body: bytes) -> tuple[int, bytes]:
    """The place of a route in its table, by which a dump is grouped."""
    return body[1], destination(body)


def destination(body: bytes) -> bytes:
    """The address of a route's destination, packed."""
    # The kernel begins with the table, then comes this: to look there costs a tenth of reading them all.
    if len(body) >= HEADER.size + TABLE_AND_DST.size:
        size, table, length, dst = TABLE_AND_DST.unpack_from(body, HEADER.size)
        if (size, table, dst) == (8, RTA_TABLE, RTA_DST):
            start = HEADER.size + TABLE_AND_DST.size
            return body[start : start + length - ATTRIBUTE.size]
    return attributes(body, HEADER.size).get(RTA_DST, ANYWHERE.get(body[0], bytes(16)))


def _decode(view: View, ns: Ns, body: bytes) -> Route | None:
    """A unicast route; None for what is none, and for a cached copy."""
    family, _, _, tos, table, proto, _, kind, flags = HEADER.unpack_from(body)
    if kind != RTN_UNICAST or tos or flags & CLONED or family not in (AF_INET, AF_INET6):
        return None
    attrs = attributes(body, HEADER.size)
    metrics = attributes(attrs[RTA_METRICS]) if RTA_METRICS in attrs else {}
    return Route(
        ns,
        network(attrs[RTA_DST] if RTA_DST in attrs else ANYWHERE[family], body[DST_LEN]),
        dev=view.dev(ns, u32(attrs[RTA_OIF])) if RTA_OIF in attrs else "",
        via=_decode_gateway(attrs),
        table=u32(attrs[RTA_TABLE]) if RTA_TABLE in attrs else table,
        src=address(attrs[RTA_PREFSRC]) if RTA_PREFSRC in attrs else None,
        metric=u32(attrs[RTA_PRIORITY]) if RTA_PRIORITY in attrs else 0,
        proto=proto,
        onlink=bool(flags & ONLINK),
        mtu=u32(metrics[RTAX_MTU]) if RTAX_MTU in metrics else 0,
        advmss=u32(metrics[RTAX_ADVMSS]) if RTAX_ADVMSS in metrics else 0,
        hops=tuple(_decode_hops(view, ns, attrs[RTA_MULTIPATH])) if RTA_MULTIPATH in attrs else (),
        expires=_seconds_left(attrs[RTA_CACHEINFO]) if RTA_CACHEINFO in attrs else 0,
    )


def _seconds_left(cache: bytes) -> int:
    """How long a route from a router advertisement has to live; the kernel says it in hundredths."""
    ticks = i32(cache[8:])
    return max(ticks // TICKS, 1) if ticks > 0 else 0


def _decode_gateway(attrs: dict[int, bytes]) -> IP | None:
    if RTA_GATEWAY in attrs:
        return address(attrs[RTA_GATEWAY])
    return address(attrs[RTA_VIA][2:]) if RTA_VIA in attrs else None


def _decode_hops(view: View, ns: Ns, data: bytes) -> Iterator[Hop]:
    start = 0
    while start + RTNEXTHOP.size <= len(data):
        size, flags, weight, index = RTNEXTHOP.unpack_from(data, start)
        via = _decode_gateway(attributes(data[start : start + size], RTNEXTHOP.size))
        yield Hop(view.dev(ns, index), str(via) if via else "", flags & ONLINK, weight + 1)
        start += max((size + 3) & ~3, RTNEXTHOP.size)
