"""The agent's end of the wire between shim and agent: shim/underlay-shim.c says what goes over it.

What answers here knows the framing and nothing of plugins, and can be as slow, as curt and as wrong as a
test wants it.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

NUMBER = struct.Struct("!I")
PATIENCE = 30.0  # seconds, for what happens at once
Handler = Callable[[socket.socket], None]


@dataclass(frozen=True)
class Request:
    """One call as the agent gets it."""

    name: bytes
    stdin: bytes
    variables: tuple[bytes, ...]  # NAME=value, in their order
    files: tuple[os.stat_result, ...]  # of the descriptors, which are closed again

    @property
    def inodes(self) -> list[int]:
        return [file.st_ino for file in self.files]


def read_request(connection: socket.socket, step: int = 1 << 20) -> Request:
    """Receives a request, so many bytes at a time; AssertionError where it is not as it has to be."""
    first, files = _first_bytes(connection)
    rest = _exactly(connection, NUMBER.unpack(first)[0], step)
    fields: list[bytes] = []
    while rest:
        size = NUMBER.unpack_from(rest)[0] + NUMBER.size
        assert size <= len(rest)
        fields.append(rest[NUMBER.size : size])
        rest = rest[size:]
    name, stdin, *variables = fields
    return Request(name, stdin, tuple(variables), files)


def reply(stdout: bytes = b"", stderr: bytes = b"", code: int = 0) -> bytes:
    body = NUMBER.pack(code) + _field(stdout) + _field(stderr)
    return _field(body)


def send_in_pieces(connection: socket.socket, data: bytes, step: int) -> None:
    """Sends the next piece only when the one before has been read."""
    for start in range(0, len(data), step):
        connection.sendall(data[start : start + step])
        until(lambda: not _unread(connection))


def until_it_goes(connection: socket.socket) -> None:
    """Waits until the other end is closed, and reads nothing; AssertionError where it does not close."""
    poll = select.poll()
    poll.register(connection, 0)
    assert [event for _, event in poll.poll(PATIENCE * 1000)] == [select.POLLHUP]


def until(condition: Callable[[], object]) -> None:
    """Waits for what is to happen by itself; AssertionError where it does not."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@dataclass
class Answering:
    """Keeps each request, and answers it."""

    answer: Callable[[Request], bytes] = lambda _: reply()
    requests: list[Request] = field(default_factory=list)

    def __call__(self, connection: socket.socket) -> None:
        request = read_request(connection)
        self.requests.append(request)
        connection.sendall(self.answer(request))


@contextmanager
def serving(path: Path, handler: Handler, backlog: int = 128) -> Iterator[None]:
    """Gives each connection to the handler, in its own thread, and closes it. Raises its first error."""
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(256) as pool:
        listener.bind(str(path))
        listener.listen(backlog)
        calls: list[Future[None]] = []

        def handle(connection: socket.socket) -> None:
            with connection:
                handler(connection)

        def accept() -> None:
            with contextlib.suppress(OSError):  # the end of the listener
                while True:
                    calls.append(pool.submit(handle, listener.accept()[0]))

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
        for call in calls:
            call.result()


def _first_bytes(connection: socket.socket) -> tuple[bytes, tuple[os.stat_result, ...]]:
    """The length of a request, and what comes with it."""
    descriptors = array.array("i")
    first, control, flags, _ = connection.recvmsg(NUMBER.size, socket.CMSG_SPACE(8 * descriptors.itemsize))
    for level, kind, data in control:
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        descriptors.frombytes(data)
    files = tuple(os.fstat(descriptor) for descriptor in descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    assert (len(first), len(control), flags & socket.MSG_CTRUNC) == (NUMBER.size, 1, 0)
    return first, files


def _exactly(connection: socket.socket, size: int, step: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        more, control, _, _ = connection.recvmsg(min(step, size - len(got)), 64)
        assert more
        assert not control
        got += more
    return bytes(got)


def _field(data: bytes) -> bytes:
    return NUMBER.pack(len(data)) + data


def _unread(connection: socket.socket) -> int:
    """How many bytes of what was sent the other end has not read (SIOCOUTQ, unix(7))."""
    return int(NUMBER.unpack(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])
