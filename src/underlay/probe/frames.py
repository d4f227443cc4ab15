"""ARP and neighbour discovery as Ethernet frames: values to bytes, and bytes to values.

Pure: nothing here opens a socket. ARP is RFC 826, its probes and announcements are RFC 5227;
neighbour solicitations (NS) and advertisements (NA) are RFC 4861, asked without an address RFC 4862.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from underlay.objects.wire import IP, mac_bytes, mac_text
from underlay.values import dataclass

ETHERNET = struct.Struct("!6s6sH")  # destination, source, type
ARP = struct.Struct("!8s6s4s6s4s")  # kinds and operation, sender's MAC and address, target's
IPV6 = struct.Struct("!IHBB16s16s")  # version, length, next header, hop limit, source, destination
ND = struct.Struct("!BBHI16s")  # type, code, checksum, flags, target
ARP_TYPE, IPV6_TYPE = 0x0806, 0x86DD
ETHERNET_IPV4 = bytes.fromhex("0001 0800 06 04")  # how every ARP message of Ethernet and IPv4 begins
REQUEST, REPLY = 1, 2
ICMPV6, HOP_LIMIT = 58, 255  # a router would have lowered 255, so such a message is from this LAN
SOLICITATION, ADVERTISEMENT = 135, 136
OVERRIDE = 0x20000000  # of an NA: the new MAC replaces the one that is known (RFC 4861, 4.4)
SOURCE_LLADDR, TARGET_LLADDR = 1, 2  # options: whose MAC it is

NO_MAC, BROADCAST = "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"
NOBODY4, NOBODY6 = IPv4Address(0), IPv6Address(0)
ALL_NODES = IPv6Address("ff02::1")
SOLICITED_NODE = int(IPv6Address("ff02::1:ff00:0"))  # and the last 24 bits of the address (RFC 4291, 2.7.1)


@dataclass(frozen=True, slots=True)
class Arp:
    """`sender` is at `sender_mac`, says this message. `operation` is REQUEST or REPLY."""

    operation: int
    sender_mac: str
    sender: IPv4Address
    target: IPv4Address
    target_mac: str = NO_MAC


@dataclass(frozen=True, slots=True)
class Solicitation:
    """Who has `target`? `lladdr` is the source's MAC, "" where it is not said."""

    source: IPv6Address
    destination: IPv6Address
    target: IPv6Address
    lladdr: str = ""


@dataclass(frozen=True, slots=True)
class Advertisement:
    """`target` is at `lladdr`, or where the frame comes from if that is "". `flags` are 32 bits."""

    source: IPv6Address
    destination: IPv6Address
    target: IPv6Address
    lladdr: str = ""
    flags: int = 0


Message = Arp | Solicitation | Advertisement


@dataclass(frozen=True, slots=True)
class Frame:
    """A message on the wire, from one MAC to another."""

    source: str
    destination: str
    message: Message


def question(mac: str, target: IP, own: IP | None = None) -> Frame:
    """Who has `target`? Asked from `own`, of the same family; without it as one who has no address yet.

    The latter leaves no trace in anybody's neighbour table (RFC 5227, 2.1.1; RFC 4862, 5.4.2).
    """
    if isinstance(target, IPv4Address):
        sender = own if isinstance(own, IPv4Address) else NOBODY4
        return Frame(mac, BROADCAST, Arp(REQUEST, mac, sender, target))
    source = own if isinstance(own, IPv6Address) else NOBODY6
    group = solicited_node(target)
    # An unspecified source has no MAC to tell (RFC 4861, 4.3).
    message = Solicitation(source, group, target, "" if source == NOBODY6 else mac)
    return Frame(mac, group_mac(group), message)


