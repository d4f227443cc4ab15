"""A VXLAN device of the node (RFC 7348; linux/Documentation/networking/vxlan.rst)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import ClassVar

from underlay.objects.link import Link
from underlay.objects.place import HOST, Ns, Request, View, on
from underlay.objects.wire import (
    CREATE,
    EXCL,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_MTU,
    IFLA_TXQLEN,
    IP,
    RTM_DELLINK,
    RTM_NEWLINK,
    U32,
    Message,
    address,
    attribute,
    attributes,
    ifinfo,
    linkinfo,
    mac_bytes,
    number,
    text,
    u32,
)
from underlay.values import dataclass

KIND = "vxlan"
U8, FLAG, PORT, PORTS = struct.Struct("=B"), struct.Struct("=?"), struct.Struct(">H"), struct.Struct(">HH")
IFLA_VXLAN_ID, IFLA_VXLAN_LINK, IFLA_VXLAN_AGEING = 1, 3, 8
IFLA_VXLAN_PORT_RANGE, IFLA_VXLAN_GBP = 10, 23
GROUP = {4: 2, 6: 16}  # IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6
LOCAL = {4: 4, 6: 17}
PLAIN = (  # field, IFLA_VXLAN_*, how it is packed
    ("vni", IFLA_VXLAN_ID, U32),
    ("ttl", 5, U8),
    ("tos", 6, U8),
    ("learning", 7, FLAG),
    ("limit", 9, U32),
    ("proxy", 11, FLAG),
    ("rsc", 12, FLAG),
    ("l2miss", 13, FLAG),
    ("l3miss", 14, FLAG),
    ("port", 15, PORT),
)
# What no field sets, as the kernel has it then: a device where it differs is none of ours.
UNSET = {
    18: b"\1",  # udpcsum
    19: b"\0",  # udp6zerocsumtx
    20: b"\0",  # udp6zerocsumrx
    21: b"\0",  # remcsumtx
    22: b"\0",  # remcsumrx
    25: b"\0",  # external
    26: bytes(4),  # flowlabel
    27: None,  # gpe
    28: b"\0",  # ttl inherit
    29: b"\0",  # df
}
AGEING = 300  # seconds; what the kernel takes for 0, too
NEVER = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Vxlan:
    """The defaults are the kernel's. The MAC is derived, so an equal one says that the device is ours.

    `underlay` is the link that packets leave by, "" for any; a multicast `group` needs one. `mtu` is
    in bytes: the kernel lowers it without a word to what `underlay` carries. `ageing` is in seconds,
    0 for never. `limit` is of FDB entries, 0 for none. Both source ports 0, or `tx_queue_len` 0
    (packets), leave the choice to the kernel. Outer packets are IPv6 if `local` or `group` is.
    """

    dev: str
    vni: int
    mac: str
    mtu: int
    port: int
    underlay: str = ""
    local: IP | None = None
    group: IP | None = None
    ttl: int = 0
    tos: int = 0
    learning: bool = True
    proxy: bool = False
    rsc: bool = False
    l2miss: bool = False
    l3miss: bool = False
    gbp: bool = False
    ageing: int = AGEING
    limit: int = 0
    port_low: int = 0
    port_high: int = 0
    tx_queue_len: int = 0
    ns: ClassVar[Ns] = HOST
    PARSE: ClassVar = {"local": ip_address, "group": ip_address}

    def __str__(self) -> str:
        queue = f" txqueuelen {self.tx_queue_len}" if self.tx_queue_len else ""
        link = f"ip link add {self.dev}{queue} address {self.mac} mtu {self.mtu} type {KIND}"
        return on(HOST, " ".join([link, *self._options()]))

    def _options(self) -> Iterator[str]:
        yield f"id {self.vni} dstport {self.port}"
        if self.underlay:
            yield f"dev {self.underlay}"
        if self.local:
            yield f"local {self.local}"
        if self.group:
            yield f"{'group' if self.group.is_multicast else 'remote'} {self.group}"
        yield from (f"{name} {n}" for name, n in (("ttl", self.ttl), ("tos", self.tos)) if n)
        if not self.learning:
            yield "nolearning"
        yield from (name for name in ("proxy", "rsc", "l2miss", "l3miss", "gbp") if getattr(self, name))
        if self.ageing != AGEING:
            yield f"ageing {self.ageing or NEVER}"
        if self.limit:
            yield f"maxaddress {self.limit}"
        if self.port_high:
            yield f"srcport {self.port_low} {self.port_high}"

    @property
    def links(self) -> tuple[tuple[Ns, str], ...]:
        return ((HOST, self.dev),)

    @property
    def stands_on(self) -> tuple[Ns, str]:
        return HOST, self.underlay

    def add(self, view: View) -> Request:
        # No ECHO: a VXLAN device that is not born up has none.
        body = ifinfo() + text(IFLA_IFNAME, self.dev) + attribute(IFLA_ADDRESS, mac_bytes(self.mac))
        body += self._adjustable() + linkinfo(KIND, b"".join(self._data(view)))
        return Message(RTM_NEWLINK, CREATE | EXCL, body)

    def _adjustable(self) -> bytes:
        """What can be changed while the device lives."""
        queue = number(IFLA_TXQLEN, self.tx_queue_len) if self.tx_queue_len else b""
        return number(IFLA_MTU, self.mtu) + queue

    def _data(self, view: View) -> Iterator[bytes]:
        yield from (attribute(kind, code.pack(getattr(self, name))) for name, kind, code in PLAIN)
        yield number(IFLA_VXLAN_AGEING, self.ageing or NEVER)
        yield attribute(IFLA_VXLAN_PORT_RANGE, PORTS.pack(self.port_low, self.port_high))
        if self.underlay:
            yield number(IFLA_VXLAN_LINK, view.index(HOST, self.underlay))
        if self.local:
            yield attribute(LOCAL[self.local.version], self.local.packed)
        if self.group:
            yield attribute(GROUP[self.group.version], self.group.packed)
        if self.gbp:
            yield attribute(IFLA_VXLAN_GBP, b"")

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        """Sets MTU and queue of a device that is ours already."""
        body = ifinfo(view.index(HOST, self.dev)) + self._adjustable()
        return [(HOST, Message(RTM_NEWLINK, 0, body))]

    def remove(self, view: View) -> Request | None:
        link = view.link(HOST, self.dev)
        if link is None or link.kind != KIND or link.mac != self.mac:
            return None  # gone, or another's that only has the name
        if u32(attributes(link.data)[IFLA_VXLAN_ID]) != self.vni:
            return None
        return Message(RTM_DELLINK, 0, ifinfo(link.index))

    def found(self, view: View) -> Vxlan | None:
        """The device of that name; None too for a link that no Vxlan describes."""
        link = view.link(HOST, self.dev)
        if link is None or link.kind != KIND:
            return None
        data = attributes(link.data)
        if any(data.get(kind, value) != value for kind, value in UNSET.items()):
            return None
        return self._decoded(link, data, view)

    def _decoded(self, link: Link, data: dict[int, bytes], view: View) -> Vxlan:
        plain = {name: code.unpack_from(data[kind])[0] for name, kind, code in PLAIN}
        ageing = u32(data[IFLA_VXLAN_AGEING])
        port_low, port_high = PORTS.unpack_from(data[IFLA_VXLAN_PORT_RANGE])
        return Vxlan(
            self.dev,
            mac=link.mac,
            mtu=link.mtu,
            underlay=view.dev(HOST, u32(data[IFLA_VXLAN_LINK])) if IFLA_VXLAN_LINK in data else "",
            local=next((address(data[kind]) for kind in LOCAL.values() if kind in data), None),
            group=next((address(data[kind]) for kind in GROUP.values() if kind in data), None),
            gbp=IFLA_VXLAN_GBP in data,
            ageing=0 if ageing == NEVER else ageing,
            port_low=port_low,
            port_high=port_high,
            tx_queue_len=link.tx_queue_len if self.tx_queue_len else 0,
            **plain,
        )

    def yields_to(self, new: Vxlan) -> bool:
        return replace(self, mtu=new.mtu, tx_queue_len=new.tx_queue_len) == new

    def clash(self, old: Vxlan | None) -> str:
        if old:
            return f"there is: {old}"
        same = f"a VXLAN device of another name with VNI {self.vni} on port {self.port}"
        return f"there is another link {self.dev} on the node, or {same}"
