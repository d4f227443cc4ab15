"""Servers in namespaces, all in one thread, that answer each request with the address it came from.

A socket belongs to the namespace in which it was opened, wherever it is used later, so a server in a pod
needs no process there. Its answer shows every translation that happened on the way.
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Thread

from underlay.lab.addresses import IPAddress
from underlay.lab.namespace import Netns

PORT = 7  # echo
TCP, UDP = "tcp", "udp"
READY = 3.0  # seconds until an IPv6 address that is new must have passed its check for duplicates
LONGEST = 64  # bytes, more than any question or address


@dataclass(frozen=True)
class Server:
    """A socket that answers: where it is and what it is bound to."""

    netns: Netns
    address: IPAddress
    port: int = PORT
    protocol: str = TCP


@contextmanager
def serving(servers: set[Server]) -> Iterator[dict[Server, str]]:
    """Answers on all these sockets until the context ends; yields those that can't, with the reason."""
    failed = {}
    deadline = time.monotonic() + READY
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        stopped, stop = map(stack.enter_context, socket.socketpair())
        selector.register(stopped, selectors.EVENT_READ)
        for server in servers:
            try:
                listener = stack.enter_context(_listener(server, deadline))
            except OSError as error:
                failed[server] = f"server: {error.strerror or error}".lower()
                continue
            selector.register(listener, selectors.EVENT_READ, _accept if server.protocol == TCP else _echo)
        thread = Thread(target=_serve, args=(selector,), daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.close)  # comes first: the thread sees the end of `stopped`
        yield failed


def opened(netns: Netns, protocol: str, version: int) -> socket.socket:
    """A socket that belongs to the namespace."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with netns.entered():
        return socket.socket(family, socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM)


def bind(sock: socket.socket, address: IPAddress, port: int, deadline: float) -> None:
    """Binds as soon as the address is there: a new IPv6 one may still be tentative."""
    while True:
        try:
            return sock.bind((str(address), port))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _listener(server: Server, deadline: float) -> socket.socket:
    listener = opened(server.netns, server.protocol, server.address.version)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind(listener, server.address, server.port, deadline)
        if server.protocol == TCP:
            listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


def _serve(selector: selectors.BaseSelector) -> None:
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            key.data(key.fileobj, selector)


def _accept(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    connection, _ = listener.accept()
    selector.register(connection, selectors.EVENT_READ, _reply)


def _reply(connection: socket.socket, selector: selectors.BaseSelector) -> None:
    selector.unregister(connection)
    with connection:
        peer = connection.getpeername()
        if connection.recv(LONGEST):
            connection.send(peer[0].encode())


def _echo(listener: socket.socket, _: selectors.BaseSelector) -> None:
    _question, peer = listener.recvfrom(LONGEST)
    listener.sendto(peer[0].encode(), peer)
