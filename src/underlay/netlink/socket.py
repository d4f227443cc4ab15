"""A netlink socket of one network namespace: batches of requests, and dumps that are whole.

Facts of the kernel that shape it: a batch does not stop at its first error; errors are reported
without being asked for, so one acknowledgement at the end will do; more than about 250 replies to
one datagram overrun the socket; a dump that was interrupted by a change may lack entries.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from underlay.netns import entered, identity_by
from underlay.objects.wire import ACK, PADDING, REQUEST, Message, attributes

NETLINK_ROUTE = 0
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 11, 12
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
ERROR = struct.Struct("=i")
NLMSG_ERROR, NLMSG_DONE = 2, 3
ENDS = frozenset((NLMSG_ERROR, NLMSG_DONE))
DUMP_INTERRUPTED = 0x10
CAPPED, ACK_TLVS = 0x100, 0x200  # flags of an error message
NLMSGERR_ATTR_MSG = 1
BATCH = 100
# A dump comes in pieces of at most 32 KiB. From 128 KiB on malloc would map a buffer for each datagram, and
# unmap it, which costs more than all the rest of a request.
BUFFER = 64 * 1024
DUMP_TRIES = 10


class Refused(NamedTuple):
    """What the kernel said to a request it did not carry out: errno, and its own words if it had any."""

    errno: int
    text: str

    def __str__(self) -> str:
        return f"{os.strerror(self.errno)}{': ' if self.text else ''}{self.text}"


class NetlinkSocket:
    """Bound to the namespace of `netns` for its life; not for two threads at once."""

    def __init__(self, netns: int) -> None:
        with entered(netns):
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE
            )
        for option in (NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._sequence = 0
        self.is_idle = True  # no answer is awaited, or was left unread

    def close(self) -> None:
        self._socket.close()

    def netns_identity(self, netns: int) -> str:
        """That of its namespace, of which `netns` is a descriptor."""
        return identity_by(self._socket, netns)

    def transact(self, messages: Sequence[Message]) -> list[Refused | None]:
        """Sends all messages, in order; for each the refusal, None where it was carried out."""
        replies: list[Refused | None] = []
        for start in range(0, len(messages), BATCH):
            replies += self._batch(messages[start : start + BATCH])
        return replies

    def _batch(self, messages: Sequence[Message]) -> list[Refused | None]:
        first = self._sequence + 1
        last = len(messages) - 1
        packed = [self._pack(message, 0) for message in messages[:-1]]
        packed.append(self._pack(messages[-1], ACK))
        self.is_idle = False
        self._socket.send(b"".join(packed))
        replies: list[Refused | None] = [None] * len(messages)
        while True:
            for kind, flags, sequence, body in self._receive():
                place = sequence - first
                if kind != NLMSG_ERROR or not 0 <= place <= last:
                    continue  # the tail of a dump that was given up
                if ERROR.unpack_from(body)[0]:
                    replies[place] = _refusal(body, flags)
                if place == last:
                    self.is_idle = True
                    return replies

    def ask(self, message: Message) -> bytes | None:
        """The answer to a request for one thing, None where the kernel has none.

        It, or the refusal, comes without being asked for: no acknowledgement has to be read as well.
        """
        self.is_idle = False
        self._socket.send(self._pack(message, 0))
        while True:
            for kind, _, sequence, body in self._receive():
                if sequence == self._sequence:
                    self.is_idle = True
                    return None if kind == NLMSG_ERROR else body

    def tell(self, message: Message) -> None:
        """Sends a request that another thread hears the answer of."""
        self.is_idle = False
        self._socket.send(self._pack(message, ACK))

    def first_answer(self) -> Refused | None:
        """The first thing that the kernel says to the one request that was told: a refusal, or an echo."""
        kind, flags, _, body = self._receive()[0]
        self.is_idle = kind == NLMSG_ERROR
        return _refusal(body, flags) if self.is_idle and ERROR.unpack_from(body)[0] else None

    def hear_out(self) -> None:
        """Reads what the kernel has said after its first answer to the request that was told, if it can."""
        try:
            while not self.is_idle:
                answers = self._receive(socket.MSG_DONTWAIT)
                self.is_idle = any(kind == NLMSG_ERROR for kind, *_ in answers)
        except OSError:
            pass  # it is not idle, and will be closed

    def dump(self, message: Message) -> list[bytes] | Refused:
        """The bodies of all messages of a dump, or why there are none; repeated while interrupted."""
        for _ in range(DUMP_TRIES):
            self.is_idle = False
            self._socket.send(self._pack(message, 0))
            bodies: list[bytes] = []
            refused, interrupted = self._collect(bodies)
            self.is_idle = True
            if refused or not interrupted:
                return refused or bodies
        return Refused(4, "the tables changed during each of ten dumps")

    def has_first(self, message: Message) -> bool:
        """Whether a dump begins with an entry. The rest stays unread: ask nothing else of this socket."""
        self._socket.send(self._pack(message, 0))
        return self._receive()[0][0] not in ENDS

    def _collect(self, bodies: list[bytes]) -> tuple[Refused | None, bool]:
        interrupted, asked = False, self._sequence
        while True:
            for kind, flags, sequence, body in self._receive():
                if sequence != asked:
                    continue
                if flags & DUMP_INTERRUPTED:
                    interrupted = True
                if kind in ENDS:
                    failed = len(body) >= ERROR.size and ERROR.unpack_from(body)[0] < 0
                    return (_refusal(body, flags) if failed else None), interrupted
                bodies.append(body)

    def _pack(self, message: Message, flags: int) -> bytes:
        self._sequence += 1
        kind, own, body = message
        size = HEADER.size + len(body)
        header = HEADER.pack(size, kind, own | flags | REQUEST, self._sequence, 0)
        return header + body + PADDING[size & 3]

    def _receive(self, flags: int = 0) -> list[tuple[int, int, int, bytes]]:
        """One datagram: type, flags, sequence number and body of each message in it."""
        data = self._socket.recv(BUFFER, flags)
        messages, start = [], 0
        read, header = HEADER.unpack_from, HEADER.size  # local: a dump can have thousands
        last = len(data) - header
        while start <= last:
            size, kind, flags, sequence, _ = read(data, start)
            messages.append((kind, flags, sequence, data[start + header : start + size]))
            start += (size + 3) & ~3 if size > header else header
        return messages


def _refusal(body: bytes, flags: int) -> Refused:
    number = -ERROR.unpack_from(body)[0]
    if not flags & ACK_TLVS:
        return Refused(number, "")
    # What follows: the request's header, the request itself unless it was capped, then attributes.
    request = HEADER.unpack_from(body, ERROR.size)[0] if len(body) >= ERROR.size + HEADER.size else 0
    start = ERROR.size + (HEADER.size if flags & CAPPED else request + (-request % 4))
    text = attributes(body, start).get(NLMSGERR_ATTR_MSG, b"")
    return Refused(number, text.rstrip(b"\0").decode(errors="replace"))
