"""Whether anything has changed in a host's namespace, for a process that stays and answers many calls.

The kernel tells of each change (rtnetlink(7), multicast groups). Nothing is read until somebody asks,
so a quiet node costs no wake-up, and what was looked at once need not be looked at again.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
from typing import Any

from underlay.claims import CLAIM
from underlay.netlink.socket import BUFFER, HEADER, NETLINK_ROUTE, SOL_NETLINK
from underlay.netns import entered
from underlay.objects.neigh import HEADER as NEIGH
from underlay.objects.neigh import NUD_PERMANENT
from underlay.objects.route import HEADER as ROUTE
from underlay.objects.wire import (
    AF_BRIDGE,
    IFF_UP,
    IFINFO,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_MASTER,
    IFLA_MTU,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    attributes,
)

ADD_MEMBERSHIP = 1
LINK, NEIGHBOUR = 1, 3
IPV4_ADDRESS, IPV4_ROUTE, IPV4_RULE = 5, 7, 8
IPV6_ADDRESS, IPV6_ROUTE, IPV6_RULE = 9, 11, 19
GROUPS = (LINK, NEIGHBOUR, IPV4_ADDRESS, IPV4_ROUTE, IPV4_RULE, IPV6_ADDRESS, IPV6_ROUTE, IPV6_RULE)
RECEIVE = 1 << 20  # bytes that may be unread; more than that counts as a change
SHAPE = (IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER)


class Watch:
    """Counts the changes of one namespace, and remembers what was found there until the next one.

    Several threads may use it. To be closed.
    """

    def __init__(self, netns: int) -> None:
        with entered(netns):
            self._socket = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
                NETLINK_ROUTE,
            )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE)
        self._socket.bind((0, 0))  # without an address of its own it is told nothing
        for group in GROUPS:
            self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, struct.pack("=i", group))
        self._lock = threading.Lock()
        self._count = 0
        self._links: dict[int, tuple[bytes | None, ...]] = {}
        self._kept: dict[str, tuple[int, Any]] = {}

    def close(self) -> None:
        self._socket.close()

    def changes(self) -> int:
        """How many there were until now: an equal number later means that nothing has changed meanwhile."""
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

    def recall(self, name: str, changes: int) -> Any:
        """What was kept under that name when as many changes had been counted; None where none was."""
        then, what = self._kept.get(name, (-1, None))
        return what if then == changes else None

    def keep(self, name: str, changes: int, what: Any) -> None:
        """Remembers what was found after so many changes."""
        self._kept[name] = changes, what

    def _matters(self, kind: int, body: bytes) -> bool:
        """What every pod that comes or goes brings with it is no change of what pods share."""
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            return bool(ROUTE.unpack_from(body)[5] != CLAIM)
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
            family, _, state, *_ = NEIGH.unpack_from(body)
            return family == AF_BRIDGE and bool(state & NUD_PERMANENT)  # addresses of pods come and go
        if kind == RTM_NEWLINK:
            return self._is_new_shape(body)
        return True

    def _is_new_shape(self, body: bytes) -> bool:
        """A link is told of again whenever a macvlan on it comes or goes."""
        _, _, index, flags, _ = IFINFO.unpack_from(body)
        attrs = attributes(body, IFINFO.size)
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
