"""Which NIC of a pod holds the default route of the main table: decided from all of them, each time.

No single ADD can own the answer: net1 moved eth0's default away, net2 moved net1's, and undoing
those in any other order brings back the wrong one. So every ADD and DEL asks again, per family, and
gets the moves that lead from what the main table holds to what it should.
"""

from __future__ import annotations

from collections.abc import Iterable

from underlay.plan import MainDefault

NEVER, ALWAYS = 0, 1  # of migrate_route; −1 is by order


def nic_order(dev: str) -> tuple[int, int, str]:
    """The order of a pod's NICs: eth0, then netN by number, then the others by name."""
    if dev == "eth0":
        return (0, 0, "")
    number = dev.removeprefix("net")
    if dev.startswith("net") and number.isdecimal():
        return (1, int(number), "")
    return (2, 0, dev)


def loses(claim: MainDefault, claims: Iterable[MainDefault], holders: set[str]) -> bool:
    """Whether a NIC must leave main's default of one family to another.

    `holders` are the NICs that have a default of that family, in main or taken out of it. One that
    none of ours was chained to counts too: it is left alone, and a later one of ours gives way to it.
    """
    if claim.migrate == ALWAYS:
        return True
    if claim.migrate == NEVER:
        return False
    yielding = {other.dev for other in claims if other.migrate == ALWAYS}
    return any(nic_order(dev) < nic_order(claim.dev) for dev in holders - yielding)
