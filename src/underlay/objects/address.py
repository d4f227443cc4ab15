"""An address of a link."""

from __future__ import annotations

import struct
from ipaddress import ip_interface
from typing import ClassVar

from underlay.objects.place import Ns, Request, View, ip_command, on
from underlay.objects.wire import (
    CREATE,
    DUMP,
    EXCL,
    REPLACE,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    Interface,
    Message,
    attribute,
    attributes,
    family_of,
    interface,
    u32,
)
from underlay.values import dataclass

HEADER = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD = 0x02


@dataclass(frozen=True, slots=True)
class Address:
    """`dev` has `address`, with the length of its subnet's prefix.

    With `nodad` an IPv6 address can be used at once, and is not given up where another link has it
    too; for IPv4 it means nothing, and is False.
    """

    ns: Ns
    dev: str
    address: Interface
    nodad: bool = False
    PARSE: ClassVar = {"address": ip_interface}

    def __post_init__(self) -> None:
        if self.address.version == 4:
            object.__setattr__(self, "nodad", False)

    def __str__(self) -> str:
        command = f"{ip_command(self.address.version)} addr add {self.address} dev {self.dev}"
        return on(self.ns, command + (" nodad" if self.nodad else ""))

    def add(self, view: View) -> Request:
        return Message(RTM_NEWADDR, CREATE | EXCL, self._body(view))

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        return [(self.ns, Message(RTM_NEWADDR, CREATE | REPLACE, self._body(view)))]

    def remove(self, view: View) -> Request | None:
        return Message(RTM_DELADDR, 0, self._body(view))

    def _body(self, view: View) -> bytes:
        header = self._header(view.index(self.ns, self.dev), IFA_F_NODAD if self.nodad else 0)
        own = self.address.packed
        return header + attribute(IFA_LOCAL, own) + attribute(IFA_ADDRESS, own)

    def _header(self, index: int, flags: int) -> bytes:
        family = family_of(self.address.version)
        return HEADER.pack(family, self.address.network.prefixlen, flags, 0, index)

    def found(self, view: View) -> Address | None:
        """The address itself; for IPv6, which allows it once on a link, with any length of prefix."""
        link = view.link(self.ns, self.dev)
        if link is None:
            return None
        request = Message(
            RTM_GETADDR, DUMP, HEADER.pack(family_of(self.address.version), 0, 0, 0, link.index)
        )
        by_address = view.grouped(self.ns, request, _own)
        here = [self._decoded(body) for body in by_address.get(self.address.packed, ())]
        if self.address.version == 4:
            here = [found for found in here if found.address == self.address]
        return next(iter(here), None)

    def _decoded(self, body: bytes) -> Address:
        _, length, flags, _, _ = HEADER.unpack_from(body)
        attrs = attributes(body, HEADER.size)
        flags = u32(attrs[IFA_FLAGS]) if IFA_FLAGS in attrs else flags
        return Address(self.ns, self.dev, interface(self.address.packed, length), bool(flags & IFA_F_NODAD))

    def yields_to(self, new: Address) -> bool:
        return self.address == new.address


def _own(body: bytes) -> bytes:
    attrs = attributes(body, HEADER.size)
    return attrs.get(IFA_LOCAL) or attrs[IFA_ADDRESS]
