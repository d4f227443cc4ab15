"""The verbs of CNI, once for all chained plugins: ADD applies a plan, CHECK compares, DEL reverts.

A plugin says what it wants; here is decided when that is made, recorded, compared and taken back.
Reference: CNI specification 1.1.0, section 2.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from underlay.cni.call import SUPPORTED, Call
from underlay.cni.errors import (
    CniError,
    Drift,
    InvalidConfig,
    InvalidEnvironment,
    InvalidNetns,
    NotAvailable,
)
from underlay.cni.keys import Keys
from underlay.cni.plugin import Attachment, C, Node, NodeKernel, Plugin, first_of
from underlay.cni.result import Interface, Result, parse, render
from underlay.cni.settle import drop_unused_rules, give_back, make_node_rules, settle_main_default
from underlay.facts import Facts
from underlay.log import Log
from underlay.objects import IP, POD, Object, VethPair
from underlay.plan import Plan, apply, missing, revert, take_back
from underlay.records import PodRecords, Record, record_name

Json = dict[str, Any]


def run(plugin: Plugin[C], call: Call, node: Node, log: Log) -> Json | None:
    """Carries out one call; the JSON to print, if any. Raises the CniError to print instead."""
    started = time.monotonic()
    try:
        answer = VERBS[call.command](plugin, call, node, log)
    except CniError as error:
        log.event(
            "call", "error", outcome=error.msg, code=error.code, details=error.details, ms=_ms(started)
        )
        raise
    log.event("call", outcome="ok", ms=_ms(started))
    return answer


def add(plugin: Plugin[C], call: Call, node: Node, log: Log) -> Json:
    keys = Keys(call.config, plugin.aliases)
    config = plugin.parse(keys)
    attachment = _attachment(plugin, call, node)
    if config is None or attachment.previous is None:
        return render(_previous(plugin, call), call.cni_version)
    for message in keys.unknown():
        log.event("configuration", "warning", message=message)
    with node.kernel(call.netns) as kernel, node.records.pod(call.container_id) as pod:
        record, is_new = _recorded(plugin, config, attachment, call, node, kernel, pod)
        for note in record.plan.notes:
            log.event("plan", message=note)
        _make(record, is_new, node, kernel, pod)
    reported = [end for obj in record.plan.reported for end in _interfaces(obj, call.netns)]
    return render(attachment.previous.with_interfaces(*reported), call.cni_version)


def _recorded(
    plugin: Plugin[C],
    config: C,
    attachment: Attachment,
    call: Call,
    node: Node,
    kernel: NodeKernel,
    pod: PodRecords,
) -> tuple[Record, bool]:
    """The record to apply, and whether it is a new one: ADD decides once, so equal inputs decide nothing anew."""
    name = record_name(attachment.network, attachment.ifname, plugin.name)
    facts = _facts(attachment, name, kernel, pod)
    inputs = _digest(call, attachment, facts)
    known = pod.read(name)
    if known and known.inputs == inputs:
        return known, False
    if known:
        first_of(_withdraw(known, node, kernel, pod, is_undone=True))
        facts = _facts(attachment, name, kernel, pod)
    record = Record(
        plugin=plugin.name,
        network=attachment.network,
        container_id=attachment.container_id,
        ifname=attachment.ifname,
        netns=attachment.netns,
        netns_id=node.netns_id(attachment.netns),
        inputs=inputs,
        created=int(time.time()),
        plan=plugin.plan(config, attachment, facts),
    )
    pod.write(record)
    return record, True


def _facts(attachment: Attachment, name: str, kernel: NodeKernel, pod: PodRecords) -> Facts:
    nic = kernel.link(POD, attachment.ifname)
    if nic is None:
        raise InvalidConfig(
            f"there is no link {attachment.ifname} in {attachment.netns}",
            "a chained plugin works on a link that an earlier plugin of the chain has made",
        )
    siblings = [record.plan for record in pod.all() if record.name != name]
    return kernel.facts(nic, _given(attachment), siblings)


def _given(attachment: Attachment) -> list[IP]:
    """The addresses that the result gives the NIC."""
    if attachment.previous is None:
        return []
    return [ip.address.ip for ip in attachment.previous.addresses_of(attachment.ifname, attachment.netns)]


def _digest(call: Call, attachment: Attachment, facts: Facts) -> str:
    """Of all that a plan is made from and that its own ADD does not change."""
    config = {key: value for key, value in call.config.items() if key.casefold() != "prevresult"}
    previous = render(attachment.previous, call.cni_version) if attachment.previous else None
    seen = [facts.nic.index, sorted(map(str, facts.nic_addresses)), sorted(map(str, facts.node_addresses))]
    text = json.dumps([config, previous, seen], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _make(record: Record, is_new: bool, node: Node, kernel: NodeKernel, pod: PodRecords) -> None:
    """Makes a record true, or leaves everything as it was."""
    applied = None
    try:
        with node.records.sharing():
            make_node_rules(record.plan.node_rules, kernel)
            applied = apply(record.plan.present, kernel)
        first_of(settle_main_default(pod, kernel))
    except BaseException as error:
        failures = take_back(applied, kernel) if applied else []
        if is_new:
            failures += _withdraw(record, node, kernel, pod, is_undone=True, is_reverted=True)
        for failure in failures:
            error.add_note(f"and taking it back failed: {failure.msg}")
        raise


def _withdraw(
    record: Record,
    node: Node,
    kernel: NodeKernel,
    pod: PodRecords,
    *,
    is_undone: bool = False,
    is_reverted: bool = False,
) -> list[CniError]:
    """Takes an attachment off: its objects, its record, its part in what is shared.

    With `is_undone` the NIC stays and gets back what was taken from it; a NIC that goes does not.
    """
    failures: list[CniError] = []
    if not is_reverted:
        keep = _kept(pod, record.name)
        failures += revert(record.plan, keep, kernel)
    latest = pod.read(record.name) or record
    if is_undone and kernel.has(POD):
        for version in (4, 6):
            latest, failed = give_back(latest, version, pod, kernel)
            failures += failed
    if failures:
        return failures  # the record stays, for the next try
    pod.delete(record.name)
    failures += settle_main_default(pod, kernel)
    return failures + drop_unused_rules(record.plan.node_rules, kernel, node.records)


def _kept(pod: PodRecords, name: str) -> frozenset[Object]:
    """What the pod's other attachments want too."""
    return frozenset(obj for other in pod.all() if other.name != name for obj in other.plan.present)


