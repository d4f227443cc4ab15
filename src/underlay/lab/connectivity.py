"""Reachability proved with packets: who can speak with whom, and as whom the other end sees him.

    probe = Probe(pod.netns, Server(node.netns, node.addresses.v4))
    reach(probe) == Answer(seen=pod_address)

This process alone is the client in one namespace and the server in another (see echo.py), so a probe
costs no process, and a whole matrix takes no longer than its slowest probe.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address

from underlay.lab.addresses import IPAddress
from underlay.lab.echo import LONGEST, READY, TCP, Server, bind, opened, serving
from underlay.lab.namespace import Netns

__all__ = ["Answer", "Probe", "Server", "ask", "reach", "reach_all"]

QUESTION = b"who am I?"
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DO = 10, 23, 2  # linux/in.h, linux/in6.h
IP_HEADER, UDP_HEADER = {4: 20, 6: 40}, 8  # bytes
TIMEOUT = 1.5  # seconds: leaves room for one retransmission of a SYN
ATTEMPT = 0.3  # seconds after which a datagram is sent again
ATTEMPTS = 5


@dataclass(frozen=True)
class Probe:
    """One question: does `client` get an answer from `server`?

    It dials what the server is bound to, or `address` and `port` if given (a service); `source` binds the
    client to one of its own addresses. `size` is that of the IP packet in bytes, for UDP: it is sent whole
    or not at all (with DF, in IPv4).
    """

    client: Netns
    server: Server
    address: IPAddress | None = None
    port: int | None = None
    source: IPAddress | None = None
    size: int = 0

    @property
    def question(self) -> bytes:
        """What is asked, as long as it takes to make the packet's size."""
        return QUESTION.ljust(self.size - IP_HEADER[self.server.address.version] - UDP_HEADER)

    @property
    def target(self) -> tuple[str, int]:
        return str(self.address or self.server.address), self.port or self.server.port


@dataclass(frozen=True)
class Answer:
    """The address that the server saw, or else why there was no answer. True when there was one."""

    seen: IPAddress | None = None
    error: str = ""

    def __bool__(self) -> bool:
        return self.seen is not None


def reach(probe: Probe) -> Answer:
    """Sends one probe."""
    return reach_all([probe])[0]


def reach_all(probes: Sequence[Probe]) -> list[Answer]:
    """Sends all probes at once; the answers are in their order."""
    if not probes:
        return []
    with serving({probe.server for probe in probes}) as failed, ThreadPoolExecutor(len(probes)) as pool:
        asked = [None if probe.server in failed else pool.submit(ask, probe) for probe in probes]
        return [
            each.result() if each else Answer(error=failed[probe.server])
            for each, probe in zip(asked, probes, strict=True)
        ]


def ask(probe: Probe) -> Answer:
    """Sends a probe to a server that is there."""
    protocol, version = probe.server.protocol, probe.server.address.version
    try:
        with opened(probe.client, protocol, version) as client:
            client.settimeout(TIMEOUT)
            if probe.source:
                bind(client, probe.source, 0, time.monotonic() + READY)
            if probe.size:
                _never_cut(client, version)
            client.connect(probe.target)
            reply = _exchange(client) if protocol == TCP else _exchange_datagrams(client, probe.question)
    except TimeoutError:
        return Answer(error="no answer")
    except OSError as error:
        return Answer(error=(error.strerror or str(error)).lower())
    return Answer(ip_address(reply.decode())) if reply else Answer(error="connection closed")


def _never_cut(client: socket.socket, version: int) -> None:
    """Has the kernel refuse what is larger than the MTU, and routers too (ip(7), ipv6(7))."""
    if version == 4:
        client.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
    else:
        client.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)


def _exchange(client: socket.socket) -> bytes:
    client.send(QUESTION)
    return client.recv(LONGEST)


def _exchange_datagrams(client: socket.socket, question: bytes) -> bytes:
    client.settimeout(ATTEMPT)
    for _ in range(ATTEMPTS):
        client.send(question)
        try:
            return client.recv(LONGEST)
        except TimeoutError:
            continue  # it may be lost while a neighbour is learned
    raise TimeoutError
