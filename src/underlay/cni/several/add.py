"""ADD of a meta plugin: one NIC after the other, and back again where one fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from underlay.cni import chain
from underlay.cni.chain import located
from underlay.cni.cluster import PodObject
from underlay.cni.errors import CniError
from underlay.cni.plugin import Attachment, C, MetaPlugin, first_of
from underlay.cni.request import Json, Request, attachment_of, configured
from underlay.cni.result import Interface, parse, render
from underlay.cni.several import default_route
from underlay.cni.several.calling import Calling, Run, calling, finishing, refuse_unready
from underlay.cni.several.record import Delegation, read, write
from underlay.cni.several.remove import take_off
from underlay.networks.delegates import Delegate
from underlay.networks.status import NETWORK_STATUS, network_status
from underlay.record import Record
from underlay.store import Store


def add(plugin: MetaPlugin[C], request: Request[C], run: Run) -> Json:
    this = calling(plugin, request, run)
    attachment = attachment_of(request)
    for message in configured(request).unknown:
        request.log.event("configuration", "warn", message=message)
    refuse_unready(this)
    pod = this.pod()
    wanted = this.delegates(pod.annotations)
    for message in (note for delegate in wanted for note in delegate.notes):
        request.log.event("annotation", "warn", message=message)
    _refuse_missing(wanted, this)
    with request.node.records.delegates(attachment.container_id) as store:
        request.node.refuse_abandoned()
        done = _recorded(wanted, attachment, this, store)
    request.afterwards.append(partial(_tell, pod, done, this))
    return _answer(done, request.call.cni_version)


def _refuse_missing(wanted: tuple[Delegate, ...], this: Calling[C]) -> None:
    """Before anything is changed: a plugin that is not there could not be called for DEL either."""
    for delegate in wanted:
        for kind in this.caller.lacks(delegate.conflist):
            raise located(chain.not_found(kind, this.caller), delegate.place)


def _recorded(
    wanted: tuple[Delegate, ...], attachment: Attachment, this: Calling[C], store: Store
) -> Delegation:
    """What an equal ADD has made, if all of it still stands; else made anew."""
    new = _delegation(attachment, this)
    known = read(new.name, store)
    if known and _stands(known, wanted, attachment, this):
        return known
    if known is None and new.name in store.listed():  # it can't be read: what it was for is the best guess
        known = replace(new, delegates=wanted)
    if known:
        is_same_pod = known.netns_id == attachment.netns_id
        caller = this.caller if is_same_pod else replace(this.caller, netns="")
        first_of(take_off(known, store, caller))
    return _made(wanted, new, this, store)


def _stands(
    known: Delegation, wanted: tuple[Delegate, ...], attachment: Attachment, this: Calling[C]
) -> bool:
    """Whether the same was made for this pod, and CHECK of every plugin says that it is there.

    Other plugins' ADD is not one that could be called twice. One that can't be asked proves nothing.
    """
    if known.netns_id != attachment.netns_id or not known.is_of(wanted):
        return False
    if not all(_can_be_checked(each, this) for each in known.delegates):
        return False
    try:
        for each in known.delegates:
            chain.check(each, this.caller)
            default_route.check(each, this.caller)
    except CniError as error:
        this.request.log.event("add-again", "warn", message=f"made anew: {error.msg}")
        return False
    return True


def _can_be_checked(delegate: Delegate, this: Calling[C]) -> bool:
    conflist = delegate.conflist
    foreign = [kind for kind in conflist.types if kind not in this.caller.own]
    return not foreign or (conflist.speaks("0.4.0") and not conflist.disable_check)


def _made(wanted: tuple[Delegate, ...], done: Delegation, this: Calling[C], store: Store) -> Delegation:
    try:
        for delegate in wanted:
            this.request.node.refuse_abandoned()
            done = done.extended(delegate)
            write(done, store)  # with what the NIC before has answered
            done = done.answered(_attached(delegate, wanted, this))
        this.request.node.refuse_abandoned()  # now, while it can be taken back
        write(done, store)
    except BaseException as error:
        for failure in take_off(done, store, finishing(this.caller)):
            error.add_note(f"and taking it back failed: {failure.msg}")
        raise
    return done


def _attached(delegate: Delegate, wanted: tuple[Delegate, ...], this: Calling[C]) -> Json:
    try:
        result = chain.add(delegate, this.caller, _between(delegate, wanted, this))
        parse(result, delegate.conflist.cni_version, where="its result")  # while it can be taken back
    except CniError as error:
        raise located(error, delegate.place) from error
    return result


def _between(delegate: Delegate, wanted: tuple[Delegate, ...], this: Calling[C]) -> Callable[[Json], Json]:
    """What is done when the NIC is there, before the plugins that are chained behind its own."""
    before = wanted[: wanted.index(delegate)]

    def lead(result: Json) -> Json:
        with this.caller.scene() as scene:
            record = _route_record(delegate, this)
            return default_route.lead(delegate, [each.ifname for each in wanted], record, result, scene)

    def follow(result: Json) -> Json:
        with this.caller.scene() as scene:
            default_route.follow(scene)
        return result

    if delegate.default_route is not None:
        return lead
    if any(each.default_route is not None for each in before):
        return follow
    return lambda result: result


def _route_record(delegate: Delegate, this: Calling[C]) -> Record:
    attachment = attachment_of(this.request)
    record = this.request.record_of(
        replace(attachment, network=delegate.conflist.name, ifname=delegate.ifname)
    )
    return replace(record, plugin=default_route.PLUGIN)


def _delegation(attachment: Attachment, this: Calling[C]) -> Delegation:
    return Delegation(
        plugin=this.plugin.name,
        network=attachment.network,
        ifname=attachment.ifname,
        container_id=attachment.container_id,
        netns=attachment.netns,
        netns_id=attachment.netns_id,
        created=int(time.time()),
        path=this.caller.path,
    )


def _tell(pod: PodObject, done: Delegation, this: Calling[C]) -> None:
    """Gives the pod the annotation that says what it has got. Whatever becomes of that, it has it."""
    kubeconfig = this.setting.sources.kubeconfig
    if kubeconfig is None or not pod.name:
        return
    try:
        cluster = this.request.node.cluster(kubeconfig)
        cluster.annotate(pod, NETWORK_STATUS, network_status(done.delegates))
    except CniError as error:
        this.request.log.event("network-status", "warn", message=error.msg)


def _answer(done: Delegation, cni_version: str) -> Json:
    """The first NIC's result, with the interfaces of all: appended, so that indexes stay what they are."""
    results = [
        parse(each.result, each.conflist.cni_version, where=f"the result of {each.place}")
        for each in done.delegates
    ]
    first, others = results[0], results[1:]
    known: dict[tuple[str, str], Interface] = {(i.name, i.sandbox): i for i in first.interfaces}
    further: dict[tuple[str, str], Interface] = {
        (nic.name, nic.sandbox): nic
        for result in others
        for nic in result.interfaces
        if (nic.name, nic.sandbox) not in known
    }
    return render(first.with_interfaces(*further.values()), cni_version)
