"""The reachability matrix: every way between a macvlan pod and the rest of the cluster, IPv4 and IPv6.

A row is right when TCP and UDP both get an answer and the other end saw the right source address. One
that is about a packet's size is asked by UDP alone, and may be right when that packet is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from underlay.lab.addresses import VERSIONS, Addresses
from underlay.lab.connectivity import Answer, Probe, reach_all
from underlay.lab.echo import PORT, TCP, UDP, Server
from underlay.lab.namespace import Netns
from underlay.lab.networks import Variant
from underlay.lab.services import PORT as SERVICE_PORT
from underlay.lab.services import Service

Reach = Callable[[Sequence[Probe]], list[Answer]]

PROTOCOLS = (TCP, UDP)
ANY_NODE = "any node address"  # as whom the other end sees the node, where the kernel chooses


class Addressed(Protocol):
    """A machine with one NIC that matters."""

    @property
    def netns(self) -> Netns: ...

    @property
    def addresses(self) -> Addresses: ...


@dataclass(frozen=True)
class End:
    """One end of a way: a namespace, and the addresses that it has there."""

    netns: Netns
    addresses: Addresses

    @classmethod
    def of(cls, machine: Addressed) -> End:
        return cls(machine.netns, machine.addresses)


@dataclass(frozen=True)
class Row:
    """A way from one end to another, and as whom the other end must see the first.

    `bound` says that the client names its address instead of leaving the choice to its routes. `alone` are
    the IP versions in which plain macvlan gives it already: a plugin must not break it. `size` is that
    of the IP packet in bytes, sent whole or not at all; 0 is any. `refusal` is what the client's kernel
    must say instead of sending it.
    """

    group: str
    text: str
    client: End
    server: End
    seen: Sequence[Addresses]
    seen_as: str
    service: Service | None = None
    bound: bool = False
    alone: tuple[int, ...] = ()
    size: int = 0
    refusal: str = ""

    @property
    def protocols(self) -> tuple[str, ...]:
        """By which of them it is asked: TCP cuts its own packets."""
        return (UDP,) if self.size else PROTOCOLS

    def probe(self, version: int, protocol: str) -> Probe:
        listen = self.server.addresses.of(version)
        source = self.client.addresses.of(version) if self.bound else None
        if not self.service:
            server = Server(self.server.netns, listen, PORT, protocol)
            return Probe(self.client.netns, server, source=source, size=self.size)
        server = Server(self.server.netns, listen, self.service.target_port, protocol)
        address = self.service.addresses.of(version)
        return Probe(self.client.netns, server, address, SERVICE_PORT, source)

    def works(self, variant: Variant, version: int) -> bool:
        """Whether it must work in this variant; where not, it must not: else it would prove nothing."""
        return version in self.alone or variant.complete


@dataclass(frozen=True)
class Cell:
    """What came of one row in one family, by protocol."""

    row: Row
    version: int
    answers: dict[str, Answer]

    @property
    def faults(self) -> dict[str, str]:
        """What is wrong, by protocol; empty when all is right."""
        faults = {protocol: self._fault(answer) for protocol, answer in self.answers.items()}
        return {protocol: fault for protocol, fault in faults.items() if fault}

    @property
    def fault(self) -> str:
        """The same in a few words, which name the protocol when the other one is right."""
        if len(self.faults) == 1:
            return "".join(f"{protocol}: {fault}" for protocol, fault in self.faults.items())
        return next(iter(self.faults.values()), "")

    def is_expected(self, variant: Variant) -> bool:
        return self.row.works(variant, self.version) != bool(self.faults)

    def _fault(self, answer: Answer) -> str:
        if self.row.refusal:
            return "" if answer.error == self.row.refusal else answer.error or "not refused"
        if not answer:
            return answer.error
        allowed = [addresses.of(self.version) for addresses in self.row.seen]
        return "" if answer.seen in allowed else f"seen as {answer.seen}"


@dataclass(frozen=True)
class Line:
    """A row with what was measured, a cell for each of VERSIONS."""

    row: Row
    cells: tuple[Cell, ...]

    def is_expected(self, variant: Variant) -> bool:
        return all(cell.is_expected(variant) for cell in self.cells)


def measure(rows: Sequence[Row], reach_all: Reach = reach_all) -> list[Line]:
    """Sends the probes of all rows at once; `reach_all` says from which processes."""
    probes = [row.probe(version, each) for row in rows for version in VERSIONS for each in row.protocols]
    answers = iter(reach_all(probes))
    return [Line(row, tuple(_cell(row, version, answers) for version in VERSIONS)) for row in rows]


def _cell(row: Row, version: int, answers: Iterator[Answer]) -> Cell:
    return Cell(row, version, {protocol: next(answers) for protocol in row.protocols})
