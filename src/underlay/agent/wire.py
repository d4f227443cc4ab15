"""What goes over the socket: one request, one reply, all lengths unsigned 32 bit in network order.

    request   length of all that follows, then fields, each a length and so many bytes:
              the name that the shim was called by │ its standard input │ CNI_…=… │ CNI_…=… │ …
    reply     length of all that follows, then the exit code, then as fields standard output │ standard error

With the first byte of a request its descriptors arrive (SCM_RIGHTS, unix(7)): the caller's own network
namespace, and the file at CNI_NETNS where that could be opened. A client that closes the connection
cancels its call.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time

from underlay.cni.errors import IoFailure, TryAgainLater
from underlay.values import dataclass

LONGEST = 8 << 20  # bytes of a request
DESCRIPTORS = 2
SECONDS = 10.0  # for a client to send all of its request, and again to take all of its reply
LENGTH = struct.Struct("!I")
DESCRIPTOR = struct.Struct("=i")
SPACE = socket.CMSG_SPACE(DESCRIPTORS * DESCRIPTOR.size)
PIECE = 1 << 16  # bytes: nearly every request is one
OTHER_PROGRAM = "is this the shim of another version of underlay? `underlay install` renews it"


class Gone(Exception):
    """The client has closed the connection: there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as a client sends it: the plugin's name, standard input, the variables of CNI."""

    plugin: str
    stdin: bytes
    env: dict[str, str]


def length_of(head: bytes) -> int:
    """The length that the first four bytes announce; IoFailure where it is too much."""
    length: int = LENGTH.unpack_from(head)[0]
    if length > LONGEST:
        raise IoFailure(
            f"a request of {length} bytes: the agent takes {LONGEST} at most",
            OTHER_PROGRAM,
        )
    return length


def decode(body: bytes) -> Asked:
    """The request in the bytes after its length; IoFailure where they are none."""
    fields = _fields(body)
    if len(fields) < 2:
        raise IoFailure(
            f"a request of {len(fields)} fields: a plugin's name and its standard input are missing",
            OTHER_PROGRAM,
        )
    name, stdin, *variables = fields
    return Asked(os.fsdecode(name), stdin, dict(map(_variable, variables)))


def _fields(body: bytes) -> list[bytes]:
    fields, start = [], 0
    while start < len(body):
        end = start + LENGTH.size
        if end <= len(body):
            end += LENGTH.unpack_from(body, start)[0]
        if end > len(body):
            raise IoFailure(
                f"a request whose field at byte {start} ends {end - len(body)} bytes behind it",
                OTHER_PROGRAM,
            )
        fields.append(body[start + LENGTH.size : end])
        start = end
    return fields


def _variable(field: bytes) -> tuple[str, str]:
    name, equals, value = os.fsdecode(field).partition("=")
    if not (name.startswith("CNI_") and equals):
        raise IoFailure(f"a request with {name[:40]!r} in the place of CNI_…=…", OTHER_PROGRAM)
    return name, value


def encode_reply(code: int, stdout: bytes, stderr: bytes = b"") -> bytes:
    """A reply: what the shim prints, and the code that it exits with."""
    return _sized(LENGTH.pack(code) + _sized(stdout) + _sized(stderr))


def _sized(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


def receive(client: socket.socket, descriptors: list[int], seconds: float = SECONDS) -> Asked:
    """Reads one request. The descriptors that come with it are put into the list, which the caller closes
    also where this raises.

    Gone where the client closes before its request is whole, TryAgainLater where it takes too long,
    IoFailure where what it sends is no request.
    """
    until = time.monotonic() + seconds
    try:
        data = _first_piece(client, descriptors, seconds)
        while len(data) < LENGTH.size:
            data += _piece(client, until)
        whole = length_of(data) + LENGTH.size
        if len(data) < whole:
            data = _completed(data, whole, client, until)
    except TimeoutError:
        raise TryAgainLater(
            f"the client has not sent its request in {seconds:g} s", "was it stopped, or killed?"
        ) from None
    except OSError as error:
        raise Gone from error
    if len(data) > whole:
        raise IoFailure(f"a request with {len(data) - whole} bytes behind its end", OTHER_PROGRAM)
    if not descriptors:
        raise IoFailure("a request without the network namespace of who calls", OTHER_PROGRAM)
    return decode(data[LENGTH.size :])


def _first_piece(client: socket.socket, descriptors: list[int], seconds: float) -> bytes:
    """The first bytes and all descriptors: the kernel drops those that come later."""
    at_once = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
    try:
        data, ancillary, flags, _ = client.recvmsg(PIECE, SPACE, at_once)
    except BlockingIOError:  # rarely: with a time to wait, each request would be polled for
        client.settimeout(seconds)
        data, ancillary, flags, _ = client.recvmsg(PIECE, SPACE, socket.MSG_CMSG_CLOEXEC)
    for level, kind, packed in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors += (number for (number,) in DESCRIPTOR.iter_unpack(packed))
    if flags & socket.MSG_CTRUNC:
        if len(descriptors) == DESCRIPTORS:
            raise IoFailure(f"a request with more than {DESCRIPTORS} descriptors", OTHER_PROGRAM)
        raise TryAgainLater("the agent has no descriptor left for the namespaces of a call")
    if not data:
        raise Gone
    return data


def _completed(data: bytes, whole: int, client: socket.socket, until: float) -> bytes:
    all_of_it = bytearray(data)
    while len(all_of_it) < whole:
        all_of_it += _piece(client, until)
    return bytes(all_of_it)


def _piece(client: socket.socket, until: float) -> bytes:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    client.settimeout(left)
    data = client.recv(PIECE)
    if not data:
        raise Gone
    return data


def send(client: socket.socket, reply: bytes) -> None:
    """Sends a reply whole; Gone where nobody takes it."""
    try:
        sent = _sent_at_once(client, reply)
        if sent < len(reply):
            client.settimeout(SECONDS)
            client.sendall(memoryview(reply)[sent:])
    except OSError as error:
        raise Gone from error


def _sent_at_once(client: socket.socket, reply: bytes) -> int:
    """How many bytes there was room for; as a rule for all, and nothing has to be waited for."""
    try:
        return client.send(reply, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return 0


def has_gone(client: socket.socket) -> bool:
    """Whether the client has closed the connection, or its half of it."""
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))
