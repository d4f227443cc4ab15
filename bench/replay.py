"""What a plugin has made, as the lines by which floor.c makes the same and takes it off again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.errors import BenchError
from underlay.netlink.facts import NodeKernel
from underlay.objects import (
    HOST,
    POD,
    Address,
    LinkUp,
    Macvlan,
    Neigh,
    Ns,
    Object,
    Route,
    Rule,
    Sysctl,
    VethPair,
    links_of,
    stands_on,
)

POD_INDEX = 10_000  # of a link that is made in a pod
FIRST_HOST_INDEX = 20_000  # and on the node: a pair whose ends have one index waits for its carrier


class Replay:
    """The lines for the objects of one ADD, in their order. To be asked for while they are not there.

    What a link carries is set in one message, with its going up where that comes first, and only if
    the link would not have it anyway. What only a file below /proc can set is left out: IPv6.
    """

    def __init__(self, objects: Sequence[Object], kernel: NodeKernel, host_index: int) -> None:
        self._objects = objects
        self._kernel = kernel
        indexes = {HOST: host_index, POD: POD_INDEX}
        self._made = {link: indexes[link[0]] for obj in objects for link in links_of(obj)}

    def added(self) -> tuple[str, ...]:
        return tuple(f"add {line}" for obj in self._objects for line in self._line(obj))

    def removed(self) -> tuple[str, ...]:
        """In the opposite order, and nothing that goes with its link."""
        lasting = (obj for obj in reversed(self._objects) if stands_on(obj) not in self._made)
        return tuple(line for obj in lasting for line in self._removal(obj))

    def _line(self, obj: Object) -> Iterator[str]:
        match obj:
            case VethPair():
                near, far = obj.links
                yield (
                    f"host pair {self._made[near]} name {obj.host_dev} mac {obj.host_mac} mtu {obj.mtu}"
                    f" peer {self._made[far]} peername {obj.pod_dev} peermac {obj.pod_mac}"
                )
            case Macvlan():
                place = f"name {obj.dev} mac {obj.mac} mtu {obj.mtu} on {self._index(HOST, obj.lower)}"
                yield f"host macvlan {self._index(obj.ns, obj.dev)} {place}"
            case LinkUp() | Sysctl():
                yield from self._set(obj)
            case Address():
                yield f"{obj.ns} address {obj.address} dev {self._index(obj.ns, obj.dev)}"
            case Neigh():
                dev = self._index(obj.ns, obj.dev)
                yield f"{obj.ns} neigh {obj.ip} mac {obj.mac} dev {dev} proto {obj.proto}"
            case Route():
                yield self._route(obj)
            case Rule():
                yield _rule(obj)
            case _:
                raise BenchError(f"floor.c can't make: {obj}")

    def _removal(self, obj: Object) -> Iterator[str]:
        match obj:
            case VethPair():
                yield f"delete host link {self._made[obj.links[0]]}"
            case Macvlan():
                yield f"delete {obj.ns} link {self._made[obj.links[0]]}"
            case Sysctl():
                if obj.was not in (None, obj.value):
                    yield f"add {obj.ns} set {self._index(obj.ns, obj.dev)} {obj.key} {obj.was}"
            case Route():
                yield f"delete {self._route(obj)}"
            case Rule():
                yield f"delete {_rule(obj)}"
            case _:
                raise BenchError(f"floor.c can't take off: {obj}")

    def _set(self, obj: LinkUp | Sysctl) -> Iterator[str]:
        """All settings of a link with the first thing that is done to it; a near end is born up."""
        of_link = [o for o in self._objects if isinstance(o, LinkUp | Sysctl)]
        first = next(o for o in of_link if (o.ns, o.dev) == (obj.ns, obj.dev))
        settings = self._settings(obj.ns, obj.dev) if obj is first else []
        is_near_end = any(isinstance(o, VethPair) and o.links[0] == (obj.ns, obj.dev) for o in self._objects)
        if isinstance(obj, LinkUp) and not is_near_end:
            settings = ["up", *settings]
        if settings:
            yield " ".join([f"{obj.ns} set {self._index(obj.ns, obj.dev)}", *settings])

    def _settings(self, ns: Ns, dev: str) -> list[str]:
        settings = [o for o in self._objects if isinstance(o, Sysctl) and (o.ns, o.dev) == (ns, dev)]
        return [f"{s.key} {s.value}" for s in settings if s.version == 4 and self._before(s) != s.value]

    def _before(self, obj: Sysctl) -> int:
        if (obj.ns, obj.dev) not in self._made and obj.was is not None:
            return obj.was
        return int(self._kernel.sysctl(obj.ns, f"ipv4/conf/default/{obj.key}") or 0)

    def _route(self, route: Route) -> str:
        if route.hops or route.mtu or route.advmss:
            raise BenchError(f"floor.c can't make: {route}")
        dev = self._index(route.ns, route.dev)
        words = [f"{route.ns} route {route.dst} dev {dev} table {route.table} proto {route.proto}"]
        words += [f"{name} {value}" for name, value in (("via", route.via), ("src", route.src)) if value]
        words += [f"metric {route.metric}"] if route.metric else []
        return " ".join([*words, *(["onlink"] if route.onlink else [])])

    def _index(self, ns: Ns, dev: str) -> int:
        return self._made.get((ns, dev)) or self._kernel.index(ns, dev)


def _rule(rule: Rule) -> str:
    return f"{rule.ns} rule {rule.src} priority {rule.priority} table {rule.table} proto {rule.proto}"
