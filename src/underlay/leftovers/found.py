"""What is left over, decided from facts alone: each with why it is dead, or why nobody can say so.

Facts are read in an order that makes this safe beside calls that run: objects, entries and markers first,
records last. An ADD writes its record before all else, so what was seen first and is in no record read
later belongs to nobody. Whoever acts on this looks once more, under a lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from underlay.claims import CLAIM, Claimed
from underlay.cni.several.record import Delegation
from underlay.leftovers.seen import Netns, Seen
from underlay.objects import IP, OURS, Neigh, Object, Route, Rule, Vxlan
from underlay.objects.link import Link
from underlay.objects.vxlan import IFLA_VXLAN_ID
from underlay.objects.wire import attributes, u32
from underlay.plugins.vxlan_node import is_of_a_network
from underlay.record import Record
from underlay.records import marker_of
from underlay.values import dataclass

UNSEEN = (
    "not every namespace of the machine is seen from here (a container needs hostPID), so a pod may use it"
)
GRACE = 600.0  # seconds: a pod has a process by then, or will never have one
NODES_OWN = "node-"  # how the container id begins of what a node itself has in a segment


@dataclass(frozen=True, slots=True)
class Dead:
    """The record of an attachment whose pod is gone."""

    record: Record | Delegation

    def __str__(self) -> str:
        return f"{self.record} ({self.record.plugin})"


@dataclass(frozen=True, slots=True)
class Damaged:
    """A record that can't be read."""

    owner: str

    def __str__(self) -> str:
        return f"the record {self.owner}"


@dataclass(frozen=True, slots=True)
class Users:
    """A segment with users that are none, all of its users perhaps."""

    segment: str
    markers: frozenset[str]

    def __str__(self) -> str:
        who = f"{len(self.markers)} users of" if self.markers else "what the node has in"
        return f"{who} {self.segment}"


@dataclass(frozen=True, slots=True)
class Entry:
    """An address that is claimed for somebody."""

    ip: IP
    claimed: Claimed

    def __str__(self) -> str:
        return f"the claim to {self.ip} for {self.claimed.owner}"


@dataclass(frozen=True, slots=True)
class Loose:
    """A route, neighbour or rule that no record wants."""

    obj: Object

    def __str__(self) -> str:
        """The command that takes it away."""
        return str(self.obj).partition(":")[2].strip().replace(" add ", " del ", 1)


@dataclass(frozen=True, slots=True)
class Device:
    """A VXLAN device that we have made, and no record knows; with all that stands on it."""

    link: Link

    def __str__(self) -> str:
        return f"ip link del {self.link.name}"

    @property
    def segment(self) -> str:
        """What it is for: a long name is the link's alias."""
        return f"vxlan:{self.link.alias or self.link.name.removeprefix('vx_')}"

    @property
    def vxlan(self) -> Vxlan:
        """As much of it as tells it from others."""
        vni = u32(attributes(self.link.data)[IFLA_VXLAN_ID])
        return Vxlan(self.link.name, vni, self.link.mac, self.link.mtu, 0)


Thing = Dead | Damaged | Users | Entry | Loose | Device


@dataclass(frozen=True, slots=True)
class Leftover:
    """`why` it has no owner; with `doubt`, why that is no proof: then it stays."""

    thing: Thing
    why: str
    doubt: str = ""

    def __str__(self) -> str:
        return f"{self.thing}: {self.why}" + (f"; {self.doubt}" if self.doubt else "")


def leftovers(seen: Seen) -> tuple[Leftover, ...]:
    """All of it, in the order in which it can be taken away."""
    return (*_dead(seen), *_damaged(seen), *_users(seen), *_entries(seen), *_loose(seen))


def is_settled(seen: Seen) -> bool:
    """Whether every pod is where its record says and every object is wanted: then the machine's other
    namespaces need not be looked into."""
    has_loose = any(not isinstance(obj, Rule) and not is_wanted(obj, seen) for obj in seen.tagged)
    return len(seen.at_home) == len(seen.attachments) and not has_loose and not _devices(seen)


def _dead(seen: Seen) -> Iterator[Leftover]:
    living = {seen.identity, *(netns.identity for netns in seen.others)}  # the node's own IPAM has its own
    for record in seen.attachments:
        if record.owner not in seen.at_home and record.netns_id not in living:
            yield Leftover(Dead(record), "its network namespace is gone", _doubt(record, seen))


def _doubt(record: Record | Delegation, seen: Seen) -> str:
    """Why a namespace that is not found may be there: in a container paths can lead elsewhere, or nowhere.

    Where one path of a directory leads to a living namespace, the directory is the node's. But a number
    below /proc is another process's in each process namespace.
    """
    directory = os.path.dirname(os.path.realpath(record.netns))
    is_the_nodes = directory in seen.directories and not directory.startswith("/proc/")
    if is_the_nodes or (seen.sees_all and seen.now - record.created > GRACE):
        return ""
    return f"{directory} has no living namespace, so this may be another directory than the runtime's"


