"""DEL of a meta plugin: by the record of what was called, in reverse, as far as it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from underlay.cni import chain
from underlay.cni.chain import Caller, located
from underlay.cni.errors import (
    CniError,
    DecodingFailure,
    IncompatibleVersion,
    InvalidConfig,
    InvalidEnvironment,
    UnsupportedField,
)
from underlay.cni.plugin import C, MetaPlugin, first_of
from underlay.cni.request import Request, netns_to_clean, refuse_own_namespace
from underlay.cni.several import default_route
from underlay.cni.several.calling import Calling, Run, caller_of, usable_calling
from underlay.cni.several.record import Delegation, read, write
from underlay.networks.conflist import Conflist
from underlay.networks.delegates import Delegate
from underlay.record import record_name
from underlay.store import Store

# Of a plugin that refuses to begin: it has done nothing with that configuration, and never will.
REFUSALS = (DecodingFailure, IncompatibleVersion, InvalidConfig, InvalidEnvironment, UnsupportedField)


def delete(plugin: MetaPlugin[C], request: Request[C], run: Run) -> None:
    """Needs nothing but the container id: without a record, what annotations and configuration say."""
    refuse_own_namespace(request)
    node, call = request.node, request.call
    name = record_name(call.network, call.ifname, plugin.name)
    with node.records.delegates(call.container_id) as store:
        node.refuse_abandoned()  # it may have waited so long that another ADD was made meanwhile
        known = read(name, store)
        netns = netns_to_clean(request, known.netns_id if known else None)
        caller = replace(caller_of(plugin, request, run), netns=netns)
        if known:
            first_of(take_off(known, store, caller))
            return
        first_of(take_off_unrecorded(usable_calling(plugin, request, run), caller))
        store.delete(name)  # it could not be read


def take_off(delegation: Delegation, store: Store, caller: Caller) -> list[CniError]:
    """Calls DEL for each NIC, the last one first. What could not be taken off stays on record."""
    caller = replace(caller, path=tuple(dict.fromkeys((*delegation.path, *caller.path))))
    left: list[Delegate] = []
    failures: list[CniError] = []
    for delegate in reversed(delegation.delegates):
        failed = _taken_off(delegate, caller)
        failures += failed
        left += [delegate] if failed else []
    if left:
        write(replace(delegation, delegates=tuple(reversed(left))), store)
    else:
        store.delete(delegation.name)
    return failures


def _taken_off(delegate: Delegate, caller: Caller) -> list[CniError]:
    failures = _default_given_back(caller, delegate.ifname) if delegate.default_route is not None else []
    try:
        chain.delete(delegate, caller)
    except CniError as error:
        if delegate.result or not isinstance(error, REFUSALS):
            failures.append(error)
        else:
            caller.log.event("refused", "warn", message=f"{delegate.place}: {error.msg}")
    return [located(failure, delegate.place) for failure in failures]


def _default_given_back(caller: Caller, ifname: str = "") -> list[CniError]:
    """Of one NIC, or of all."""
    try:
        with caller.scene() as scene:
            return default_route.give_back(scene, ifname)
    except CniError as error:
        return [error]


def take_off_unrecorded(this: Calling[C] | None, caller: Caller) -> list[CniError]:
    """By what the call says that the pod had, and by what our own plugins have on record."""
    failures = _default_given_back(caller)
    if this:
        caller = replace(caller, path=this.caller.path)
        for delegate in reversed(_guessed(this)):
            conflist = chain.installed(delegate.conflist, caller)
            for kind in caller.lacks(delegate.conflist):
                message = f"{delegate.place}: {kind} is not installed, so it can't have given anything"
                caller.log.event("unrecorded", "warn", message=message)
            failures += _taken_off(replace(delegate, conflist=conflist), caller)
    with caller.node.records.pod(caller.container_id) as pod:
        own = [record for record in pod.all() if record.plugin in caller.own]
    for record in own:
        alone = Conflist(record.network, "1.1.0", ({"type": record.plugin},))
        failures += _taken_off(Delegate(record.ifname, record.network, alone), caller)
    return failures


def _guessed(this: Calling[C]) -> tuple[Delegate, ...]:
    """The NICs that the pod should have had, as far as anybody still knows."""
    guesses: tuple[Callable[[], tuple[Delegate, ...]], ...] = (
        lambda: this.delegates(this.pod().annotations),
        lambda: this.delegates({}),
        lambda: _default_alone(this),
    )
    for guess in guesses:
        try:
            return guess()
        except CniError as error:
            this.caller.log.event("unrecorded", "warn", message=error.msg)
    return ()


def _default_alone(this: Calling[C]) -> tuple[Delegate, ...]:
    call = this.request.call
    network = this.catalogue.configured(this.plugin.networks(this.config)[0])
    return (Delegate(call.ifname, network.name, network.conflist, args=dict(call.args)),)
