"""A kernel in memory: it holds objects by their place, and what stands on a link goes with the link.

It passes the same contract as the real one (tests/netns/test_kernel.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

from underlay.cni.errors import CniError, KernelError
from underlay.objects import (
    HOST,
    POD,
    Address,
    Fdb,
    LinkAddress,
    LinkAlias,
    LinkUp,
    Macvlan,
    Neigh,
    Ns,
    Object,
    Route,
    Rule,
    Sysctl,
    TxQueueLen,
    VethPair,
    Vxlan,
    links_of,
    made_in,
    stands_on,
)
from underlay.objects.fdb import FLOOD
from underlay.plan import Added, Found, Outcome

PLACE: dict[type, tuple[str, ...]] = {
    VethPair: ("host_dev",),
    Vxlan: ("dev",),
    Macvlan: ("ns", "dev"),
    LinkUp: ("ns", "dev"),
    Sysctl: ("ns", "version", "dev", "key"),
    LinkAddress: ("ns", "dev"),
    LinkAlias: ("ns", "dev"),
    TxQueueLen: ("ns", "dev"),
    Address: ("ns", "dev", "address"),
    Neigh: ("ns", "ip", "dev"),
    Fdb: ("ns", "dev", "mac"),
    Route: ("ns", "dst", "table", "metric"),
    Rule: tuple(field.name for field in fields(Rule)),
}

# What every link has and nobody makes: the field that holds it, and its value on a new link.
SETTINGS: dict[type, tuple[str, Any]] = {
    Sysctl: ("value", 0),
    LinkAddress: ("mac", "00:00:00:00:00:00"),
    LinkAlias: ("alias", ""),
    TxQueueLen: ("packets", 1000),
}


def unset(obj: Object) -> Object:
    """A setting as a new link has it."""
    return with_value(obj, SETTINGS[type(obj)][1])


def with_value(obj: Any, value: Any) -> Object:
    """The same setting with another value."""
    changed: Object = replace(obj, **{SETTINGS[type(obj)][0]: value})
    return changed


def place(obj: Object) -> tuple[Any, ...]:
    beside = [obj.dst] if isinstance(obj, Fdb) and obj.mac == FLOOD else []
    return (type(obj), *(getattr(obj, name) for name in PLACE[type(obj)]), *beside)


class FakeKernel:
    """Starts with the given links; `refused` is an object that it will not make."""

    def __init__(self, *links: tuple[Ns, str], refused: Object | None = None) -> None:
        self.links = set(links)
        self.objects: dict[tuple[Any, ...], Object] = {}
        self.refused = refused

    def add(self, objects: Sequence[Object]) -> list[Outcome]:
        run = itertools.takewhile(lambda obj: made_in(obj) == made_in(objects[0]), objects)
        return [self._add(obj) for obj in run]

    def _add(self, obj: Object) -> Outcome:
        if obj == self.refused:
            return KernelError(f"{obj}: Operation not permitted")
        if found := self.found(obj):
            return Found(found)
        if missing := [dev for dev in self._devs(obj) if dev not in self.links]:
            return KernelError(f"{obj}: there is no link {missing[0][1]}")
        self.objects[place(obj)] = obj
        self.links |= {*links_of(obj)}
        return Added()

    def _devs(self, obj: Object) -> list[tuple[Ns, str]]:
        if isinstance(obj, Route):
            return [(obj.ns, dev) for dev in obj.devs]
        ns, dev = stands_on(obj)
        return [(ns, dev)] if dev else []

    def replace(self, old: Object, new: Object) -> None:
        if new == self.refused:
            raise KernelError(f"{new}: Operation not permitted")
        if type(new) in SETTINGS and new == unset(new):
            self.objects.pop(place(new), None)
        else:
            self.objects[place(new)] = new

    def remove(self, objects: Iterable[Object]) -> list[CniError]:
        for obj in list(objects):
            if self.found(obj) == obj and type(obj) not in SETTINGS:
                self._remove(obj)
            elif self.found(obj) == obj and getattr(obj, "was", None) not in (None, "", -1):
                self.replace(obj, with_value(obj, obj.was))  # type: ignore[union-attr]
        return []

    def _remove(self, obj: Object) -> None:
        del self.objects[place(obj)]
        gone = {*links_of(obj)}
        for other in list(self.objects.values()):  # a link is made before what stands on it
            if set(self._devs(other)) & gone:
                del self.objects[place(other)]
                gone |= {*links_of(other)}
        self.links -= gone

    def restore(self, routes: Iterable[Route]) -> list[CniError]:
        for route in routes:
            self.objects[place(route)] = route
        return []

    def found(self, obj: Object) -> Object | None:
        if type(obj) in SETTINGS and set(self._devs(obj)) <= self.links:
            return self.objects.get(place(obj), unset(obj))
        return self.objects.get(place(obj))

    def __str__(self) -> str:
        return "\n".join(sorted(map(str, self.objects.values())))


NIC = (POD, "eth0")
NODE_NIC = (HOST, "eth0")
