"""ADD of a chained plugin: decide once, write it down, make it true."""

from __future__ import annotations

from dataclasses import replace

from underlay.cni.attach import digest, make, make_anew, undo, withdraw
from underlay.cni.errors import CniError
from underlay.cni.phases import Phase
from underlay.cni.plugin import Attachment, C, ChainedPlugin, first_of
from underlay.cni.probing import refuse_conflict, refuse_silent_gateways
from underlay.cni.request import Json, Request, attachment_in, configured, facts_for, previous_of
from underlay.cni.result import Interface, Result, render
from underlay.cni.scene import Scene
from underlay.facts import Facts
from underlay.objects import LinkAddress, Object, Sysctl, VethPair, quoted
from underlay.plan import Plan
from underlay.record import Record


def add_to_chain(plugin: ChainedPlugin[C], request: Request[C]) -> Json:
    call = request.call
    read = configured(request)
    config = read.config
    previous = previous_of(request)
    if config is None:
        return render(previous, call.cni_version)
    for message in read.unknown:
        request.log.event("configuration", "warning", message=message)
    scene = request.scene()
    attachment = attachment_in(scene, request, previous)
    record = _recorded(plugin, request, config, attachment, scene)
    request.notes.extend(record.plan.notes)
    result = previous
    for obj in record.plan.reported:
        result = _reported(obj, result, call.netns)
    return render(result, call.cni_version)


def _recorded(
    plugin: ChainedPlugin[C], request: Request[C], config: C, attachment: Attachment, scene: Scene
) -> Record:
    """Applies the record of an equal ADD again, or decides anew; what another one made is undone first."""
    facts = facts_for(plugin, request, config, attachment, scene)
    inputs = _digest(request, attachment, facts)
    known = scene.pod.read(request.record_name)
    if known and known.inputs == inputs:
        request.phases.enter(Phase.APPLY)
        make(known, scene)
        return known
    request.phases.enter(Phase.PLAN)
    plan = plugin.plan(config, attachment, facts)  # for its errors, while what works still stands
    probing = plugin.probing(config, attachment, facts) if plugin.probing else None
    if probing:
        refuse_conflict(probing, scene.kernel)
        if known:  # asked before what works is undone, and again from the MAC that it will have
            refuse_silent_gateways(probing, scene.kernel)
    if known:
        first_of(_undone(known, attachment, request, scene))
        facts = facts_for(plugin, request, config, attachment, scene)
        plan = plugin.plan(config, attachment, facts)
    record = request.record_of(attachment, _as_siblings_have_it(plan, facts), inputs)
    request.phases.enter(Phase.APPLY)
    make_anew(record, probing, scene)
    if probing and probing.addresses:
        own = (obj.mac for obj in record.plan.present if isinstance(obj, LinkAddress))
        request.announce_afterwards(next(own, facts.nic.mac), probing.addresses)
    return record


def _undone(known: Record, attachment: Attachment, request: Request[C], scene: Scene) -> list[CniError]:
    if known.netns_id == attachment.netns_id:
        return undo(known, scene)
    with request.node.kernel("") as host_alone:  # its pod was another one, and is gone
        return withdraw(known, replace(scene, kernel=host_alone))


def _as_siblings_have_it(plan: Plan, facts: Facts) -> Plan:
    """The plan, with the settings of shared links as the pod's first NIC wants them, and remembers them."""
    if not facts.siblings:
        return plan
    theirs = {obj.place: obj for plan in facts.siblings for obj in plan.present if isinstance(obj, Sysctl)}
    present = tuple(theirs.get(obj.place, obj) if isinstance(obj, Sysctl) else obj for obj in plan.present)
    differing = (obj for obj, taken in zip(plan.present, present, strict=True) if obj != taken)
    kept = (f"{obj}: not done, another NIC of the pod has it otherwise" for obj in differing)
    return replace(plan, present=present, notes=(*plan.notes, *kept))


def _digest(request: Request[C], attachment: Attachment, facts: Facts) -> str:
    """Of what decides a plan and is not changed by its own ADD; however the runtime writes it."""
    call = request.call
    config = {key: value for key, value in call.config.items() if key.casefold() != "prevresult"}
    previous = render(attachment.previous, call.cni_version) if attachment.previous else None
    seen: list[int | str] = [facts.nic.index]
    addresses = [facts.nic_addresses, facts.node_addresses]
    if facts.other:
        seen += [facts.other.link.index, facts.other.link.mac]
        addresses.append(facts.other.addresses)
    found = [sorted(map(quoted, each)) for each in addresses]
    return digest([attachment.netns_id, config, previous, seen, found])


def _reported(obj: Object, result: Result, netns: str) -> Result:
    """The result with what an object adds: a NIC's MAC, or a pair, whose end in the pod has a sandbox."""
    if isinstance(obj, LinkAddress):
        return result.with_mac(obj.dev, obj.mac)
    if not isinstance(obj, VethPair):
        return result
    return result.with_interfaces(
        Interface(obj.host_dev, obj.host_mac, mtu=obj.mtu),
        Interface(obj.pod_dev, obj.pod_mac, sandbox=netns, mtu=obj.mtu),
    )