def delete(plugin: Plugin[C], call: Call, node: Node, log: Log) -> None:
    """Needs nothing but the container id and the NIC's name; what is gone counts as removed."""
    _refuse_own_namespace(call, node)
    name = record_name(call.network, call.ifname, plugin.name)
    with node.kernel(call.netns) as kernel, node.records.pod(call.container_id) as pod:
        record = pod.read(name)
        if record:
            first_of(_withdraw(record, node, kernel, pod))
            return
        attachment = Attachment(call.container_id, call.ifname, call.network, call.netns)
        plan = plugin.traces(_parsed_if_possible(plugin, call), attachment, kernel.ours(POD))
        failures = revert(plan, _kept(pod, name), kernel)
        pod.delete(name)
        failures += settle_main_default(pod, kernel)
        first_of(failures + drop_unused_rules(plan.node_rules, kernel, node.records))


def _parsed_if_possible(plugin: Plugin[C], call: Call) -> C | None:
    try:
        return plugin.parse(Keys(call.config, plugin.aliases))
    except CniError:
        return None  # a configuration that has become unusable never makes DEL fail


def check(plugin: Plugin[C], call: Call, node: Node, log: Log) -> None:
    """Compares what ADD recorded with what is there; Drift names each thing that isn't."""
    config = plugin.parse(Keys(call.config, plugin.aliases))
    attachment = _attachment(plugin, call, node)
    if config is None:
        return
    with node.kernel(call.netns) as kernel, node.records.pod(call.container_id) as pod:
        name = record_name(call.network, call.ifname, plugin.name)
        record = pod.read(name)
        plan = (
            record.plan if record else plugin.plan(config, attachment, _facts(attachment, name, kernel, pod))
        )
        differences = missing(plan.objects, kernel)
    if differences:
        lines = [f"{obj}" + (f"   (there is: {found})" if found else "") for obj, found in differences]
        raise Drift(
            f"{len(differences)} of {len(plan.objects)} things that {plugin.name} made for {call.ifname}"
            f" are missing or changed: {lines[0]}",
            "\n".join(lines),
        )


