"""Records of what was done for each attachment, written before it is done.

`<state>/<host id>/<container id>/<network>:<ifname>:<plugin>.json`, where the host id names the
network namespace of the node (a lab has several nodes on one machine). Beside the containers stand
the segments that pods share, `<plugin>:<name>/`, with a record of what the node has made for all
of them, and in `users/` a file for each attachment that needs it. The directories are the locks as
well: a container's for its attachments, a segment's for its members, the host's for what all pods
share. They exist only while something is in them. What the plugin `underlay` has called other plugins
with is in `underlay:<container id>/`, which is a lock of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from typing import TypeVar

from underlay.claims import DIRECTORY as CLAIMS
from underlay.claims import Claims
from underlay.cni.errors import IoFailure
from underlay.locks import exclusive, shared_around
from underlay.objects import as_json, from_json
from underlay.record import NAME_MAX, RECORD, Displaced, Record, Taken, decode, encode, hashed
from underlay.store import UNREADABLE, Store, read, write

DISPLACED = "displaced.json"
USERS = "users"
DELEGATES = "underlay:"  # before a container's id: what `underlay` has called other plugins with

S = TypeVar("S", bound=Store)


class PodRecords(Store):
    """The records of one container, while its lock is held; and what was taken out of its main table.

    Nobody else writes there meanwhile, so each is read once, and what was written not at all.
    """

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self._records: dict[str, Record | None] = {}
        self._displaced: Displaced | None = None

    def read(self, name: str) -> Record | None:
        """The record, None where there is none or it can't be read (damaged, or of a newer format)."""
        if name not in self._records:
            self._records[name] = self._decoded(name) if self.has(name) else None
        return self._records[name]

    def _decoded(self, name: str) -> Record | None:
        try:
            return decode(self.load(name))
        except UNREADABLE:
            return None

    def names(self) -> list[str]:
        return [name for name in self.listed() if RECORD.fullmatch(name)]

    def all(self) -> list[Record]:
        """Every record that can be read."""
        return [record for name in self.names() if (record := self.read(name))]

    def write(self, record: Record) -> None:
        self.store_text(record.name, encode(record))
        self._records[record.name] = record

    def delete(self, name: str) -> None:
        super().delete(name)
        self._records.pop(name, None)

    def displaced(self) -> Displaced:
        """By NIC, what was taken away from it."""
        if self._displaced is None:
            self._displaced = self._read_displaced() if self.has(DISPLACED) else {}
        return self._displaced

    def _read_displaced(self) -> Displaced:
        try:
            raw = self.load(DISPLACED).items()
            return {dev: Taken(each["index"], tuple(map(from_json, each["objects"]))) for dev, each in raw}
        except UNREADABLE:
            return {}

    def write_displaced(self, displaced: Displaced) -> None:
        kept = {dev: taken for dev, taken in displaced.items() if taken.objects}
        if kept:
            raw = {
                dev: {"index": t.index, "objects": list(map(as_json, t.objects))} for dev, t in kept.items()
            }
            self.store(DISPLACED, raw)
        else:
            self.delete(DISPLACED)
        self._displaced = kept


class SegmentRecords(PodRecords):
    """The record of what a node has made for a segment, while its lock is held, and who uses it.

    A user is an empty file: there is one for each attachment however a call ended, and whether one is
    left is known without reading any record. They have a directory of their own, so that nothing else
    costs more the more there are.
    """

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self._users = f"{directory}/{USERS}"

    def record(self) -> Record | None:
        """The one record, None where there is none or it can't be read."""
        return next(iter(self.all()), None)

    def _decoded(self, name: str) -> Record | None:
        try:
            return _decoded(read(f"{self.directory}/{name}"))
        except UNREADABLE:
            return None

    def has_users(self) -> bool:
        try:
            with os.scandir(self._users) as users:
                return any(users)
        except FileNotFoundError:
            return False

    def users(self) -> frozenset[str]:
        """The markers of all users, as `marker_of` gives them."""
        try:
            return frozenset(os.listdir(self._users))
        except FileNotFoundError:
            return frozenset()

    def drop_marker(self, marker: str) -> None:
        """Forgets a user of whom no more is known than that."""
        with suppress(FileNotFoundError):
            os.unlink(f"{self._users}/{marker}")
        with suppress(OSError):  # there are others
            os.rmdir(self._users)

    def add_user(self, owner: str) -> None:
        path = f"{self._users}/{marker_of(owner)}"
        try:
            try:
                write(path, b"")
            except FileNotFoundError:  # it is the first
                os.mkdir(self._users, 0o700)
                write(path, b"")
        except OSError as error:
            with suppress(OSError):
                os.rmdir(self._users)
            raise IoFailure(f"writing {path}: {error.strerror}") from error

    def drop_user(self, owner: str) -> None:
        self.drop_marker(marker_of(owner))


