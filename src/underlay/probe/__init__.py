"""Asks a LAN who has an address, and tells it: conflicts, gateways, announcements.

    pod NIC ── who has 10.6.0.9? (from nobody) ──► LAN     an answer: somebody holds the pod's address
            ── who has 10.6.0.1? (from 10.6.0.9) ─► LAN    no answer: the gateway is not there
            ── 10.6.0.9 is at my MAC ─────────────► LAN    caches forget the MAC that had it before

All questions go out at once and an answer is heard within a millisecond, so an answer costs nothing and
silence costs its time once. Blocking; a call keeps no state, and leaves none in the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from underlay.objects.wire import IP
from underlay.probe.frames import (
    ALL_NODES,
    NOBODY4,
    NOBODY6,
    REPLY,
    REQUEST,
    Advertisement,
    Arp,
    Frame,
    Solicitation,
    announcement,
    group_mac,
    question,
)
from underlay.probe.tap import Speaker, Wire, tapped
from underlay.values import dataclass

__all__ = ["Holder", "Speaker", "Wire", "announce", "conflict", "silent_gateways"]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who claims an address."""

    ip: IP
    mac: str


def conflict(
    wire: Wire, addresses: Iterable[IP], *, interval: float, retries: int, ignored: frozenset[str]
) -> Holder | None:
    """The first other machine that holds one of these addresses, or is about to take it; None if nobody.

    Each address is asked for `retries` times, `interval` seconds apart (RFC 5227, 2.1.1; RFC 4862, 5.4),
    so None takes `retries` × `interval`. The pod may have the addresses already. What any of the pod's own
    NICs sends does not count, nor do `ignored`: the MACs of its node, which may answer for its pods
    (proxy ARP). KernelError where the NIC cannot be asked from.
    """
    probes = {address: question(wire.mac, address) for address in addresses}
    if not probes:
        return None
    with tapped(wire, probes) as tap:
        ours = tap.own | {wire.mac.lower()} | {mac.lower() for mac in ignored}
        for frame in tap.ask(probes, interval, retries):
            holder = _claim(frame)
            if holder and holder.ip in probes and not {holder.mac, frame.source} & ours:
                return holder
    return None


def _claim(frame: Frame) -> Holder | None:
    """The address that a frame claims: its sender's, or the one that its sender is asking for before use."""
    match frame.message:
        case Arp(operation, mac, sender, target):
            is_probe = operation == REQUEST and sender == NOBODY4
            return Holder(target if is_probe else sender, mac)
        case Solicitation(source, _, target):
            return Holder(target, frame.source) if source == NOBODY6 else None
        case Advertisement(_, _, target, lladdr):
            return Holder(target, lladdr or frame.source)


def silent_gateways(
    wire: Wire, gateways: Mapping[IP, IP | None], *, interval: float, retries: int
) -> list[IP]:
    """Those of the gateways that do not answer, in their order.

    The value of a gateway is the pod's own address to ask from, of the same family and scope; None asks
    as one who has no address. Each is asked up to `retries` times, `interval` seconds apart, and the
    last answer ends it. Hearing a gateway speak is not enough, it must have heard the pod.
    KernelError where the NIC cannot be asked from.
    """
    mac = wire.mac.lower()
    silent = {gateway: question(mac, gateway, own) for gateway, own in gateways.items()}
    if not silent:
        return []
    with tapped(wire, silent) as tap:
        for frame in tap.ask(silent, interval, retries):
            for gateway in [gateway for gateway, asked in silent.items() if _answers(frame, asked)]:
                del silent[gateway]
            if not silent:
                break
    return list(silent)


def _answers(frame: Frame, asked: Frame) -> bool:
    match frame.message, asked.message:
        case Arp(operation, _, sender, _, target_mac), Arp() as who_has:
            return operation == REPLY and sender == who_has.target and target_mac == who_has.sender_mac
        case Advertisement(_, _, target), Solicitation() as who_has:
            # One who asked from no address is answered by way of all nodes (RFC 4861, 7.2.4).
            goes_to = group_mac(ALL_NODES) if who_has.source == NOBODY6 else asked.source
            return target == who_has.target and frame.destination == goes_to
        case _:
            return False


def announce(nic: Speaker, mac: str, addresses: Iterable[IP]) -> None:
    """Tells the LAN that these addresses are at the NIC's MAC, once (RFC 5227, 2.3; RFC 4861, 7.2.6).

    Who knows an address by another MAC replaces it at once; who does not know it learns nothing.
    KernelError where the NIC cannot send.
    """
    nic.say(announcement(mac, address) for address in addresses)
