"""DEL and GC: take off what was made, with whatever is left to go by."""

from __future__ import annotations

from underlay.cni.attach import Scene, withdraw, withdraw_traces
from underlay.cni.errors import CniError
from underlay.cni.plugin import Attachment, C, Node, NodeKernel, first_of
from underlay.cni.request import Request, other_name, refuse_own_namespace, usable
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
    config = usable(request)
    other = kernel.other_nic(other_name(request, config)) if config else None
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
