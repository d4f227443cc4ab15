"""DEL and GC: take off what was made, with whatever is left to go by."""

from __future__ import annotations

from dataclasses import replace

from underlay.cni.attach import withdraw, withdraw_traces
from underlay.cni.delegate import forward
from underlay.cni.errors import CniError
from underlay.cni.lease import give_back, give_back_unowned
from underlay.cni.plugin import Attachment, C, Given, MainPlugin, Node, NodeKernel, first_of
from underlay.cni.request import Request, other_name, refuse_own_namespace, usable
from underlay.cni.scene import Scene
from underlay.cni.segment import leave
from underlay.facts import Remains
from underlay.objects import POD
from underlay.plan import Plan
from underlay.records import RECORD, PodRecords, Record, record_name


def delete(request: Request[C]) -> None:
    """Needs nothing but the container id and the NIC's name; what is gone counts as removed."""
    refuse_own_namespace(request)
    node, call = request.node, request.call
    with node.records.pod(call.container_id) as pod:
        record = pod.read(request.record_name)
        with node.kernel(_netns_to_clean(request, record)) as kernel:
            scene = Scene(node, kernel, pod, request.log, call.path)
            if record:
                first_of(withdraw(record, scene))
            else:
                first_of(_withdraw_unrecorded(request, scene))


def _withdraw_unrecorded(request: Request[C], scene: Scene) -> list[CniError]:
    """By what the call says, and by who is noted to use a segment."""
    call = request.call
    attachment = Attachment(call.container_id, call.ifname, call.network, call.netns)
    nobody = request.record_of(attachment)
    plan = _traces(request, call.container_id, call.ifname, scene.kernel)
    failures = withdraw_traces(plan, nobody.name, call.ifname, scene)
    given = _given(request)
    failures += give_back_unowned(given.claims, scene)
    for delegated in given.delegated:
        ipam = {"config": delegated.config, "args": delegated.args}
        failures += give_back(replace(nobody, ipam=ipam), scene)
    for name in scene.node.records.segments(request.plugin.name):
        failures += leave(name, nobody.owner, scene)
    return failures


def _given(request: Request[C]) -> Given:
    config = usable(request)
    return request.plugin.given(config, request.call) if config and request.plugin.given else Given()


def _netns_to_clean(request: Request[C], record: Record | None) -> str:
    """The call's namespace if it is this container's; a path may lead to another pod's by now."""
    netns_id = request.node.netns_id(request.call.netns)
    if record:
        return request.call.netns if netns_id == record.netns_id else ""
    owners = request.node.records.netns_owners(netns_id) if netns_id else set()
    return request.call.netns if owners <= {request.call.container_id} else ""


def _traces(request: Request[C], container_id: str, ifname: str, kernel: NodeKernel) -> Plan:
    config = usable(request)
    other = kernel.other_nic(other_name(request.plugin, config)) if config else None
    attachment = Attachment(container_id, ifname, request.call.network, request.call.netns)
    return request.plugin.traces(config, attachment, Remains(kernel.ours(POD), other))


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
    first_of(failures + _forwarded(request))


def _forwarded(request: Request[C]) -> list[CniError]:
    """GC of the other IPAM plugins that a main plugin has called: they keep addresses of their own."""
    failures: list[CniError] = []
    for delegated in _given(request).delegated if isinstance(request.plugin, MainPlugin) else ():
        try:
            forward("GC", delegated.config, request.node, request.call.path)
        except CniError as error:
            failures.append(error)
    return failures


def _collected(request: Request[C], container: str, name: str, pod: PodRecords) -> list[CniError]:
    node, record = request.node, pod.read(name)
    if record is None:
        return _collected_unread(request, container, name, pod)
    if not _is_stale(record, request):
        return []
    with node.kernel(record.netns if _is_alive(record, node) else "") as kernel:
        failures = withdraw(record, Scene(node, kernel, pod, request.log, request.call.path))
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
        scene = Scene(request.node, kernel, pod, request.log, request.call.path)
        plan = _traces(request, container, ifname, kernel)
        failures = withdraw_traces(plan, name, ifname, scene)
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
