"""GC of a meta plugin: takes off the pods that are gone, then tells each network which attachments are."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Generic

from underlay.cni import chain
from underlay.cni.chain import Caller, Valid, located
from underlay.cni.errors import CniError, IoFailure
from underlay.cni.plugin import C, MetaPlugin, first_of
from underlay.cni.request import Request
from underlay.cni.several.calling import Calling, Run, caller_of, usable_calling
from underlay.cni.several.record import Delegation, read
from underlay.cni.several.remove import take_off, take_off_unrecorded
from underlay.networks.conflist import Conflist
from underlay.record import RECORD, record_name
from underlay.store import Store
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """What the records say: every network, and the attachments of the pods that live, by network. `unread`
    are records of pods that may live, which can't be read."""

    conflists: list[Conflist] = field(default_factory=list)
    attachments: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    containers: set[str] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)

    def add_network(self, conflist: Conflist) -> None:
        if conflist not in self.conflists:
            self.conflists.append(conflist)

    def add_living(self, delegation: Delegation) -> None:
        self.containers.add(delegation.container_id)
        for each in delegation.delegates:
            found = self.attachments.setdefault(each.conflist.name, [])
            found.append((delegation.container_id, each.ifname))


@dataclass(frozen=True, slots=True)
class Collecting(Generic[C]):
    """One GC. `this` is None where the configuration is not usable any more."""

    request: Request[C]
    caller: Caller
    this: Calling[C] | None
    known: Known = field(default_factory=Known)

    def is_valid(self, container_id: str, ifname: str) -> bool:
        valid = self.request.call.valid_attachments
        return valid is None or (container_id, ifname) in valid

    def is_alive(self, delegation: Delegation) -> bool:
        return self.request.node.netns_id(delegation.netns) == delegation.netns_id


def collect(plugin: MetaPlugin[C], request: Request[C], run: Run) -> None:
    """Without a list of valid attachments only what is provably dead goes. One that can't be taken off now
    does not keep the others."""
    this = usable_calling(plugin, request, run)
    now = Collecting(request, this.caller if this else caller_of(plugin, request, run), this)
    failures: list[CniError] = []
    for container in request.node.records.delegating():
        try:
            with request.node.records.delegates(container) as store:
                request.node.refuse_abandoned()
                for name in store.listed():
                    failures += _collected(container, name, store, now)
        except CniError as error:
            failures.append(error)
    failures += _with_configured(now)
    failures += _told(now)
    first_of(failures)


def _collected(container: str, name: str, store: Store, now: Collecting[C]) -> list[CniError]:
    delegation = read(name, store)
    if delegation is None:
        return _collected_unread(container, name, store, now)
    for each in delegation.delegates:
        now.known.add_network(each.conflist)
    if not _is_stale(delegation, now):
        now.known.add_living(delegation)
        return []
    netns = delegation.netns if now.is_alive(delegation) else ""
    caller = replace(now.caller, container_id=delegation.container_id, netns=netns)
    failures = take_off(delegation, store, caller)
    if failures:
        now.known.add_living(delegation)  # what could not be taken off keeps its addresses
    now.request.log.event("collected", container_id=delegation.container_id, ifname=delegation.ifname)
    return failures


def _is_stale(delegation: Delegation, now: Collecting[C]) -> bool:
    request = now.request
    if (delegation.plugin, delegation.network) != (request.plugin.name, request.call.network):
        return False
    if request.call.valid_attachments is None:
        return not now.is_alive(delegation)
    return not now.is_valid(delegation.container_id, delegation.ifname)


def _collected_unread(container: str, name: str, store: Store, now: Collecting[C]) -> list[CniError]:
    """A record that can't be read still says by its name whose it is."""
    parts, request = RECORD.fullmatch(name), now.request
    ifname = parts[2] if parts else ""
    is_ours = name == record_name(request.call.network, ifname, request.plugin.name)
    if not is_ours or now.is_valid(container, ifname):
        now.known.unread.append(f"{container}/{name}")
        return []
    failures = take_off_unrecorded(None, replace(now.caller, container_id=container))
    if not failures:
        store.delete(name)
    request.log.event("collected", container_id=container, ifname=ifname)
    return failures


def _told(now: Collecting[C]) -> list[CniError]:
    """GC of each network; of none where a pod may have addresses there that no list would name."""
    if now.known.unread and now.request.call.valid_attachments is not None:
        return [
            IoFailure(
                f"the record {now.known.unread[0]} can't be read, so that nobody knows which networks its"
                " pod is in: none was told which attachments are valid",
                "recreate that pod; its record may be of another version of underlay",
            )
        ]
    failures: list[CniError] = []
    for conflist in now.known.conflists:
        failed = chain.collect(conflist, _valid(conflist.name, now), now.caller)
        failures += [located(error, conflist.name) for error in failed]
    return failures


def _with_configured(now: Collecting[C]) -> list[CniError]:
    """Adds the networks that pods get without asking: they may have attachments without a record."""
    this = now.this
    if this is None:
        return []
    failures: list[CniError] = []
    for reference in this.plugin.networks(this.config):
        try:
            now.known.add_network(this.catalogue.configured(reference).conflist)
        except CniError as error:
            failures.append(error)
    return failures


def _valid(network: str, now: Collecting[C]) -> Valid:
    """The attachments of one network. Those that the runtime has of containers that we have no record of may
    be in any: they were made before this plugin stood in front."""
    valid = now.request.call.valid_attachments
    if valid is None:
        return None
    others = (each for each in valid if each[0] not in now.known.containers)
    return (*now.known.attachments.get(network, ()), *others)
