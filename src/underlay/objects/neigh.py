"""A permanent neighbour: an address whose MAC is known and never asked for."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import ClassVar

from underlay.objects.place import OURS, Ns, Request, View, ip_command, on
from underlay.objects.wire import (
    AF_INET,
    AF_INET6,
    CREATE,
    DUMP,
    EXCL,
    IP,
    REPLACE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    Message,
    address,
    attribute,
    attributes,
    family_of,
    mac_bytes,
    mac_text,
    number,
)
from underlay.values import dataclass

HEADER = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
NDA_DST, NDA_LLADDR, NDA_IFINDEX, NDA_PROTOCOL = 1, 2, 8, 12
NUD_PERMANENT = 0x80


@dataclass(frozen=True, slots=True)
class Neigh:
    """`ip` is at `mac` on `dev`. `proto` 0 is an entry of nobody's, such as one the kernel learnt."""

    ns: Ns
    ip: IP
    mac: str
    dev: str
    proto: int = OURS
    permanent: bool = True
    PARSE: ClassVar = {"ip": ip_address}

    def __str__(self) -> str:
        state = " nud permanent" if self.permanent else ""
        proto = f" proto {self.proto}" if self.proto else ""
        command = f"{ip_command(self.ip.version)} neigh add {self.ip} lladdr {self.mac} dev {self.dev}"
        return on(self.ns, command + state + proto)

    def add(self, view: View) -> Request:
        return self._made(view, CREATE | EXCL)

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        if not self.permanent:  # the kernel learnt it, and will again
            return [(self.ns, Message(RTM_DELNEIGH, 0, self._header(view.index(self.ns, self.dev))))]
        return [(self.ns, self._made(view, CREATE | REPLACE))]

    def _made(self, view: View, flags: int) -> Message:
        header = self._header(view.index(self.ns, self.dev))
        proto = attribute(NDA_PROTOCOL, bytes([self.proto]))
        body = header + attribute(NDA_LLADDR, mac_bytes(self.mac)) + proto
        return Message(RTM_NEWNEIGH, flags, body)

    def _header(self, index: int) -> bytes:
        header = HEADER.pack(family_of(self.ip.version), index, NUD_PERMANENT, 0, 0)
        return header + attribute(NDA_DST, self.ip.packed)

    def remove(self, view: View) -> Request | None:
        seen = self.found(view)
        if seen is None or seen.proto != self.proto or not seen.permanent:
            return None  # DELNEIGH asks for no owner, so the owner is looked at first
        return Message(RTM_DELNEIGH, 0, self._header(view.index(self.ns, self.dev)))

    def found(self, view: View) -> Neigh | None:
        link = view.link(self.ns, self.dev)
        if link is None:
            return None
        family = family_of(self.ip.version)
        listed = HEADER.pack(family, 0, 0, 0, 0) + number(NDA_IFINDEX, link.index)
        by_place = view.grouped(self.ns, Message(RTM_GETNEIGH, DUMP, listed), _place)
        for body in by_place.get((family, link.index, self.ip.packed), ()):
            attrs = attributes(body, HEADER.size)
            state = HEADER.unpack_from(body)[2]
            proto = attrs.get(NDA_PROTOCOL, b"\0")[0]
            mac = mac_text(attrs.get(NDA_LLADDR, b""))
            return Neigh(self.ns, self.ip, mac, self.dev, proto, bool(state & NUD_PERMANENT))
        return None

    def yields_to(self, new: Neigh) -> bool:
        return self.proto == OURS or not self.permanent  # what the kernel learnt is nobody's


def neighs(view: View, ns: Ns, proto: int) -> list[Neigh]:
    """The permanent neighbours of a namespace that carry that protocol number."""
    found = []
    for family in (AF_INET, AF_INET6):
        for body in view.dump(ns, Message(RTM_GETNEIGH, DUMP, HEADER.pack(family, 0, 0, 0, 0))):
            _, index, state, *_ = HEADER.unpack_from(body)
            attrs = attributes(body, HEADER.size)
            if state & NUD_PERMANENT and attrs.get(NDA_PROTOCOL) == bytes([proto]) and body[0] == family:
                ip, mac = address(attrs[NDA_DST]), mac_text(attrs.get(NDA_LLADDR, b""))
                found.append(Neigh(ns, ip, mac, view.dev(ns, index), proto))
    return found


def _place(body: bytes) -> tuple[int, int, bytes | None]:
    family, index, _, _, _ = HEADER.unpack_from(body)
    return family, index, attributes(body, HEADER.size).get(NDA_DST)
