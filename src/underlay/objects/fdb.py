"""An entry of a VXLAN device's forwarding database (bridge(8), `fdb … self`): behind which VTEP a MAC is."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import ClassVar

from underlay.objects.place import Ns, Request, View, on
from underlay.objects.wire import (
    AF_BRIDGE,
    APPEND,
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
    mac_bytes,
    number,
)
from underlay.values import dataclass

HEADER = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
NDA_DST, NDA_LLADDR, NDA_PORT, NDA_VNI, NDA_IFINDEX = 1, 2, 6, 7, 8
NUD_PERMANENT, NTF_SELF = 0x80, 0x02
FLOOD = (
    "00:00:00:00:00:00"  # the entry for broadcasts and for what has no other: a copy to each of its VTEPs
)


@dataclass(frozen=True, slots=True)
class Fdb:
    """Frames to `mac` leave `dev` for the VTEP `dst`. For FLOOD there can be many, for another MAC one.

    One that is not `permanent` is what the kernel learnt.
    """

    ns: Ns
    dev: str
    mac: str
    dst: IP
    permanent: bool = True
    PARSE: ClassVar = {"dst": ip_address}

    def __str__(self) -> str:
        verb = "append" if self.mac == FLOOD else "add"
        state = "permanent" if self.permanent else "dynamic"
        return on(self.ns, f"bridge fdb {verb} {self.mac} dev {self.dev} dst {self.dst} self {state}")

    def add(self, view: View) -> Request:
        # Appending what is there is no error, so there it is looked for first (it has no EXCL).
        return Message(
            RTM_NEWNEIGH, CREATE | (APPEND if self.mac == FLOOD else EXCL), self._body(view, NUD_PERMANENT)
        )

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        if not self.permanent:  # the kernel learnt it, and will again
            return [(self.ns, Message(RTM_DELNEIGH, 0, self._of_mac(view, 0)))]
        return [(self.ns, Message(RTM_NEWNEIGH, CREATE | REPLACE, self._body(view, NUD_PERMANENT)))]

    def remove(self, view: View) -> Request | None:
        if self.found(view) != self:
            return None  # an entry has no owner: only the very same is ours
        return Message(RTM_DELNEIGH, 0, self._body(view, 0))

    def _body(self, view: View, state: int) -> bytes:
        return self._of_mac(view, state) + attribute(NDA_DST, self.dst.packed)

    def _of_mac(self, view: View, state: int) -> bytes:
        header = HEADER.pack(AF_BRIDGE, view.index(self.ns, self.dev), state, NTF_SELF, 0)
        return header + attribute(NDA_LLADDR, mac_bytes(self.mac))

    def found(self, view: View) -> Fdb | None:
        """This very entry, else the one that the MAC has instead; None too where it is no plain one."""
        link = view.link(self.ns, self.dev)
        if link is None:
            return None
        listed = HEADER.pack(AF_BRIDGE, 0, 0, 0, 0) + number(NDA_IFINDEX, link.index)
        by_mac = view.grouped(self.ns, Message(RTM_GETNEIGH, DUMP, listed), _mac)
        bodies = by_mac.get((link.index, mac_bytes(self.mac)), ())
        here = [entry for body in bodies if (entry := self._decoded(body))]
        if self in here:
            return self
        return None if self.mac == FLOOD else next(iter(here), None)

    def _decoded(self, body: bytes) -> Fdb | None:
        _, _, state, flags, _ = HEADER.unpack_from(body)
        attrs = attributes(body, HEADER.size)
        if not flags & NTF_SELF or NDA_DST not in attrs or attrs.keys() & {NDA_PORT, NDA_VNI, NDA_IFINDEX}:
            return None
        return Fdb(self.ns, self.dev, self.mac, address(attrs[NDA_DST]), bool(state & NUD_PERMANENT))

    def yields_to(self, new: Fdb) -> bool:
        return not self.permanent  # what the kernel learnt is nobody's


def _mac(body: bytes) -> tuple[int, bytes | None]:
    _, index, _, _, _ = HEADER.unpack_from(body)
    return index, attributes(body, HEADER.size).get(NDA_LLADDR)