class Records:
    """All records of one host namespace."""

    def __init__(self, state: str, host_id: str) -> None:
        self._state = state
        self._host = os.path.join(state, host_id)

    def netns_owners(self, netns_id: str) -> set[str]:
        """The containers whose records name that namespace. Reads every record of the node."""
        pods = map(self.glimpsed, self.containers())
        return {
            record.container_id for pod in pods for record in pod.all() if record.netns_id == netns_id
        } | {
            raw["container_id"]
            for name in self.segments(DELEGATES.removesuffix(":"))
            for raw in Store(f"{self._host}/{name}").readable()
            if raw.get("netns_id") == netns_id and "container_id" in raw
        }

    def containers(self) -> list[str]:
        """The directories that hold records, one for each container."""
        try:
            return sorted(e.name for e in os.scandir(self._host) if e.is_dir() and ":" not in e.name)
        except FileNotFoundError:
            return []

    def glimpsed(self, container: str) -> PodRecords:
        """The records of a directory that `containers` named, without its lock: to look at, for each file
        is whole, and may be another one by now."""
        return PodRecords(f"{self._host}/{container}")

    def glimpsed_segment(self, name: str) -> SegmentRecords:
        """The same of a segment."""
        return SegmentRecords(f"{self._host}/{name}")

    @property
    def claims(self) -> Claims:
        """Who has claimed which address on this node."""
        return Claims(f"{self._host}/{CLAIMS}", self._state)

    def segments(self, plugin: str) -> list[str]:
        """The segments of that plugin that the node is in."""
        try:
            return sorted(name for name in os.listdir(self._host) if name.startswith(f"{plugin}:"))
        except FileNotFoundError:
            return []

    def has_segment(self, name: str) -> bool:
        """Whether the node is in that segment, or a call is about to make it so."""
        return os.path.isdir(f"{self._host}/{name}")

    def segment(self, name: str) -> AbstractContextManager[SegmentRecords]:
        """The records of the segment `<plugin>:<name>` under its lock; no container id has a colon."""
        return _Held(SegmentRecords, f"{self._host}/{name}", self._state)

    def delegating(self) -> list[str]:
        """The containers that have a record of what other plugins were called for their NICs."""
        return [name.removeprefix(DELEGATES) for name in self.segments(DELEGATES.removesuffix(":"))]

    def delegates(self, container_id: str) -> AbstractContextManager[Store]:
        """Such records of a container, or of a directory that `delegating` named, under a lock of their
        own: each of the plugins that are called takes the container's."""
        return _Held(Store, self._delegates(container_id), self._state)

    def glimpsed_delegates(self, container_id: str) -> Store:
        """The same without the lock, to look at: each file is whole, and may be another one by now."""
        return Store(self._delegates(container_id))

    def _delegates(self, container_id: str) -> str:
        fits = len((DELEGATES + container_id).encode()) <= NAME_MAX
        return f"{self._host}/{DELEGATES}{container_id if fits else hashed(container_id)}"

    def pod(self, container_id: str) -> AbstractContextManager[PodRecords]:
        """The records of a container, or of a directory that `containers` named, under its lock."""
        fits = len(container_id.encode()) <= NAME_MAX
        directory = f"{self._host}/{container_id if fits else hashed(container_id)}"
        return _Held(PodRecords, directory, self._state)

    def sharing(self) -> AbstractContextManager[None]:
        """For calls that add to what all pods of the node share; any number at once. Each holds its pod."""
        return shared_around(self._host)

    def alone(self) -> AbstractContextManager[None]:
        """For the call that removes what all pods of the node share."""
        return exclusive(self._host, self._state)


class _Held(AbstractContextManager[S]):
    """The files of a directory, under its lock."""

    def __init__(self, kind: Callable[[str], S], directory: str, root: str) -> None:
        self._kind = kind
        self._directory = directory
        self._lock = exclusive(directory, root)

    def __enter__(self) -> S:
        self._lock.__enter__()
        try:
            store = self._kind(self._directory)
            store.drop_unfinished()
        except BaseException:
            self._lock.__exit__()
            raise
        return store

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__()


def marker_of(owner: str) -> str:
    """What stands for a user of a segment: an owner's name may be longer than that of a file."""
    return hashed(owner)


@lru_cache(maxsize=64)
def _decoded(text: bytes) -> Record:
    """A segment's record stays the same from pod to pod."""
    return decode(json.loads(text.decode()))
