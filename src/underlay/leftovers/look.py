"""Reads all facts about what may be left over: the one place that does."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from underlay import netns
from underlay.claims import CLAIM
from underlay.cni.errors import CniError
from underlay.cni.plugin import MainPlugin
from underlay.cni.several.record import Delegation, read
from underlay.leftovers.found import is_settled, is_wanted
from underlay.leftovers.seen import Netns, Seen, Segment, Unreadable
from underlay.netlink.census import addresses, links, tagged
from underlay.netlink.facts import NodeKernel, netns_id
from underlay.objects import HOST, OURS, POD, Object
from underlay.oneshot import HostNode
from underlay.plugins import PLUGINS
from underlay.record import Record
from underlay.records import Records

NAMED = ("/run/netns", "/var/run/netns", "/var/run/docker/netns")
FIRST_PID_NAMESPACE = 0xEFFFFFFC  # its inode, PROC_PID_INIT_INO
REMOTE = 203  # routes to hosts of other nodes


def look(node: HostNode) -> Seen:
    """A node as it is. What calls make is read first, and the records that they write before it last."""
    with node.kernel("") as kernel:
        objects = tuple(obj for proto in (OURS, CLAIM, REMOTE) for obj in tagged(kernel, HOST, proto))
        ends, on_links = links(kernel, HOST), addresses(kernel, HOST)
        entries = node.records.claims.all()
        segments = tuple(_segments(node.records))
        records, unreadable = _records(node.records)
        delegations, damaged = _delegations(node.records)
        seen = Seen(
            now=time.time(),
            identity=node.identity,
            records=records,
            delegations=delegations,
            at_home=_at_home(records, node) | _at_home(delegations, node),
            unreadable=(*unreadable, *damaged),
            segments=segments,
            claims=entries,
            tagged=objects,
            links=ends,
            addresses=on_links,
            sees_all=os.stat("/proc/self/ns/pid").st_ino == FIRST_PID_NAMESPACE,
        )
        return seen if is_settled(seen) else with_others(seen, kernel.netns_fd(HOST))


def look_at_owners(records: Records) -> frozenset[str]:
    """Of whom there is a record at this moment."""
    readable, unreadable = _records(records)
    return Seen(records=readable, unreadable=unreadable, segments=tuple(_segments(records))).owners


def is_wanted_now(obj: Object, records: Records) -> bool:
    """Whether a record or an entry says at this moment that the object has to be there."""
    readable, _ = _records(records)
    entries = records.claims.all()
    return is_wanted(obj, Seen(records=readable, segments=tuple(_segments(records)), claims=entries))


def _at_home(records: Iterable[Record | Delegation], node: HostNode) -> frozenset[str]:
    return frozenset(record.owner for record in records if _is_at_home(record, node))


def _is_at_home(record: Record | Delegation, node: HostNode) -> bool:
    """What can't be opened proves nothing."""
    try:
        return node.netns_id(record.netns) == record.netns_id
    except CniError:
        return True


def _records(records: Records) -> tuple[tuple[Record, ...], tuple[Unreadable, ...]]:
    found: list[Record] = []
    damaged: list[Unreadable] = []
    for container in records.containers():
        pod = records.glimpsed(container)
        for name in pod.names():
            record = pod.read(name)
            if record:
                found.append(record)
            elif os.path.exists(os.path.join(pod.directory, name)):  # and not deleted meanwhile
                damaged.append(Unreadable(container, name))
    return tuple(found), tuple(damaged)


def _delegations(records: Records) -> tuple[tuple[Delegation, ...], tuple[Unreadable, ...]]:
    found: list[Delegation] = []
    damaged: list[Unreadable] = []
    for container in records.delegating():
        store = records.glimpsed_delegates(container)
        for name in store.listed():
            delegation = read(name, store)
            if delegation:
                found.append(delegation)
            elif store.has(name):  # and not deleted meanwhile
                damaged.append(Unreadable(container, name))
    return tuple(found), tuple(damaged)


def _segments(records: Records) -> Iterator[Segment]:
    for plugin in [plugin.name for plugin in PLUGINS.values() if isinstance(plugin, MainPlugin)]:
        for name in records.segments(plugin):
            segment = records.glimpsed_segment(name)
            yield Segment(name, segment.record(), segment.users())


def with_others(seen: Seen, host: int) -> Seen:
    """Walks over every namespace that is seen from here, each once, but for the node's own."""
    found: dict[int, Netns | None] = {os.fstat(host).st_ino: None}
    directories: set[str] = set()
    sees_all = seen.sees_all
    for path in _paths(seen.attachments):
        try:
            fd = netns.open_netns(path)
        except (FileNotFoundError, ProcessLookupError):
            continue  # gone meanwhile, or the mount of one that is gone
        except OSError:
            sees_all = False  # such as that of a process that we may not look into
            continue
        try:
            directories.add(os.path.dirname(path))
            inode = os.fstat(fd).st_ino
            if inode not in found:
                found[inode] = _netns(path, host, fd)
        finally:
            os.close(fd)
    others = tuple(each for each in found.values() if each)
    return replace(seen, others=others, directories=frozenset(directories), sees_all=sees_all)


def _paths(records: Iterable[Record | Delegation]) -> Iterator[str]:
    """Of named namespaces, of those beside the pods of records, and of all processes."""
    of_records = (os.path.dirname(record.netns) for record in records)
    for directory in dict.fromkeys(map(os.path.realpath, (*NAMED, *of_records))):
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        yield from (os.path.join(directory, name) for name in names)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        yield f"/proc/{pid}/ns/net"


def _netns(path: str, host: int, fd: int) -> Netns:
    kernel = NodeKernel(host, fd)
    try:
        back, number = netns_id(kernel, POD, host), netns_id(kernel, HOST, fd)
        ips = frozenset(own.ip for each in addresses(kernel, POD).values() for own in each)
        on_node = (link.peer for link in links(kernel, POD) if back is not None and link.peer_netns == back)
        return Netns(path, kernel.identity(POD), -1 if number is None else number, ips, frozenset(on_node))
    finally:
        kernel.close()
