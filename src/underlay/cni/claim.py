"""How an address is claimed on a node, beside other calls here and other nodes elsewhere.

1. Look: what the routing table and this node's store leave of the ranges is free. Draw from it at random.
2. Write down what is about to be claimed, reserve it in the store, make its route. The store decides
   between the calls of this node, so none of them waits for another.
3. Give the claim time to spread, with no lock held, and look again. A routing daemon shows a double
   claim as another route to the same address, and often to one of the two nodes only. So whoever sees
   one yields: it gives the address back and draws anew, after a pause of random length. Any rule by
   which the one that sees it may win leaves two nodes with one address.

Where the claims of several addresses are one call (dual stack) they spread at the same time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from underlay.claims import CLAIM, Claimed, Claims, claim_route
from underlay.cni.errors import CniError, Conflict, InvalidConfig, TryAgainLater
from underlay.cni.wish import Claimant, ClaimKernel, HostRoutes, Way, Wish
from underlay.objects import HOST, IP, Route
from underlay.plan import Added, Found, Outcome

SECONDS = 10.0  # after which a runtime is told to come again
SPREADING = 0.25  # seconds; routing daemons on one LAN need a few milliseconds
GUESSES = 16  # until it is looked what is free: in a range that is half full one in 65536 needs more
SHOWN = 8  # addresses in a message

Remember = Callable[[tuple[Route, ...]], None]


def claim(
    wishes: Sequence[Wish], claimant: Claimant, store: Claims, kernel: ClaimKernel, remember: Remember
) -> tuple[IP, ...]:
    """An address for each wish, in their order, or an exception and nothing is claimed.

    `remember` is given the routes of all claims of this call, each time before one is made: whoever
    finds that after a crash calls `release` with it.

    InvalidConfig where a requested address is none to ask for, Conflict where somebody has it;
    TryAgainLater where a range is exhausted, or others were first for ten seconds.
    """
    for wish in wishes:
        _refuse_unfit(wish)
    call = _Call(claimant, store, kernel)
    try:
        return call.claim(wishes, remember)
    except BaseException as error:
        for failure in call.give_back():
            error.add_note(f"and giving an address back failed: {failure.msg}")
        raise


def release(routes: Iterable[Route], owner: str, store: Claims, kernel: ClaimKernel) -> list[CniError]:
    """Gives claims back; returns what could not be done, for which it can be called again.

    Only what the store says is that owner's is touched. A claim that is not in the store may be
    anybody's: without its entry nothing tells whether somebody uses the address.
    """
    failures: list[CniError] = []
    for route in routes:
        try:
            failures += _released(route.dst.network_address, owner, store, kernel)
        except CniError as error:
            failures.append(error)
    return failures


def _released(ip: IP, owner: str, store: Claims, kernel: ClaimKernel) -> list[CniError]:
    with store.sharing():
        found = store.holder(ip)
        if not found or found.owner != owner:
            return []
        # The route first: an entry without a route can be found again, a route without an entry can't.
        failures = kernel.remove([claim_route(ip, found.dev)])
        if not failures:
            store.drop(ip)
        return failures


class _Seen(NamedTuple):
    """One look at an IP version: the routes, and what they and the claims of this node take.

    Or a glance: routes that were read before, and `taken` is not known. Other nodes' claims are among
    them. One of this node that is newer is found when the address is reserved.
    """

    routes: HostRoutes
    taken: set[int]
    is_glance: bool = False


class _Call:
    """The claims of one call while they are made."""

    def __init__(self, claimant: Claimant, store: Claims, kernel: ClaimKernel) -> None:
        self._claimant = claimant
        self._entry = Claimed(claimant.dev, claimant.owner)
        self._store = store
        self._kernel = kernel
        self._deadline = time.monotonic() + SECONDS
        self._has_daemon = False
        self._may_glance = True
        self._made: list[Route] = []  # by this call, or about to be
        self._tried: list[IP] = []

    def claim(self, wishes: Sequence[Wish], remember: Remember) -> tuple[IP, ...]:
        held: dict[int, IP] = {}  # by the place of the wish
        while True:
            new = {place: wish for place, wish in enumerate(wishes) if place not in held}
            self._hold(new, held, remember)
            wait = self._claimant.wait
            if wait is None:
                wait = SPREADING if self._has_daemon else 0.0
            if wait:
                time.sleep(wait)
                lost = self._lost(new, held)
                for place in lost:
                    self._yield(held.pop(place))
            if len(held) == len(wishes):
                return tuple(held[place] for place in range(len(wishes)))
            self._pause(wait)

    def give_back(self) -> list[CniError]:
        return release(reversed(self._made), self._claimant.owner, self._store, self._kernel)

    def _hold(self, wishes: dict[int, Wish], held: dict[int, IP], remember: Remember) -> None:
        """Claims an address for each of the wishes, free as far as is seen here, and adds it to `held`."""
        while wishes:
            chosen = self._choose(wishes, self._glance(wishes) or self._look(wishes))
            remember(tuple(claim_route(ip, self._claimant.dev) for ip in (held | chosen).values()))
            held |= self._take(chosen)
            self._may_glance = False  # whatever was in the way, it is not among what was read before
            wishes = {place: wish for place, wish in wishes.items() if place not in held}
            if wishes and time.monotonic() > self._deadline:
                raise self._too_late()

    def _glance(self, wishes: dict[int, Wish]) -> dict[int, _Seen]:
        """What a process that stays remembers, for who takes any address: nothing is read that grows with
        the pods of the node. Empty where it must be."""
        if not self._may_glance or any(wish.requested for wish in wishes.values()):
            return {}
        glances = {}
        for version in {wish.version for wish in wishes.values()}:
            routes = self._kernel.unchanged_routes(version)
            if routes is None:
                return {}
            self._has_daemon = self._has_daemon or routes.has_daemon
            glances[version] = _Seen(routes, set(), is_glance=True)
        return glances

    def _look(self, wishes: dict[int, Wish]) -> dict[int, _Seen]:
        """By IP version, what is there now."""
        return {version: self._look_at(version) for version in {wish.version for wish in wishes.values()}}

    def _look_at(self, version: int) -> _Seen:
        entries = self._store.numbers(version)
        routes = self._kernel.host_routes(version)
        self._has_daemon = self._has_daemon or routes.has_daemon
        vanished = entries - routes.numbers
        if vanished:
            with suppress(CniError):  # their links may be gone; this call needs nothing of them
                _remake(vanished, version, self._store, self._kernel)
        return _Seen(routes, entries | routes.numbers)

    def _choose(self, wishes: dict[int, Wish], seen: dict[int, _Seen]) -> dict[int, IP]:
        """What to claim: the requested addresses, and free ones that are none of those."""
        chosen = {place: wish.requested for place, wish in wishes.items() if wish.requested}
        for ip in chosen.values():
            self._refuse_taken(ip, seen[ip.version].routes)
            seen[ip.version].taken.add(int(ip))
        for place, wish in wishes.items():
            if place not in chosen:
                seen_now = seen[wish.version]
                guessed = self._guessed(wish, seen_now) if seen_now.is_glance else None
                if seen_now.is_glance and guessed is None:  # it is nearly full: what is free has to be known
                    seen[wish.version] = seen_now = self._look_at(wish.version)
                chosen[place] = guessed or self._drawn(wish, seen_now.taken)
        self._tried += chosen.values()
        return chosen

    def _guessed(self, wish: Wish, seen: _Seen) -> IP | None:
        """An address that nobody is known to have; None where a few guesses found none."""
        for _ in range(GUESSES):
            ip = wish.guess(_below)
            if ip is None or int(ip) in seen.routes.numbers or int(ip) in seen.taken:
                continue
            if not self._kernel.is_own(ip):
                seen.taken.add(int(ip))
                return ip
        return None

    def _drawn(self, wish: Wish, taken: set[int]) -> IP:
        while True:
            ip = wish.draw(taken, _below)
            if ip is None:
                raise _exhausted(wish)
            taken.add(int(ip))
            if not self._kernel.is_own(ip):
                return ip

    def _take(self, chosen: dict[int, IP]) -> dict[int, IP]:
        """Claims addresses; those that nobody else was first with."""
        with self._store.sharing():
            mine = {place: ip for place, ip in chosen.items() if self._reserve(ip)}
            routes = [claim_route(ip, self._claimant.dev) for ip in mine.values()]
            outcomes = _add(routes, self._kernel)
        held = {}
        for (place, ip), route, outcome in zip(mine.items(), routes, outcomes, strict=True):
            if isinstance(outcome, CniError):
                raise outcome
            # Its very route is there: another call saw the entry alone, and took the route for vanished.
            if isinstance(outcome, Added) or outcome == Found(route):
                held[place] = ip
            else:
                self._yield(ip)
        return held

    def _reserve(self, ip: IP) -> bool:
        """While `sharing` is held."""
        route = claim_route(ip, self._claimant.dev)
        self._made.append(route)  # before: between a system call and the next line a signal may raise
        found = self._store.enter(ip, self._entry)
        if found:
            self._made.remove(route)  # also where it is of an earlier call for this owner
        return found in (None, self._entry)

    def _yield(self, ip: IP) -> None:
        """Leaves an address to somebody else."""
        route = claim_route(ip, self._claimant.dev)
        if route not in self._made:
            return  # an earlier call's
        for failure in release([route], self._claimant.owner, self._store, self._kernel):
            raise failure
        self._made.remove(route)

    def _lost(self, wishes: dict[int, Wish], held: dict[int, IP]) -> list[int]:
        """Which of the wishes' addresses somebody else claims as well; Conflict where that was requested."""
        seen = self._look(wishes)
        lost = []
        for place, wish in wishes.items():
            others = self._others(held[place], seen[wish.version].routes)
            if others and wish.requested:
                raise self._conflict(wish.requested, others[0])
            if others:
                lost.append(place)
        return lost

    def _pause(self, wait: float) -> None:
        """Lets nodes that yielded to each other come back at different times."""
        pause = wait * _below(1000) / 1000
        if time.monotonic() + pause + wait > self._deadline:
            raise self._too_late()
        time.sleep(pause)

    def _refuse_taken(self, ip: IP, routes: HostRoutes) -> None:
        holder = self._store.holder(ip)
        if holder and holder != self._entry:
            raise Conflict(
                f"the requested address {ip} is in use on this node: {holder.owner} has it, by {holder.dev}",
                "remove that pod, or request another address; nothing was changed",
            )
        others = self._others(ip, routes) if holder else routes.ways(ip)
        if others:
            raise self._conflict(ip, others[0])
        if not holder and self._kernel.is_own(ip):
            raise Conflict(
                f"the requested address {ip} is the node's own",
                "request another address; nothing was changed",
            )

    def _others(self, ip: IP, routes: HostRoutes) -> list[Way]:
        """The ways to an address but for the claim of this call."""
        link = self._kernel.link(HOST, self._claimant.dev)
        ours = Way(CLAIM, link.index if link else 0, None)
        return [way for way in routes.ways(ip) if way != ours]

    def _conflict(self, ip: IP, way: Way) -> Conflict:
        dev = self._kernel.dev(HOST, way.link) if way.link else ""
        by = f" by {dev}" if dev else ""
        if way.via:
            who = f"the node {way.via} has it, which a route of protocol {way.proto}{by} leads to"
        else:
            who = f"there is a route to it{by} (protocol {way.proto}), and no claim of this node's for that"
        return Conflict(
            f"the requested address {ip} is in use: {who}",
            "remove the pod that has it, or request another address; nothing was changed",
        )

    def _too_late(self) -> TryAgainLater:
        addresses = list(dict.fromkeys(map(str, self._tried)))
        more = f" and {len(addresses) - SHOWN} more" if len(addresses) > SHOWN else ""
        return TryAgainLater(
            f"no address was to be had in {SECONDS:g} s: somebody else claimed each as well",
            f"claimed {len(self._tried)} times: {', '.join(addresses[:SHOWN])}{more}; does another node,"
            " or a program there, claim addresses of this network without end?",
        )


