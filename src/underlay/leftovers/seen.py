"""The facts by which leftovers are known: read in one place, plain values."""

from __future__ import annotations

from dataclasses import field
from functools import cached_property

from underlay.claims import Claimed
from underlay.cni.several.record import Delegation
from underlay.facts import Interface, Underlay
from underlay.objects import IP, Object
from underlay.objects.link import Link
from underlay.record import Record
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is damaged, or of a newer version. `directory` is its container's, as it is named."""

    directory: str
    name: str

    @property
    def owner(self) -> str:
        return f"{self.directory}/{self.name}"


@dataclass(frozen=True, slots=True)
class Segment:
    """`record` is None where none can be read, `markers` are those of its users."""

    name: str
    record: Record | None
    markers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Netns:
    """A network namespace of this machine that is not the node's. `path` is one that leads to it.

    `number` is what the node knows it by (−1: by none), `ips` are its addresses. `on_node` are the
    indexes of links of the node that links in there are on.
    """

    path: str
    identity: str
    number: int = -1
    ips: frozenset[IP] = frozenset()
    on_node: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Seen:
    """A node at one moment, `now` in seconds since the epoch. `identity` is that of its own namespace.

    `delegations` are the records of what other plugins were called for. `at_home` are the owners of both
    kinds whose path leads to their namespace. `others` are the namespaces
    that were found by walking over all that is seen from here, and `directories` those in which a path of
    a living one is; neither was looked for where nothing depends on it. `sees_all` says whether the
    processes of the whole machine are seen: who does not see them can't prove that something is nowhere.
    """

    now: float = 0.0
    identity: str = ""
    records: tuple[Record, ...] = ()
    delegations: tuple[Delegation, ...] = ()
    at_home: frozenset[str] = frozenset()
    unreadable: tuple[Unreadable, ...] = ()
    segments: tuple[Segment, ...] = ()
    claims: dict[IP, Claimed] = field(default_factory=dict)
    tagged: tuple[Object, ...] = ()
    links: tuple[Link, ...] = ()
    addresses: dict[int, tuple[Interface, ...]] = field(default_factory=dict)
    others: tuple[Netns, ...] = ()
    directories: frozenset[str] = frozenset()
    sees_all: bool = False

    @property
    def attachments(self) -> tuple[Delegation | Record, ...]:
        """Whose pods may be gone: what others were called for comes first, as it may need the rest."""
        return (*self.delegations, *self.records)

    def link(self, dev: str) -> Link | None:
        """The node's link of that name."""
        return self._by_name.get(dev)

    @cached_property
    def _by_name(self) -> dict[str, Link]:
        return {link.name: link for link in self.links}

    @cached_property
    def owners(self) -> frozenset[str]:
        """Of whom there is a record, readable or not: of attachments, and of the node in its segments."""
        segments = (segment.record.owner for segment in self.segments if segment.record)
        return frozenset(
            [*(each.owner for each in self.records), *(each.owner for each in self.unreadable), *segments]
        )

    @cached_property
    def wanted(self) -> frozenset[Object]:
        """What some record says has to be there."""
        every = (*self.records, *(segment.record for segment in self.segments if segment.record))
        return frozenset(obj for record in every for obj in (*record.plan.objects, *record.claims))

    @cached_property
    def underlays(self) -> tuple[Underlay, ...]:
        """The node's links as what may carry a segment."""
        return tuple(Underlay(link, self.addresses.get(link.index, ())) for link in self.links)
