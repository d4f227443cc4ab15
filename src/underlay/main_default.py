"""Which NIC of a pod holds the default route of the main table: decided from all of them, each time.

No single ADD can own the answer: net1 moved eth0's default away, net2 moved net1's, and undoing
those in any other order brings back the wrong one. So every ADD and DEL asks again, per family, and
gets the moves that lead from what the main table holds to what it should.
"""

from __future__ import annotations

from collections.abc import Collection

from underlay.plan import MainDefault

FIRST = "eth0"
NEVER, ALWAYS = 0, 1  # of migrate_route; −1 is by order


def nic_order(dev: str) -> tuple[int, int, str]:
    """The order of a pod's NICs: eth0, then netN by number, then the others by name."""
    if dev == FIRST:
        return (0, 0, "")
    number = dev.removeprefix("net")
    if dev.startswith("net") and number.isdecimal():
        return (1, int(number), "")
    return (2, 0, dev)


def loses(claim: MainDefault, claims: Collection[MainDefault], holders: set[str]) -> bool:
    """Whether a NIC must leave main's default of one family to another.

    `holders` are the NICs that have a default of that family, in main or taken out of it. One that
    none of ours was chained to counts too: it is left alone, and a later one of ours gives way to it.
    Somebody always keeps it: a pod without any default reaches nobody.
    """
    asked = {other.dev for other in claims if other.is_asked and other.dev in holders}
    if asked:
        return claim.dev not in asked
    preferred = [other.prefers for other in claims if other.prefers in holders]
    if preferred:
        return claim.dev != max(preferred, key=nic_order)
    if any(_takes_from(other, claim) for other in claims if other.takes_over and other.dev in holders):
        return True
    if claim.takes_over or claim.migrate == NEVER:
        return False
    yielding = {other.dev for other in claims if other.migrate == ALWAYS and not other.takes_over}
    others = holders - yielding - {claim.dev}
    if claim.migrate == ALWAYS and others:
        return True
    rivals = others if claim.migrate != ALWAYS else holders & yielding
    return any(nic_order(dev) < nic_order(claim.dev) for dev in rivals)


def keeps_anyway(claim: MainDefault, claims: Collection[MainDefault]) -> bool:
    """Whether `loses` says no whoever holds a default, so that nobody has to look."""
    if len(claims) > 1 or claim.prefers:
        return False
    is_first = nic_order(claim.dev) == nic_order(FIRST)
    return claim.takes_over or claim.migrate == NEVER or (claim.migrate != ALWAYS and is_first)


def _takes_from(newer: MainDefault, claim: MainDefault) -> bool:
    if newer.dev == claim.dev or newer.migrate == NEVER:
        return False
    by_order = not claim.takes_over or nic_order(claim.dev) < nic_order(newer.dev)
    is_firm = claim.takes_over and claim.migrate == ALWAYS
    if newer.migrate == ALWAYS:
        return by_order or not is_firm
    return by_order and not is_firm