def _remake(vanished: Iterable[int], version: int, store: Claims, kernel: ClaimKernel) -> None:
    """Makes the routes of claims again that went when their links went down (the pods are still there)."""
    number_to_ip = IPv4Address if version == 4 else IPv6Address
    ips = [number_to_ip(number) for number in vanished]
    if not _standing(ips, store, kernel):
        return
    # What is being claimed or given back at this moment has an entry without a route as well, and
    # a route that is made behind the back of a release would stay for ever.
    with store.alone() as is_alone:
        if is_alone:
            _add(_standing(ips, store, kernel), kernel)


def _standing(ips: Iterable[IP], store: Claims, kernel: ClaimKernel) -> list[Route]:
    """The routes of those claims whose link can carry one."""
    entries = ((ip, found.dev) for ip in ips if (found := store.holder(ip)))
    return [claim_route(ip, dev) for ip, dev in entries if (link := kernel.link(HOST, dev)) and link.up]


def _add(routes: Sequence[Route], kernel: ClaimKernel) -> list[Outcome]:
    """What became of each of the routes; none is left out because of another's failure."""
    outcomes: list[Outcome] = []
    while len(outcomes) < len(routes):
        outcomes += kernel.add(routes[len(outcomes) :])
    return outcomes


def _refuse_unfit(wish: Wish) -> None:
    if wish.requested is None:
        return
    reasons = [each.refusal(wish.requested) for each in wish.ranges]
    if all(reasons):
        raise InvalidConfig(
            f"the requested address {wish.requested} {', and '.join(dict.fromkeys(reasons))}",
            "request another address, or none to be given any",
        )


def _exhausted(wish: Wish) -> TryAgainLater:
    size = sum(each.size for each in wish.ranges)
    return TryAgainLater(
        f"no address is free in {' or '.join(map(str, wish.ranges))}: all {size} that it has are taken",
        "remove pods that are not needed, or give the network a larger range or fewer exclusions",
    )


def _below(limit: int) -> int:
    """A number at random, 0 to `limit` less 1. The bias is below 2^-128, and `random` is slow to load."""
    return int.from_bytes(os.urandom(32), "big") % limit