def collect(plugin: Plugin[C], call: Call, node: Node, log: Log) -> None:
    """GC: takes off the attachments of this network that the runtime no longer has.

    Without a list of valid attachments only what is provably dead goes: its namespace is no more.
    """
    failures: list[CniError] = []
    for container in node.records.containers():
        with node.records.pod(container) as pod:
            for record in pod.all():
                if (record.plugin, record.network) == (plugin.name, call.network) and _is_stale(
                    record, call, node
                ):
                    netns = record.netns if _is_alive(record, node) else ""
                    with node.kernel(netns) as kernel:
                        failures += _withdraw(record, node, kernel, pod)
                    log.event("collected", container=record.container_id, nic=record.ifname)
    first_of(failures)


def _is_stale(record: Record, call: Call, node: Node) -> bool:
    if call.valid_attachments is None:
        return not _is_alive(record, node)
    return (record.container_id, record.ifname) not in call.valid_attachments


def _is_alive(record: Record, node: Node) -> bool:
    return node.netns_id(record.netns) == record.netns_id


def status(plugin: Plugin[C], call: Call, node: Node, log: Log) -> None:
    """Tries one object of each kind that the plugin makes, in a namespace made for it."""
    plugin.parse(Keys(call.config, plugin.aliases))
    try:
        with node.scratch() as kernel:
            apply(plugin.needs.objects, kernel)
    except (CniError, OSError) as error:
        raise NotAvailable(
            f"{plugin.name} cannot work on this node: {error}", "tried in a network namespace made for this"
        ) from error


def version(plugin: Plugin[C], call: Call, node: Node, log: Log) -> Json:
    return {"cniVersion": call.cni_version, "supportedVersions": list(SUPPORTED)}


VERBS: dict[str, Callable[..., Json | None]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "GC": collect,
    "STATUS": status,
    "VERSION": version,
}


def _attachment(plugin: Plugin[C], call: Call, node: Node) -> Attachment:
    """The attachment of an ADD or CHECK, whose pod must be there."""
    previous = _previous(plugin, call)
    _refuse_own_namespace(call, node)
    if not node.netns_id(call.netns):
        raise InvalidEnvironment(
            f'CNI_NETNS: "{call.netns}" is not a network namespace',
            "it has to be the pod's, and still there",
        )
    return Attachment(call.container_id, call.ifname, call.network, call.netns, previous)


def _previous(plugin: Plugin[C], call: Call) -> Result:
    if call.prev_result is None:
        raise InvalidConfig(
            f"prevResult is missing: {plugin.name} is a chained plugin",
            f"list it in a conflist behind the plugin that makes {call.ifname}, such as macvlan or sriov",
        )
    return parse(call.prev_result, call.cni_version)


def _refuse_own_namespace(call: Call, node: Node) -> None:
    if call.netns and node.is_own(call.netns):
        raise InvalidNetns(
            f'CNI_NETNS: "{call.netns}" is the node\'s own network namespace',
            "a pod on the host network has no attachment; nothing was changed",
        )


def _interfaces(obj: Object, netns: str) -> list[Interface]:
    """What an object adds to the result: the end in the pod has a sandbox, the node's has none."""
    if not isinstance(obj, VethPair):
        return []
    return [
        Interface(obj.host_dev, obj.host_mac, mtu=obj.mtu),
        Interface(obj.pod_dev, obj.pod_mac, sandbox=netns, mtu=obj.mtu),
    ]


def _ms(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 2)
