"""A network link as the kernel describes it: what objects that live on a link need to know of it."""

from __future__ import annotations

import struct

from underlay.objects.wire import (
    AF_INET,
    AF_INET6,
    ATTRIBUTE,
    EXCL,
    IFF_UP,
    IFINFO,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_EXT_MASK,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINK,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_TXQLEN,
    RTM_GETLINK,
    RTM_NEWLINK,
    Message,
    attributes,
    i32,
    ifinfo,
    mac_text,
    number,
    some_attributes,
    text,
    u32,
)
from underlay.values import dataclass

SKIP_STATISTICS = 8  # RTEXT_FILTER_SKIP_STATS: the counters are the dear part of a reply
IFLA_INET_CONF, IFLA_INET6_CONF = 1, 2
READ = {
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_LINK,
    IFLA_LINKINFO,
    IFLA_LINK_NETNSID,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_TXQLEN,
}


@dataclass(frozen=True, slots=True)
class Link:
    """One link, seen. `kind` is that of `ip -d link`, "" for hardware; `mtu` is in bytes.

    `peer` is the index of a veth's other end, or of the link that a macvlan or VXLAN device is on, in
    the namespace whose id here is `peer_netns` (−1 for this very namespace). `data` are the attributes
    that links of this kind alone have. `settings` are the per-device settings by IP version, in the
    order of the kernel's own enumerations (IPV4_DEVCONF_* from 1, DEVCONF_* from 0).
    """

    index: int
    name: str
    mac: str
    mtu: int
    up: bool
    peer: int
    settings: dict[int, tuple[int, ...]]
    peer_netns: int = -1
    kind: str = ""
    tx_queue_len: int = 0  # packets
    master: int = 0  # the index of the bridge that it is a port of
    alias: str = ""
    data: bytes = b""


def link_by_name(name: str) -> Message:
    return Message(
        RTM_GETLINK, 0, ifinfo() + number(IFLA_EXT_MASK, SKIP_STATISTICS) + text(IFLA_IFNAME, name)
    )


def link_by_index(index: int) -> Message:
    return Message(RTM_GETLINK, 0, ifinfo(index) + number(IFLA_EXT_MASK, SKIP_STATISTICS))


def is_new_link(request: Message) -> bool:
    """Whether a request makes a link, rather than changing one."""
    return request.type == RTM_NEWLINK and bool(request.flags & EXCL)


def brings_up(request: Message) -> bool:
    """Whether a request brings a link up, one that it makes or one that is there."""
    return request.type == RTM_NEWLINK and bool(IFINFO.unpack_from(request.body)[3] & IFF_UP)


def is_setting(request: Message) -> bool:
    """Whether a RTM_NEWLINK changes settings of one link and whether it is up: no other link feels that."""
    size = len(request.body) - IFINFO.size
    if request.flags & EXCL or not size:
        return not request.flags & EXCL
    length, kind = ATTRIBUTE.unpack_from(request.body, IFINFO.size)
    return bool(kind == IFLA_AF_SPEC and length == size)


def decode_link(body: bytes) -> Link:
    _, _, index, flags, _ = IFINFO.unpack_from(body)
    attrs = some_attributes(body, IFINFO.size, READ)
    info = attributes(attrs.get(IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=attrs[IFLA_IFNAME].rstrip(b"\0").decode(),
        mac=mac_text(attrs.get(IFLA_ADDRESS, b"")),
        mtu=u32(attrs[IFLA_MTU]),
        up=bool(flags & IFF_UP),
        peer=u32(attrs[IFLA_LINK]) if IFLA_LINK in attrs else 0,
        peer_netns=i32(attrs[IFLA_LINK_NETNSID]) if IFLA_LINK_NETNSID in attrs else -1,
        kind=info.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
        tx_queue_len=u32(attrs[IFLA_TXQLEN]) if IFLA_TXQLEN in attrs else 0,
        master=u32(attrs[IFLA_MASTER]) if IFLA_MASTER in attrs else 0,
        alias=attrs.get(IFLA_IFALIAS, b"").rstrip(b"\0").decode(errors="replace"),
        data=info.get(IFLA_INFO_DATA, b""),
        settings=_settings(attributes(attrs.get(IFLA_AF_SPEC, b""))),
    )


def _settings(families: dict[int, bytes]) -> dict[int, tuple[int, ...]]:
    conf4 = attributes(families.get(AF_INET, b"")).get(IFLA_INET_CONF, b"")
    conf6 = attributes(families.get(AF_INET6, b"")).get(IFLA_INET6_CONF, b"")
    return {4: struct.unpack(f"={len(conf4) // 4}i", conf4), 6: struct.unpack(f"={len(conf6) // 4}i", conf6)}
