"""Takes leftovers away: each under the lock of whoever could be about to use it, and after another look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from underlay.claims import claim_route
from underlay.cni.attach import withdraw
from underlay.cni.chain import Caller
from underlay.cni.claim import release
from underlay.cni.errors import CniError
from underlay.cni.scene import Scene
from underlay.cni.segment import leave
from underlay.cni.several.record import Delegation, read
from underlay.cni.several.remove import take_off
from underlay.cni.verbs import run
from underlay.leftovers.found import (
    NODES_OWN,
    Damaged,
    Dead,
    Device,
    Entry,
    Leftover,
    Loose,
    Thing,
    Users,
)
from underlay.leftovers.look import is_wanted_now, look_at_owners
from underlay.log import Log
from underlay.objects import Object
from underlay.oneshot import HostNode
from underlay.plan import apply
from underlay.plugins import OWN
from underlay.record import RECORD, Record
from underlay.records import marker_of
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class Cleared:
    """What became of one leftover; no `failures`: it is gone, or somebody's again."""

    leftover: Leftover
    failures: tuple[str, ...] = ()


class Clearing:
    """One round on one node. `path` are the directories of IPAM plugins that gave addresses."""

    def __init__(self, node: HostNode, log: Log, path: tuple[str, ...]) -> None:
        self._node = node
        self._log = log
        self._path = path

    def clear(self, found: Iterable[Leftover]) -> list[Cleared]:
        """Takes away what is provably dead; each for itself, whatever becomes of the others."""
        return [self._cleared(leftover) for leftover in found if not leftover.doubt]

    def _cleared(self, leftover: Leftover) -> Cleared:
        try:
            failures = self._take(leftover.thing)
        except CniError as error:
            failures = [error]
        return Cleared(leftover, tuple(failure.msg for failure in failures))

    def _take(self, thing: Thing) -> Sequence[CniError]:
        match thing:
            case Dead():
                dead = thing.record
                return self._record(dead) if isinstance(dead, Record) else self._delegation(dead)
            case Users():
                return self._users(thing)
            case Entry():
                return self._entry(thing)
            case Loose():
                return self._object(thing.obj)
            case Device():
                return self._device(thing)
            case Damaged():
                return ()

    def _record(self, dead: Record) -> list[CniError]:
        """A namespace that is gone never comes back; a container that was added again has another record."""
        with self._node.records.pod(dead.container_id) as pod:
            if pod.read(dead.name) != dead:
                return []
            with self._node.kernel("") as kernel:
                return withdraw(dead, Scene(self._node, kernel, pod, self._log, self._path))

    def _delegation(self, dead: Delegation) -> list[CniError]:
        """Those who were called give back what they have given."""
        with self._node.records.delegates(dead.container_id) as store:
            if read(dead.name, store) != dead:
                return []
            caller = Caller(self._node, self._log, self._path, OWN, run, dead.container_id)
            return take_off(dead, store, caller)

    def _users(self, users: Users) -> list[CniError]:
        """Who joins meanwhile has its record written before it waits for the lock."""
        records = self._node.records
        with records.segment(users.segment) as segment:
            for marker in users.markers - {marker_of(owner) for owner in look_at_owners(records)}:
                segment.drop_marker(marker)
        with self._node.kernel("") as kernel:
            nobody = records.glimpsed_segment(users.segment)
            return leave(users.segment, "", Scene(self._node, kernel, nobody, self._log, self._path))

    def _entry(self, entry: Entry) -> list[CniError]:
        records, owner = self._node.records, entry.claimed.owner
        with self._locked(owner), self._node.kernel("") as kernel:
            if owner in look_at_owners(records):
                return []
            return release([claim_route(entry.ip, entry.claimed.dev)], owner, records.claims, kernel)

    @contextmanager
    def _locked(self, owner: str) -> Iterator[None]:
        """The lock of whoever may claim as that owner: a container, or the node in a segment."""
        container, _, name = owner.partition("/")
        parts = RECORD.fullmatch(name)
        records = self._node.records
        if parts and owner.startswith(NODES_OWN):
            with records.segment(f"{parts[3]}:{parts[1]}"):
                yield
        else:
            with records.pod(container):
                yield

    def _device(self, device: Device) -> list[CniError]:
        """Who joins the segment holds its lock."""
        records = self._node.records
        with records.segment(device.segment) as segment, self._node.kernel("") as kernel:
            if segment.record() or segment.has_users():
                return []
            return kernel.remove([device.vxlan])

    def _object(self, obj: Object) -> list[CniError]:
        """Whoever makes a way to a pod shares this lock from then on; its record is there before."""
        records = self._node.records
        with records.alone(), self._node.kernel("") as kernel:
            if is_wanted_now(obj, records):
                return []
            failures = kernel.remove([obj])
            if is_wanted_now(obj, records):  # by who took another lock meanwhile, for a segment or a claim
                apply([obj], kernel)
            return failures
