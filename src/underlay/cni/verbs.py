"""The verbs of CNI, once for all chained plugins: ADD applies a plan, CHECK compares, DEL reverts.

A plugin says what it wants; here is decided when that is made, compared and taken back.
Reference: CNI specification 1.1.0, section 2.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic

from underlay.cni.attach import Scene, make, make_anew, undo, withdraw, withdraw_traces
from underlay.cni.call import SUPPORTED, Call
from underlay.cni.errors import (
    CniError,
    Drift,
    InvalidConfig,
    InvalidEnvironment,
    InvalidNetns,
    NotAvailable,
)
from underlay.cni.keys import Keys, log_options
from underlay.cni.plugin import Attachment, C, Node, NodeKernel, Plugin, first_of
from underlay.cni.result import Interface, Result, parse, render
from underlay.facts import Facts, Remains
from underlay.log import Log
from underlay.objects import POD, LinkAddress, Object, Route, Sysctl, VethPair
from underlay.plan import Plan, apply, missing
from underlay.records import RECORD, PodRecords, Record, record_name

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request(Generic[C]):
    """One call of one plugin on one node."""

    plugin: Plugin[C]
    call: Call
    node: Node
    log: Log

    @property
    def record_name(self) -> str:
        return record_name(self.call.network, self.call.ifname, self.plugin.name)

    @contextmanager
    def scene(self) -> Iterator[Scene]:
        """The pod of the call, under its lock."""
        with (
            self.node.kernel(self.call.netns) as kernel,
            self.node.records.pod(self.call.container_id) as pod,
        ):
            yield Scene(self.node, kernel, pod, self.log)


def run(request: Request[C]) -> Json | None:
    """Carries out one call; the JSON to print, if any. Raises the CniError to print instead."""
    started = time.monotonic()
    outcome: Json = {"outcome": "failed"}
    try:
        answer = VERBS[request.call.command](request)
        outcome = {"outcome": "ok"}
        return answer
    except CniError as error:
        outcome |= {"code": error.code, "msg": error.msg, "details": error.details}
        raise
    except BaseException as error:
        import traceback  # here alone: it is slow to load

        outcome |= {"msg": repr(error), "traceback": traceback.format_exc()}
        raise
    finally:
        ms = round((time.monotonic() - started) * 1000, 2)
        level = "info" if outcome["outcome"] == "ok" else "error"
        request.log.event("call", level, duration_ms=ms, **outcome)


def add(request: Request[C]) -> Json:
    call = request.call
    keys = _keys(request)
    config = _parsed(request, keys)
    previous = _previous(request)
    if config is None:
        return render(previous, call.cni_version)
    attachment = _attachment(request, previous)
    for message in keys.unknown():
        request.log.event("configuration", "warning", message=message)
    with request.scene() as scene:
        record = _recorded(request, config, attachment, scene)
    for note in record.plan.notes:
        request.log.event("plan", message=note)
    reported = [end for obj in record.plan.reported for end in _interfaces(obj, call.netns)]
    return render(previous.with_interfaces(*reported), call.cni_version)


def _recorded(request: Request[C], config: C, attachment: Attachment, scene: Scene) -> Record:
    """Applies the record of an equal ADD again, or decides anew; what another one made is undone first."""
    facts = _facts(request, config, attachment, scene)
    netns_id = request.node.netns_id(attachment.netns)
    inputs = _digest(request, attachment, facts, netns_id)
    known = scene.pod.read(request.record_name)
    if known and known.inputs == inputs:
        make(known, scene)
        return known
    plan = request.plugin.plan(config, attachment, facts)  # for its errors, while what works still stands
    if known:
        first_of(_undone(known, netns_id, request, scene))
        facts = _facts(request, config, attachment, scene)
        plan = request.plugin.plan(config, attachment, facts)
    record = Record(
        plugin=request.plugin.name,
        network=attachment.network,
        container_id=attachment.container_id,
        ifname=attachment.ifname,
        netns=attachment.netns,
        netns_id=netns_id,
        inputs=inputs,
        created=int(time.time()),
        plan=_as_siblings_have_it(plan, facts),
    )
    make_anew(record, scene)
    return record


def _undone(known: Record, netns_id: str, request: Request[C], scene: Scene) -> list[CniError]:
    if known.netns_id == netns_id:
        return undo(known, scene)
    with request.node.kernel("") as host_alone:  # its pod was another one, and is gone
        return withdraw(known, Scene(scene.node, host_alone, scene.pod, request.log))


def _as_siblings_have_it(plan: Plan, facts: Facts) -> Plan:
    """The plan, with the settings of shared links as the pod's first NIC wants them, and remembers them."""
    theirs = {obj.place: obj for plan in facts.siblings for obj in plan.present if isinstance(obj, Sysctl)}
    present = tuple(theirs.get(obj.place, obj) if isinstance(obj, Sysctl) else obj for obj in plan.present)
    differing = (obj for obj in plan.present if obj not in present)
    kept = (f"{obj}: not done, another NIC of the pod has it otherwise" for obj in differing)
    return replace(plan, present=present, notes=(*plan.notes, *kept))


