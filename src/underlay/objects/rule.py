"""A rule of policy routing: which table answers for a source, a destination, or both."""

from __future__ import annotations

import struct
from ipaddress import ip_network
from typing import ClassVar

from underlay.objects.place import OURS, Ns, Request, View, ip_command, on
from underlay.objects.wire import (
    CREATE,
    DUMP,
    EXCL,
    RTM_DELRULE,
    RTM_GETRULE,
    RTM_NEWRULE,
    Message,
    Network,
    attribute,
    attributes,
    family_of,
    network,
    number,
    u32,
)
from underlay.values import dataclass

HEADER = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, res1, res2, action, flags
TABLE = 4  # where the header has the table, if it is a small number
FRA_DST, FRA_SRC, FRA_PRIORITY, FRA_TABLE, FRA_PROTOCOL = 1, 2, 6, 15, 21
FRA_SUPPRESS_PREFIXLEN = 14
FR_ACT_TO_TBL = 1
INVERT = 2  # `not from`
PLAIN = {FRA_DST, FRA_SRC, FRA_PRIORITY, FRA_TABLE, FRA_PROTOCOL, FRA_SUPPRESS_PREFIXLEN}


@dataclass(frozen=True, slots=True)
class Rule:
    """`from src to dst lookup table`; None is any. Rules that differ in proto alone can both stand."""

    ns: Ns
    version: int
    table: int
    priority: int
    src: Network | None = None
    proto: int = OURS
    dst: Network | None = None
    PARSE: ClassVar = {"src": ip_network, "dst": ip_network}

    def __str__(self) -> str:
        selected = "from all" if self.src is None else f"from {_bare(self.src)}"
        if self.dst is not None:
            selected += f" to {_bare(self.dst)}"
        command = f"rule add {selected} lookup {self.table} priority {self.priority} proto {self.proto}"
        return on(self.ns, f"{ip_command(self.version)} {command}")

    def add(self, view: View) -> Request:
        return Message(RTM_NEWRULE, CREATE | EXCL, self._body())

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        return [(self.ns, self.add(view))]

    def remove(self, view: View) -> Request | None:
        return Message(RTM_DELRULE, 0, self._body())

    def _body(self) -> bytes:
        to, source = (self.dst.prefixlen if self.dst else 0), (self.src.prefixlen if self.src else 0)
        body = HEADER.pack(family_of(self.version), to, source, 0, 0, 0, 0, FR_ACT_TO_TBL, 0)
        if self.dst:
            body += attribute(FRA_DST, self.dst.network_address.packed)
        if self.src:
            body += attribute(FRA_SRC, self.src.network_address.packed)
        rest = number(FRA_PRIORITY, self.priority) + number(FRA_TABLE, self.table)
        return body + rest + attribute(FRA_PROTOCOL, bytes([self.proto]))

    def found(self, view: View) -> Rule | None:
        request = _rules_request(self.version)
        bodies = view.grouped(self.ns, request, _place).get((self.table, self.priority), ())
        return self if any(_decode(self.ns, self.version, body) == self for body in bodies) else None

    def yields_to(self, new: Rule) -> bool:
        return self.proto == OURS


def rules(view: View, ns: Ns, version: int) -> list[Rule]:
    """All rules of that shape in a namespace; those with other selectors are none of ours."""
    seen = (_decode(ns, version, body) for body in view.dump(ns, _rules_request(version)))
    return [rule for rule in seen if rule]


def _rules_request(version: int) -> Message:
    return Message(RTM_GETRULE, DUMP, HEADER.pack(family_of(version), *[0] * 8))


def _place(body: bytes) -> tuple[int, int]:
    """Table and priority, by which a dump is grouped."""
    attrs = attributes(body, HEADER.size)
    table = u32(attrs[FRA_TABLE]) if FRA_TABLE in attrs else body[TABLE]
    return table, u32(attrs[FRA_PRIORITY]) if FRA_PRIORITY in attrs else 0


def _decode(ns: Ns, version: int, body: bytes) -> Rule | None:
    family, dst_len, src_len, tos, _, _, _, action, flags = HEADER.unpack_from(body)
    attrs = attributes(body, HEADER.size)
    if family != family_of(version) or tos or action != FR_ACT_TO_TBL:
        return None
    if flags & INVERT or not attrs.keys() <= PLAIN:
        return None
    if attrs.get(FRA_SUPPRESS_PREFIXLEN, b"\xff" * 4) != b"\xff" * 4:
        return None
    table, priority = _place(body)
    return Rule(
        ns,
        version,
        table=table,
        priority=priority,
        src=network(attrs[FRA_SRC], src_len) if FRA_SRC in attrs else None,
        proto=attrs.get(FRA_PROTOCOL, b"\0")[0],
        dst=network(attrs[FRA_DST], dst_len) if FRA_DST in attrs else None,
    )


def _bare(network: Network) -> str:
    """As `ip` prints it: a single address without its length."""
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)
