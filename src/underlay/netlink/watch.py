"""Whether anything has changed in a host's namespace, for a process that stays and answers many calls.

The kernel tells of each change (rtnetlink(7), multicast groups). Nothing is read until somebody asks,
so a quiet node costs no wake-up, and what was looked at once need not be looked at again.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from underlay.claims import CLAIM
from underlay.cni.plugin import Topic
from underlay.netlink.socket import BUFFER, HEADER, NETLINK_ROUTE, SOL_NETLINK
from underlay.netns import entered, netns_of
from underlay.objects.neigh import HEADER as NEIGH
from underlay.objects.neigh import NUD_PERMANENT
from underlay.objects.wire import (
    AF_BRIDGE,
    IFF_UP,
    IFINFO,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_MASTER,
    IFLA_MTU,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    some_attributes,
)

ADD_MEMBERSHIP = 1
LINK, NEIGHBOUR = 1, 3
IPV4_ADDRESS, IPV4_ROUTE, IPV4_RULE = 5, 7, 8
IPV6_ADDRESS, IPV6_ROUTE, IPV6_RULE = 9, 11, 19
IPV4_NETCONF = 24
SETTINGS = (IPV4_ADDRESS, IPV6_ADDRESS, IPV4_RULE, IPV6_RULE, IPV4_NETCONF)
GROUPS = (LINK, NEIGHBOUR, IPV4_ADDRESS, IPV4_ROUTE, IPV4_RULE, IPV6_ADDRESS, IPV6_ROUTE, IPV6_RULE)
RTM_NEWNETCONF, RTM_DELNETCONF = 80, 81
SCOPE_LINK = 253
SO_ATTACH_FILTER = 26
# What comes and goes with each pod is left out by the kernel, so that nobody has to read it. Classic BPF
# (linux/filter.h): code, jump if true, jump if false, value. Jumps count from the next line; a load takes
# the most significant byte first.
HALF, BYTE, EQUAL, ANY_BIT, RETURN = 0x28, 0x30, 0x15, 0x45, 0x06
KIND_AT, FAMILY_AT, SCOPE_AT, PROTO_AT = 4, HEADER.size, HEADER.size + 3, HEADER.size + 5
INDEX_AT = HEADER.size + 8  # NETCONFA_IFINDEX is the first attribute; negative for what holds for all links
SIGN_AT = INDEX_AT + (3 if sys.byteorder == "little" else 0)
# Without the link-local address and the settings of one link: they are no node's.
SETTINGS_ALONE = (
    (HALF, 0, 0, KIND_AT),
    (EQUAL, 5, 0, socket.htons(RTM_NEWADDR)),
    (EQUAL, 4, 0, socket.htons(RTM_DELADDR)),
    (EQUAL, 1, 0, socket.htons(RTM_NEWNETCONF)),
    (EQUAL, 0, 4, socket.htons(RTM_DELNETCONF)),
    (BYTE, 0, 0, SIGN_AT),
    (ANY_BIT, 2, 3, 0x80),
    (BYTE, 0, 0, SCOPE_AT),
    (EQUAL, 1, 0, SCOPE_LINK),
    (RETURN, 0, 0, 0xFFFFFFFF),
    (RETURN, 0, 0, 0),
)
# Without claims, and the neighbours of IP: pods have both.
SHARED_ALONE = (
    (HALF, 0, 0, KIND_AT),
    (EQUAL, 3, 0, socket.htons(RTM_NEWROUTE)),
    (EQUAL, 2, 0, socket.htons(RTM_DELROUTE)),
    (EQUAL, 3, 0, socket.htons(RTM_NEWNEIGH)),
    (EQUAL, 2, 4, socket.htons(RTM_DELNEIGH)),
    (BYTE, 0, 0, PROTO_AT),
    (EQUAL, 3, 2, CLAIM),
    (BYTE, 0, 0, FAMILY_AT),
    (EQUAL, 0, 1, AF_BRIDGE),
    (RETURN, 0, 0, 0xFFFFFFFF),
    (RETURN, 0, 0, 0),
)
Program = Sequence[tuple[int, int, int, int]]
RECEIVE = 1 << 20  # bytes that may be unread; more than that counts as a change
SHAPE = (IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER)


class Watch:
    """Counts the changes of one namespace, and remembers what was found there until the next one.

    All that changes is counted from when somebody asks for it: who wants the node's addresses alone reads
    nothing of pods that come and go. Several threads may use it. To be closed.
    """

    def __init__(self, netns: int) -> None:
        self._lock = threading.Lock()
        self._settings = Counter(netns, SETTINGS, SETTINGS_ALONE, lambda *_: True)
        self._all: Counter | None = None
        self._kept: dict[str, tuple[int, Any]] = {}

    def close(self) -> None:
        self._settings.close()
        if self._all:
            self._all.close()

    def netns(self) -> int:
        """A descriptor of the namespace; the caller closes it."""
        return self._settings.netns()

    def changes(self, topic: Topic = Topic.ALL) -> int:
        """How many there were until now: an equal number later means that nothing has changed meanwhile."""
        if topic is Topic.SETTINGS:
            return self._settings.count()
        with self._lock:
            if self._all is None:
                self._all = self._settings.beside(GROUPS, SHARED_ALONE, Shapes().matters)
        return self._all.count()

    def recall(self, name: str, changes: int) -> Any:
        """What was kept under that name when as many changes had been counted; None where none was."""
        then, what = self._kept.get(name, (-1, None))
        return what if then == changes else None

    def keep(self, name: str, changes: int, what: Any) -> None:
        """Remembers what was found after so many changes."""
        self._kept[name] = changes, what


class Counter:
    """Counts what the kernel tells of some multicast groups and lets through, as far as it `matters`."""

    def __init__(
        self,
        netns: int,
        groups: Iterable[int],
        lets_through: Program,
        matters: Callable[[int, bytes], bool],
    ) -> None:
        with entered(netns):
            self._socket = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
                NETLINK_ROUTE,
            )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE)
        program = array.array("B", b"".join(struct.pack("=HBBI", *line) for line in lets_through))
        filtered = struct.pack("@HP", len(lets_through), program.buffer_info()[0])
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filtered)
        self._socket.bind((0, 0))  # without an address of its own it is told nothing
        for group in groups:
            self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, struct.pack("=i", group))
        self._matters = matters
        self._lock = threading.Lock()
        self._count = 0

    def close(self) -> None:
        self._socket.close()

    def netns(self) -> int:
        """A descriptor of the namespace; the caller closes it."""
        return netns_of(self._socket)

    def beside(
        self, groups: Iterable[int], lets_through: Program, matters: Callable[[int, bytes], bool]
    ) -> Counter:
        """Another one for the same namespace."""
        netns = self.netns()
        try:
            return Counter(netns, groups, lets_through, matters)
        finally:
            os.close(netns)

    def count(self) -> int:
        """How many changes there were until now."""
        with self._lock:
            while True:
                try:
                    data = self._socket.recv(BUFFER)
                except BlockingIOError:
                    return self._count
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    self._count += 1  # some were lost
                    continue
                self._count += sum(map(self._matters, *_messages(data)))


class Shapes:
    """Tells what changes for all pods from what comes and goes with each; knows the links for that."""

    def __init__(self) -> None:
        self._links: dict[int, tuple[bytes | None, ...]] = {}

    def matters(self, kind: int, body: bytes) -> bool:
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            return bool(NEIGH.unpack_from(body)[2] & NUD_PERMANENT)  # others are learnt, and forgotten
        if kind == RTM_NEWLINK:
            return self._is_new_shape(body)
        if kind == RTM_DELLINK:
            self._links.pop(IFINFO.unpack_from(body)[2], None)
        return True

    def _is_new_shape(self, body: bytes) -> bool:
        """A link is told of again whenever a macvlan on it comes or goes."""
        _, _, index, flags, _ = IFINFO.unpack_from(body)
        attrs = some_attributes(body, IFINFO.size, SHAPE)
        shape = (bytes([flags & IFF_UP]), *(attrs.get(kind) for kind in SHAPE))
        known = self._links.get(index)
        self._links[index] = shape
        return shape != known


def _messages(data: bytes) -> tuple[list[int], list[bytes]]:
    kinds, bodies, start = [], [], 0
    while start + HEADER.size <= len(data):
        size, kind, *_ = HEADER.unpack_from(data, start)
        kinds.append(kind)
        bodies.append(data[start + HEADER.size : start + size])
        start += max(size + (-size % 4), HEADER.size)
    return kinds, bodies
