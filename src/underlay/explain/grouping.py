"""Objects of a plan in groups: where their commands are run, and what they are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from underlay.explain.reasons import reason
from underlay.objects import HOST, MAIN, Neigh, Object, Route, Rule, made_in
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class Group:
    """Objects that follow each other and belong together; `heading` says where and what."""

    heading: str
    objects: tuple[Object, ...]

    @property
    def commands(self) -> list[str]:
        return [command(obj) for obj in self.objects]

    @property
    def by_reason(self) -> tuple[tuple[str, tuple[Object, ...]], ...]:
        """The objects with why they are there; in their order, which is that in which they can be made."""
        return tuple((why, tuple(each)) for why, each in groupby(self.objects, reason))


def groups(objects: Iterable[Object], whose: str = "") -> Iterator[Group]:
    """`whose` goes on the heading of what is on the node: ", for all its pods in blue"."""
    for heading, group in groupby(objects, lambda obj: _heading(obj, whose)):
        yield Group(heading, tuple(group))


def _heading(obj: Object, whose: str) -> str:
    is_on_node = made_in(obj) == HOST
    where = f"On the node{whose}" if is_on_node else "In the pod"
    if isinstance(obj, Rule):
        return f"{where}: rules"
    if is_on_node and not whose and isinstance(obj, Neigh | Route):
        return f"{where}: where the pod is"
    if isinstance(obj, Neigh):
        return f"{where}: neighbours"
    if isinstance(obj, Route):
        return f"{where}: table {'main' if obj.table == MAIN else obj.table}"
    return f"{where}: links and settings"


def command(obj: Object) -> str:
    """Its text without the namespace, which the heading names."""
    return str(obj).partition(":")[2].strip()