def announcement(mac: str, address: IP) -> Frame:
    """`address` is at `mac` from now on (RFC 5227, 2.3; RFC 4861, 7.2.6)."""
    if isinstance(address, IPv4Address):
        return Frame(mac, BROADCAST, Arp(REQUEST, mac, address, address))
    message = Advertisement(address, ALL_NODES, address, mac, OVERRIDE)
    return Frame(mac, group_mac(ALL_NODES), message)


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The multicast group of all who may have that address."""
    return IPv6Address(SOLICITED_NODE | int(address) & 0xFFFFFF)


def group_mac(group: IPv6Address) -> str:
    """The MAC that frames to a multicast group go to (RFC 2464, 7)."""
    return mac_text(b"\x33\x33" + group.packed[-4:])


def encode(frame: Frame) -> bytes:
    """The frame as it is sent, without padding and checksum of Ethernet: the NIC adds them."""
    is_arp = isinstance(frame.message, Arp)
    kind = ARP_TYPE if is_arp else IPV6_TYPE
    header = ETHERNET.pack(mac_bytes(frame.destination), mac_bytes(frame.source), kind)
    match frame.message:
        case Arp() as arp:
            return header + _arp(arp)
        case Solicitation() as asked:
            return header + _nd(asked, SOLICITATION, 0, SOURCE_LLADDR)
        case Advertisement() as told:
            return header + _nd(told, ADVERTISEMENT, told.flags, TARGET_LLADDR)


def _arp(arp: Arp) -> bytes:
    kinds = ETHERNET_IPV4 + arp.operation.to_bytes(2, "big")
    sender, target = mac_bytes(arp.sender_mac), mac_bytes(arp.target_mac)
    return ARP.pack(kinds, sender, arp.sender.packed, target, arp.target.packed)


def _nd(message: Solicitation | Advertisement, kind: int, flags: int, lladdr: int) -> bytes:
    option = bytes([lladdr, 1]) + mac_bytes(message.lladdr) if message.lladdr else b""
    source, destination = message.source.packed, message.destination.packed
    blank = ND.pack(kind, 0, 0, flags, message.target.packed) + option
    checksum = 0xFFFF - _ones_complement_sum(source, destination, blank)
    payload = ND.pack(kind, 0, checksum, flags, message.target.packed) + option
    return IPV6.pack(6 << 28, len(payload), ICMPV6, HOP_LIMIT, source, destination) + payload


def decode(data: bytes) -> Frame | None:
    """The frame in `data`; None where it is no ARP of IPv4, NS or NA, or a damaged one."""
    if len(data) < ETHERNET.size:
        return None
    destination, source, kind = ETHERNET.unpack_from(data)
    message: Message | None = None
    if kind == ARP_TYPE:
        message = _arp_in(data[ETHERNET.size :])
    elif kind == IPV6_TYPE:
        message = _nd_in(data[ETHERNET.size :])
    return Frame(mac_text(source), mac_text(destination), message) if message else None


def _arp_in(packet: bytes) -> Arp | None:
    if len(packet) < ARP.size or not packet.startswith(ETHERNET_IPV4):
        return None
    kinds, sender_mac, sender, target_mac, target = ARP.unpack_from(packet)
    operation = int.from_bytes(kinds[-2:], "big")
    if operation not in (REQUEST, REPLY):
        return None
    addresses = IPv4Address(sender), IPv4Address(target)
    return Arp(operation, mac_text(sender_mac), *addresses, mac_text(target_mac))


def _nd_in(packet: bytes) -> Solicitation | Advertisement | None:
    """What RFC 4861, 7.1, has a receiver check is checked; the length stands before any padding."""
    if len(packet) < IPV6.size + ND.size or packet[0] >> 4 != 6:
        return None
    _, length, header, hop_limit, source, destination = IPV6.unpack_from(packet)
    payload = packet[IPV6.size : IPV6.size + length]
    if header != ICMPV6 or hop_limit != HOP_LIMIT or not ND.size <= length == len(payload):
        return None
    kind, code, _, flags, target = ND.unpack_from(payload)
    options = _options(payload)
    if code or options is None or _ones_complement_sum(source, destination, payload) != 0xFFFF:
        return None
    addresses = IPv6Address(source), IPv6Address(destination), IPv6Address(target)
    if kind == SOLICITATION:
        return Solicitation(*addresses, options.get(SOURCE_LLADDR, ""))
    if kind == ADVERTISEMENT:
        return Advertisement(*addresses, options.get(TARGET_LLADDR, ""), flags)
    return None


def _options(payload: bytes) -> dict[int, str] | None:
    """The MACs among the options, by type; any others are passed over. None where they are damaged."""
    found: dict[int, str] = {}
    start = ND.size
    while start < len(payload):
        size = 8 * payload[start + 1] if start + 1 < len(payload) else 0
        if not 0 < size <= len(payload) - start:
            return None
        if size == 8:  # longer than a MAC of Ethernet is none
            found[payload[start]] = mac_text(payload[start + 2 : start + 8])
        start += size
    return found


def _ones_complement_sum(source: bytes, destination: bytes, payload: bytes) -> int:
    """Over the pseudo-header and the payload (RFC 8200, 8.1); 0xFFFF where the checksum in it is right."""
    data = source + destination + struct.pack("!II", len(payload), ICMPV6) + payload
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
