"""Which NIC of a pod holds the default route of the main table: decided from all of them, each time.

No single ADD can own the answer: net1 moved eth0's default away, net2 moved net1's, and undoing
those in any other order brings back the wrong one. So every ADD and DEL asks again, per family, and
gets the moves that lead from what the main table holds to what it should.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from underlay.objects import Object, Route
from underlay.plan import MainDefault

NEVER, ALWAYS = 0, 1  # of migrate_route; −1 is by order


@dataclass(frozen=True, slots=True)
class Claim:
    """One of our NICs: what it was configured to do, and what was taken from it and kept in its record."""

    default: MainDefault
    displaced: tuple[Object, ...] = ()


def nic_order(dev: str) -> tuple[int, int, str]:
    """The order of a pod's NICs: eth0, then netN by number, then the others by name."""
    if dev == "eth0":
        return (0, 0, "")
    number = dev.removeprefix("net")
    if dev.startswith("net") and number.isdecimal():
        return (1, int(number), "")
    return (2, 0, dev)


def loses(claim: Claim, version: int, claims: Sequence[Claim], main: Iterable[Route]) -> bool:
    """Whether the NIC must leave main's default of a family to another NIC that has one.

    `main` are the default routes of the main table. A NIC that none of ours was chained to counts
    too: it is left alone, and a later one of ours gives way to it.
    """
    if claim.default.migrate == ALWAYS:
        return True
    if claim.default.migrate == NEVER:
        return False
    yielding = {other.default.dev for other in claims if other.default.migrate == ALWAYS}
    holders = {dev for route in main if route.dst.version == version for dev in route.devs}
    holders |= {other.default.dev for other in claims if _kept_back(other, version)}
    own = nic_order(claim.default.dev)
    return any(nic_order(dev) < own for dev in holders - yielding)


def _kept_back(claim: Claim, version: int) -> tuple[Route, ...]:
    """The defaults of a family that were taken from a NIC."""
    return tuple(obj for obj in claim.displaced if isinstance(obj, Route) and obj.dst.version == version)