def _damaged(seen: Seen) -> Iterator[Leftover]:
    for each in seen.unreadable:
        yield Leftover(
            Damaged(each.owner),
            "it can't be read",
            "the pod may live: its DEL, or GC of its network, removes it",
        )


def _users(seen: Seen) -> Iterator[Leftover]:
    """Markers without a record; and segments without a marker, where a call was killed between the two."""
    known = {marker_of(owner) for owner in seen.owners}
    for segment in seen.segments:
        strangers = segment.markers - known
        if strangers or (segment.record and not segment.markers):
            why = "no attachment is on record for them" if strangers else "no pod of this node uses it"
            yield Leftover(Users(segment.name, frozenset(strangers)), why)


def _entries(seen: Seen) -> Iterator[Leftover]:
    owners = seen.owners
    has_unread = any(segment.record is None for segment in seen.segments)
    for ip, claimed in seen.claims.items():
        if claimed.owner in owners:
            continue
        is_nodes = claimed.owner.startswith(NODES_OWN)
        doubt = (
            "a segment's record can't be read, which may be the owner's" if is_nodes and has_unread else ""
        )
        yield Leftover(Entry(ip, claimed), "nothing is on record for its owner", doubt)


def _loose(seen: Seen) -> Iterator[Leftover]:
    """Devices, each with all that stands on it; then what stands elsewhere."""
    devices = [_device(device, seen) for device in _devices(seen)]
    yield from devices
    on = {dev: bool(each.doubt) for each in devices for dev in _links_of(each.thing)}
    tables = {
        (o.dst.version, o.table)
        for o in seen.tagged
        if isinstance(o, Route) and o.proto == OURS and on.get(o.dev, True)
    }
    for obj in seen.tagged:
        if is_wanted(obj, seen) or getattr(obj, "dev", "") in on:
            continue
        if isinstance(obj, Rule):
            if (obj.version, obj.table) not in tables:
                yield Leftover(Loose(obj), "its table holds no route of ours")
        elif isinstance(obj, Route) and obj.proto == CLAIM:
            yield _claim(obj, seen)
        elif isinstance(obj, Route | Neigh):
            yield _way(obj, seen)


def _links_of(thing: Thing) -> tuple[str, ...]:
    """The VXLAN device, and the node's own link on it."""
    name = thing.link.name if isinstance(thing, Device) else ""
    return name, name.replace("vx_", "mv_", 1)


def is_wanted(obj: Object, seen: Seen) -> bool:
    """By a record; or, a claim, by an entry, which says itself whether it has an owner."""
    if isinstance(obj, Route) and obj.proto == CLAIM and obj.dst.network_address in seen.claims:
        return True
    return obj in seen.wanted


def _claim(route: Route, seen: Seen) -> Leftover:
    """A claim of which there is no entry: the records are lost."""
    ip = route.dst.network_address
    holder = next((netns.path for netns in seen.others if ip in netns.ips), "")
    if not holder and any(ip == own.ip for each in seen.addresses.values() for own in each):
        holder = "the node itself"
    why = "a claim that is nobody's by any record"
    if holder:
        return Leftover(Loose(route), why, f"{holder} has the address")
    return Leftover(Loose(route), f"{why}, and nobody here has the address", "" if seen.sees_all else UNSEEN)


def _way(obj: Route | Neigh, seen: Seen) -> Leftover:
    """A route or neighbour towards a pod, through a link whose other end is in the pod's namespace."""
    ip = obj.ip if isinstance(obj, Neigh) else obj.dst.network_address
    why = "no record wants it"
    link = seen.link(obj.dev)
    behind = _behind(link, seen) if link else None
    if link is None or behind is None:
        return Leftover(Loose(obj), why, f"who is behind {obj.dev} can't be seen from here")
    if ip in behind.ips:
        return Leftover(Loose(obj), why, f"{behind.path} has that address: its records are lost")
    return Leftover(Loose(obj), f"{why}, and {behind.path} behind {obj.dev} does not have that address")


def _behind(link: Link, seen: Seen) -> Netns | None:
    if link.kind != "veth" or link.peer_netns < 0:
        return None
    return next((netns for netns in seen.others if netns.number == link.peer_netns), None)


def _devices(seen: Seen) -> tuple[Device, ...]:
    wanted = {obj.dev for obj in seen.wanted if isinstance(obj, Vxlan)}
    unread = {segment.name for segment in seen.segments if segment.record is None}
    found = (Device(link) for link in seen.links if link.kind == "vxlan" and link.name not in wanted)
    return tuple(
        each
        for each in found
        if is_of_a_network(each.link.name, each.link.mac, seen.underlays) and each.segment not in unread
    )


def _device(device: Device, seen: Seen) -> Leftover:
    used = [netns.path for netns in seen.others if device.link.index in netns.on_node]
    why = "no network is on record for this device"
    if used:
        return Leftover(device, why, f"{', '.join(used)} has a NIC on it: the records are lost")
    return Leftover(device, f"{why}, and no pod has a NIC on it", "" if seen.sees_all else UNSEEN)
