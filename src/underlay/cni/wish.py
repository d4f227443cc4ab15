"""What is claimed, for whom, and what has to be asked of the host for that: values and interfaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol

from underlay.cni.errors import CniError
from underlay.objects import IP, Ns, Object
from underlay.objects.link import Link
from underlay.plan import Outcome
from underlay.ranges import Below, Range
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class Wish:
    """One address: `requested`, or any that is free in `ranges`, which are of one IP version."""

    ranges: tuple[Range, ...]
    requested: IP | None = None

    @property
    def version(self) -> int:
        return self.ranges[0].subnet.version

    def draw(self, taken: AbstractSet[int], below: Below) -> IP | None:
        """One of the free addresses of all ranges, each as likely as any other; None where there is none."""
        if len(self.ranges) == 1:
            return self.ranges[0].draw(taken, below)
        free = [each.free(taken) for each in self.ranges]
        place = below(sum(free)) if any(free) else 0
        for each, count in zip(self.ranges, free, strict=True):
            if place < count:
                return each.draw(taken, below)
            place -= count
        return None

    def guess(self, below: Below) -> IP | None:
        """One address of all ranges at random, taken or not; None where it is a reserved one, or there is
        none. Of guesses, those that are free are each as likely as any other."""
        place = below(sum(each.width for each in self.ranges) or 1)
        for each in self.ranges:
            if place < each.width:
                ip = each.at(place)
                return ip if ip in each else None
            place -= each.width
        return None


@dataclass(frozen=True, slots=True)
class Claimant:
    """For whom addresses are claimed, and by which link of the node. `wait` is how long claims take to
    spread, in seconds; None: SPREADING where a routing daemon's routes are on the host, else nothing."""

    dev: str
    owner: str
    wait: float | None = None


class Way(NamedTuple):
    """One next hop of a route to an address; `link` is an index, 0 where it leads nowhere (a blackhole)."""

    proto: int
    link: int
    via: IP | None


class HostRoutes(Protocol):
    """The routes to single addresses in the host's main table, of one IP version, at one moment."""

    @property
    def numbers(self) -> AbstractSet[int]:
        """The addresses, as numbers."""

    @property
    def has_daemon(self) -> bool:
        """Whether any route of the table, to whatever destination, is a routing daemon's."""

    def ways(self, ip: IP) -> list[Way]:
        """Every next hop of every route to that very address."""


class ClaimKernel(Protocol):
    """What a claim needs of the host's namespace; `add` and `remove` are those of `plan.Kernel`."""

    def add(self, objects: Sequence[Object]) -> list[Outcome]:
        """Makes a first run of `objects` at once; an outcome for each of the run, at least one."""

    def remove(self, objects: Iterable[Object]) -> list[CniError]:
        """Removes all it can, in the given order; what is gone already is done. Returns the failures."""

    def link(self, ns: Ns, dev: str) -> Link | None:
        """The link of that name, None where there is none."""

    def dev(self, ns: Ns, index: int) -> str:
        """The name of the link with that index, "" where there is none."""

    def host_routes(self, version: int) -> HostRoutes:
        """The table as it is now: never what was read before."""

    def unchanged_routes(self, version: int) -> HostRoutes | None:
        """What was read last, if only claims of this node can have changed since; else None."""

    def is_own(self, ip: IP) -> bool:
        """Whether the address is one of the node's own."""
