"""Netlink messages as bytes, and bytes as netlink messages (RFC 3549; rtnetlink(7)).

Pure: nothing here opens a socket. Integers are in host byte order, as netlink wants them.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Container
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from typing import NamedTuple

IP = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface  # an address with the length of its subnet's prefix

AF_INET, AF_BRIDGE, AF_INET6 = 2, 7, 10
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

REQUEST, ACK, ECHO = 0x1, 0x4, 0x8
DUMP = 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800

IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change
ATTRIBUTE = struct.Struct("=HH")
ATTRIBUTE_TYPE = 0x3FFF  # without the nested and byte-order bits
NUMBER = struct.Struct("=HHI")  # an attribute that is a number, as most are
PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")  # to a multiple of 4, by how far the size is beyond one
U32 = struct.Struct("=I")

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK = 1, 3, 4, 5
IFLA_LINKINFO, IFLA_AF_SPEC, IFLA_NET_NS_FD, IFLA_EXT_MASK = 18, 26, 28, 29
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_MASTER, IFLA_TXQLEN, IFLA_IFALIAS, IFLA_LINK_NETNSID = 10, 13, 20, 37
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFF_UP = 1

REMEMBERED = (
    4096  # addresses. They never change, a node asks for the same ones all day, and to make one is dear
)


class Message(NamedTuple):
    """A request of the kernel: its type, its flags beside REQUEST and ACK, and what follows the header."""

    type: int
    flags: int
    body: bytes


def attribute(kind: int, payload: bytes) -> bytes:
    size = ATTRIBUTE.size + len(payload)
    return ATTRIBUTE.pack(size, kind) + payload + PADDING[size & 3]


def number(kind: int, value: int) -> bytes:
    """A 32-bit attribute."""
    return NUMBER.pack(NUMBER.size, kind, value & 0xFFFFFFFF)


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def attributes(data: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes of `data` from `start`, by type; where a type comes twice, the last one."""
    found: dict[int, bytes] = {}
    read, header = ATTRIBUTE.unpack_from, ATTRIBUTE.size  # local: this loop is the dearest part of any reply
    last = len(data) - header
    while start <= last:
        size, kind = read(data, start)
        if size < header:
            break  # a damaged message: nothing after this can be trusted
        found[kind & ATTRIBUTE_TYPE] = data[start + header : start + size]
        start += (size + 3) & ~3
    return found


def some_attributes(data: bytes, start: int, kinds: Container[int]) -> dict[int, bytes]:
    """The same of these types alone: of a link's dozens few are looked at."""
    found: dict[int, bytes] = {}
    read, header = ATTRIBUTE.unpack_from, ATTRIBUTE.size
    last = len(data) - header
    while start <= last:
        size, kind = read(data, start)
        if size < header:
            break
        if kind & ATTRIBUTE_TYPE in kinds:
            found[kind & ATTRIBUTE_TYPE] = data[start + header : start + size]
        start += (size + 3) & ~3
    return found


def u32(payload: bytes) -> int:
    value: int = U32.unpack_from(payload)[0]
    return value


def i32(payload: bytes) -> int:
    return int.from_bytes(payload[:4], sys.byteorder, signed=True)


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(raw: bytes) -> str:
    return raw.hex(":")


@lru_cache(REMEMBERED)
def address(raw: bytes) -> IP:
    return IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)


@lru_cache(REMEMBERED)
def network(raw: bytes, length: int) -> Network:
    return ip_network((raw, length))


@lru_cache(REMEMBERED)
def interface(raw: bytes, length: int) -> Interface:
    return ip_interface((raw, length))


def family_of(version: int) -> int:
    """AF_INET or AF_INET6 for IP version 4 or 6."""
    return AF_INET if version == 4 else AF_INET6


def ifinfo(index: int = 0, flags: int = 0) -> bytes:
    """A link header; `flags` are the ones to set."""
    return IFINFO.pack(0, 0, index, flags, flags)


def linkinfo(kind: str, data: bytes) -> bytes:
    """What a new link is, as `ip link add … type` says it; `data` are the attributes of that kind."""
    return attribute(
        IFLA_LINKINFO, attribute(IFLA_INFO_KIND, kind.encode()) + attribute(IFLA_INFO_DATA, data)
    )
