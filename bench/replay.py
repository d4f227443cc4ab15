"""What a plugin has made, as the lines by which floor.c makes the same and takes it off again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.calls import in_process
from bench.errors import BenchError
from bench.floor import Script, Scripts
from bench.stage import Calls, Stage
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
    made_in,
    stands_on,
)

FIRST_HOST_INDEX = 1 << 22  # the kernel counts from 1, and our own plugins choose from 1 << 23
POD_INDEX = (
    1 << 21
)  # of a link that is made in a pod: a pair whose ends have one index waits for its carrier


@dataclass(frozen=True)
class Recorded:
    """What an ADD has made, and what it has taken out of the pod's main table or set there for that."""

    objects: tuple[Object, ...]
    displaced: tuple[Object, ...] = ()


class Replay:
    """The lines for one ADD, and for its DEL. To be asked for while what was made is not there.

    All that is made on the node comes first, then all in the pod, so that each is one datagram; a DEL
    begins with the pod. What a link carries is set in one message, with its going up where that comes
    first, and only if the link would not have it anyway.
    """

    def __init__(self, recorded: Recorded, kernel: NodeKernel, host_index: int) -> None:
        self._objects = sorted(recorded.objects, key=made_in)  # "host", "pod"; else in their order
        self._displaced = recorded.displaced
        self._kernel = kernel
        indexes = {HOST: host_index, POD: POD_INDEX}
        self._made = {link: indexes[link[0]] for obj in self._objects for link in links_of(obj)}

    def added(self) -> tuple[str, ...]:
        made = (f"add {line}" for obj in self._objects for line in self._line(obj))
        return _merged([*made, *map(self._displacement, self._displaced)])

    def removed(self) -> tuple[str, ...]:
        """In the opposite order, and nothing that goes with its link."""
        lasting = [obj for obj in reversed(self._objects) if stands_on(obj) not in self._made]
        lasting.sort(key=lambda obj: obj.ns, reverse=True)
        removals = (line for obj in lasting for line in self._removal(obj))
        return _merged([*map(self._return, reversed(self._displaced)), *removals])

    def _displacement(self, obj: Object) -> str:
        match obj:
            case Route():
                return f"delete {self._route(obj)}"
            case Sysctl():
                return f"add {obj.ns} sysctl {obj.path} 0"
            case _:
                raise BenchError(f"floor.c can't take away: {obj}")

    def _return(self, obj: Object) -> str:
        match obj:
            case Route():
                return f"add {self._route(obj)}"
            case Sysctl():
                return f"add {obj.ns} sysctl {obj.path} {obj.value}"
            case _:
                raise BenchError(f"floor.c can't give back: {obj}")

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
            case LinkUp():
                if not self._is_born_up(obj):
                    yield f"{obj.ns} set {self._index(obj.ns, obj.dev)} up"
            case Sysctl():
                if self._before(obj) != obj.value:
                    yield self._setting(obj, obj.value)
            case Address():
                yield f"{obj.ns} address {obj.address} dev {self._index(obj.ns, obj.dev)}"
            case Neigh():
                yield self._neigh(obj)
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
                    yield f"add {self._setting(obj, obj.was)}"
            case Neigh():
                yield f"delete {self._neigh(obj)}"
            case Route():
                yield f"delete {self._route(obj)}"
            case Rule():
                yield f"delete {_rule(obj)}"
            case _:
                raise BenchError(f"floor.c can't take off: {obj}")

    def _is_born_up(self, obj: LinkUp) -> bool:
        return any(isinstance(o, VethPair) and o.links[0] == (obj.ns, obj.dev) for o in self._objects)

    def _setting(self, obj: Sysctl, value: int) -> str:
        """A link carries its settings of IPv4; of IPv6 each is a file."""
        if obj.version == 6:
            return f"{obj.ns} sysctl {obj.path} {value}"
        return f"{obj.ns} set {self._index(obj.ns, obj.dev)} {obj.key} {value}"

    def _before(self, obj: Sysctl) -> int:
        if (obj.ns, obj.dev) not in self._made and obj.was is not None:
            return obj.was
        return int(self._kernel.sysctl(obj.ns, f"ipv{obj.version}/conf/default/{obj.key}") or 0)

    def _neigh(self, neigh: Neigh) -> str:
        dev = self._index(neigh.ns, neigh.dev)
        return f"{neigh.ns} neigh {neigh.ip} mac {neigh.mac} dev {dev} proto {neigh.proto}"

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


def _merged(lines: Iterable[str]) -> tuple[str, ...]:
    """All that is set of a link in one message, the first."""
    merged: dict[str, list[str]] = {}
    for line in lines:
        words = line.split(" ")
        key = " ".join(words[:4]) if words[2] == "set" else line
        merged.setdefault(key, []).extend(words[4:] if words[2] == "set" else [])
    return tuple(" ".join([key, *more]) for key, more in merged.items())


def _rule(rule: Rule) -> str:
    return f"{rule.ns} rule {rule.src} priority {rule.priority} table {rule.table} proto {rule.proto}"


def scripts(stage: Stage, calls: Calls, host_index: int) -> Scripts:
    """What the plugin does for a pod, for the floor to do; nothing of it is left.

    A link on the node gets `host_index`. What the calls make has to be there again when it is replayed:
    addresses that are drawn at random are not.
    """
    in_process(stage, calls, "ADD")
    made = recorded(stage, calls)
    in_process(stage, calls, "DEL")
    return replayed(stage, calls, made, host_index)


def recorded(stage: Stage, calls: Calls) -> Recorded:
    """What the ADD of these calls has made, while it is there."""
    with stage.own.records.pod(calls.pod.container_id) as pod:
        (record,) = (record for record in pod.all() if record.plugin == calls.plugin)
        displaced = pod.displaced().values()
    return Recorded(
        (*record.plan.present, *record.claims),
        tuple(obj for taken in displaced for obj in taken.objects),
    )


def replayed(stage: Stage, calls: Calls, made: Recorded, host_index: int) -> Scripts:
    """The same for floor.c, while it is not there."""
    with stage.kernel(calls.pod) as kernel:
        replay = Replay(made, kernel, host_index)
        added, removed = replay.added(), replay.removed()
    path = calls.pod.netns.path
    return Scripts(Script(path, added), Script(path, removed))