def _facts(request: Request[C], config: C, attachment: Attachment, scene: Scene) -> Facts:
    nic = scene.kernel.link(POD, attachment.ifname)
    if nic is None:
        raise InvalidConfig(
            f"there is no link {attachment.ifname} in {attachment.netns}",
            "a chained plugin works on a link that an earlier plugin of the chain has made",
        )
    siblings = [record.plan for record in scene.pod.all() if record.name != request.record_name]
    given = (
        attachment.previous.addresses_of(attachment.ifname, attachment.netns) if attachment.previous else ()
    )
    facts = scene.kernel.facts(nic, [ip.address.ip for ip in given], siblings, _other_name(request, config))
    displaced = [obj for taken in scene.pod.displaced().values() for obj in taken.objects]
    routes = (*facts.pod_routes, *(obj for obj in displaced if isinstance(obj, Route)))
    return replace(facts, pod_routes=routes)


def _other_name(request: Request[C], config: C) -> str:
    return request.plugin.other_nic(config) if request.plugin.other_nic else ""


def _digest(request: Request[C], attachment: Attachment, facts: Facts, netns_id: str) -> str:
    """Of all that a plan is made from and that its own ADD does not change."""
    call = request.call
    config = {key: value for key, value in call.config.items() if key.casefold() != "prevresult"}
    previous = render(attachment.previous, call.cni_version) if attachment.previous else None
    seen = [facts.nic.index, sorted(map(str, facts.nic_addresses)), sorted(map(str, facts.node_addresses))]
    if facts.other:
        seen += [facts.other.link.index, facts.other.link.mac, sorted(map(str, facts.other.addresses))]
    text = json.dumps([netns_id, config, previous, seen], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def delete(request: Request[C]) -> None:
    """Needs nothing but the container id and the NIC's name; what is gone counts as removed."""
    _refuse_own_namespace(request)
    node, call = request.node, request.call
    with node.records.pod(call.container_id) as pod:
        record = pod.read(request.record_name)
        with node.kernel(_netns_to_clean(request, record)) as kernel:
            scene = Scene(node, kernel, pod, request.log)
            if record:
                first_of(withdraw(record, scene))
            else:
                plan = _traces(request, call.container_id, call.ifname, kernel)
                first_of(withdraw_traces(plan, request.record_name, call.ifname, scene))


def _netns_to_clean(request: Request[C], record: Record | None) -> str:
    """The call's namespace if it is this container's; a path may lead to another pod's by now."""
    netns_id = request.node.netns_id(request.call.netns)
    if record:
        return request.call.netns if netns_id == record.netns_id else ""
    owners = request.node.records.netns_owners(netns_id) if netns_id else set()
    return request.call.netns if owners <= {request.call.container_id} else ""


def _traces(request: Request[C], container_id: str, ifname: str, kernel: NodeKernel) -> Plan:
    config = _usable(request)
    other = kernel.other_nic(_other_name(request, config)) if config else None
    attachment = Attachment(container_id, ifname, request.call.network, request.call.netns)
    return request.plugin.traces(config, attachment, Remains(kernel.ours(POD), other))


def check(request: Request[C]) -> None:
    """Compares what ADD recorded with what is there; Drift names each thing that isn't."""
    config = _parsed(request, _keys(request))
    if config is None:
        return
    previous = _previous(request)
    attachment = _attachment(request, previous)
    with request.scene() as scene:
        record = scene.pod.read(request.record_name)
        if record:
            plan = record.plan
        else:
            plan = request.plugin.plan(config, attachment, _facts(request, config, attachment, scene))
        lacking = missing(plan.objects, scene.kernel)
    differences = [(obj, found) for obj, found in lacking if not _is_later(obj, found, previous)]
    if differences:
        lines = [f"{obj}" + (f"   (there is: {found})" if found else "") for obj, found in differences]
        raise Drift(
            f"{len(differences)} of the {len(plan.objects)} things that {request.plugin.name} made for"
            f" {request.call.ifname} are missing or changed: {lines[0]}",
            "\n".join(lines),
        )


def _is_later(obj: Object, found: Object | None, previous: Result) -> bool:
    """Whether a later plugin of the chain has changed the MAC, and said so in its result."""
    if not isinstance(obj, LinkAddress) or not isinstance(found, LinkAddress):
        return False
    return any(nic.name == obj.dev and nic.mac.lower() == found.mac for nic in previous.interfaces)


def collect(request: Request[C]) -> None:
    """GC: takes off the attachments of this network that the runtime no longer has.

    Without a list of valid attachments only what is provably dead goes: its namespace is no more.
    One that can't be taken off now does not keep the others.
    """
    failures: list[CniError] = []
    for container in request.node.records.containers():
        try:
            with request.node.records.pod(container) as pod:
                for name in pod.names():
                    failures += _collected(request, container, name, pod)
        except CniError as error:
            failures.append(error)
    first_of(failures)


def _collected(request: Request[C], container: str, name: str, pod: PodRecords) -> list[CniError]:
    node, record = request.node, pod.read(name)
    if record is None:
        return _collected_unread(request, container, name, pod)
    if not _is_stale(record, request):
        return []
    with node.kernel(record.netns if _is_alive(record, node) else "") as kernel:
        failures = withdraw(record, Scene(node, kernel, pod, request.log))
    request.log.event("collected", container_id=record.container_id, ifname=record.ifname)
    return failures


def _collected_unread(request: Request[C], container: str, name: str, pod: PodRecords) -> list[CniError]:
    """A record that can't be read still says by its name whose it is."""
    parts = RECORD.fullmatch(name)
    ifname = parts[2] if parts else ""
    if name != record_name(request.call.network, ifname, request.plugin.name):
        return []
    valid = request.call.valid_attachments
    if valid is None or (container, ifname) in valid:
        return []
    with request.node.kernel("") as kernel:
        plan = _traces(request, container, ifname, kernel)
        failures = withdraw_traces(plan, name, ifname, Scene(request.node, kernel, pod, request.log))
    request.log.event("collected", container_id=container, ifname=ifname)
    return failures


def _is_stale(record: Record, request: Request[C]) -> bool:
    if (record.plugin, record.network) != (request.plugin.name, request.call.network):
        return False
    if request.call.valid_attachments is None:
        return not _is_alive(record, request.node)
    return (record.container_id, record.ifname) not in request.call.valid_attachments


def _is_alive(record: Record, node: Node) -> bool:
    return node.netns_id(record.netns) == record.netns_id


def status(request: Request[C]) -> None:
    """Tries one object of each kind that the plugin makes, in a namespace made for it."""
    _parsed(request, _keys(request))
    try:
        with request.node.scratch() as kernel:
            apply(request.plugin.needs.objects, kernel)
    except (CniError, OSError) as error:
        raise NotAvailable(
            f"{request.plugin.name} cannot work on this node: {error}",
            "tried in a network namespace that was made for this",
        ) from error


def version(request: Request[C]) -> Json:
    return {"cniVersion": request.call.cni_version, "supportedVersions": list(SUPPORTED)}


VERBS: dict[str, Callable[[Request[Any]], Json | None]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "GC": collect,
    "STATUS": status,
    "VERSION": version,
}


def _keys(request: Request[C]) -> Keys:
    return Keys(request.call.config, request.plugin.aliases)


def _parsed(request: Request[C], keys: Keys) -> C | None:
    """The configuration, checked; None where it asks for nothing to be done, whatever else it holds."""
    config = request.plugin.parse(keys)
    if config is not None:
        log_options(keys, "")
    return config


def _usable(request: Request[C]) -> C | None:
    """The configuration, if it still is one: an unusable one never makes DEL fail."""
    try:
        return _parsed(request, _keys(request))
    except CniError:
        return None


def _attachment(request: Request[C], previous: Result) -> Attachment:
    """The attachment of an ADD or CHECK, whose pod must be there."""
    call = request.call
    _refuse_own_namespace(request)
    if not request.node.netns_id(call.netns):
        raise InvalidEnvironment(
            f'CNI_NETNS: "{call.netns}" is not a network namespace',
            "it has to be the pod's, and still there",
        )
    return Attachment(call.container_id, call.ifname, call.network, call.netns, previous)


def _previous(request: Request[C]) -> Result:
    if request.call.prev_result is None:
        raise InvalidConfig(
            f"prevResult is missing: {request.plugin.name} is a chained plugin",
            f"list it behind the plugin that makes {request.call.ifname}, such as macvlan or sriov",
        )
    return parse(request.call.prev_result, request.call.cni_version)


def _refuse_own_namespace(request: Request[C]) -> None:
    netns = request.call.netns
    if netns and request.node.is_own(netns):
        raise InvalidNetns(
            f'CNI_NETNS: "{netns}" is the node\'s own network namespace',
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
