"""DEL and GC: take off what was made, with whatever is left to go by."""

from __future__ import annotations

from underlay.cni.attach import withdraw
from underlay.cni.call import VALID_ATTACHMENTS
from underlay.cni.delegate import forward
from underlay.cni.errors import CniError
from underlay.cni.phases import Phase
from underlay.cni.plugin import Attachment, C, Delegated, MainPlugin, Node, first_of
from underlay.cni.request import Json, Request, netns_to_clean, refuse_own_namespace
from underlay.cni.scene import Scene
from underlay.cni.segment import holders
from underlay.cni.unrecorded import given_by, withdraw_unrecorded
from underlay.record import RECORD, Record, record_name
from underlay.records import PodRecords


def delete(request: Request[C]) -> None:
    """Needs nothing but the container id and the NIC's name; what is gone counts as removed."""
    refuse_own_namespace(request)
    node, call = request.node, request.call
    with node.records.pod(call.container_id) as pod:
        node.refuse_abandoned()  # it may have waited so long that another ADD was made meanwhile
        record = pod.read(request.record_name)
        with node.kernel(netns_to_clean(request, record.netns_id if record else None)) as kernel:
            scene = Scene(node, kernel, pod, request.log, call.path)
            request.phases.enter(Phase.APPLY)
            if record:
                first_of(withdraw(record, scene))
            else:
                attachment = Attachment(call.container_id, call.ifname, call.network, call.netns)
                first_of(withdraw_unrecorded(attachment, request, scene))


def collect(request: Request[C]) -> None:
    """GC: takes off the attachments of this network that the runtime no longer has.

    Without a list of valid attachments only what is provably dead goes: its namespace is no more.
    One that can't be taken off now does not keep the others.
    """
    failures: list[CniError] = []
    for container in request.node.records.containers():
        try:
            with request.node.records.pod(container) as pod:
                request.node.refuse_abandoned()
                for name in pod.names():
                    failures += _collected(request, container, name, pod)
        except CniError as error:
            failures.append(error)
    first_of(failures + _forwarded(request))


def _forwarded(request: Request[C]) -> list[CniError]:
    """GC of the other IPAM plugins that a main plugin has called: they keep addresses of their own."""
    failures: list[CniError] = []
    for delegated in given_by(request).delegated if isinstance(request.plugin, MainPlugin) else ():
        try:
            forward("GC", _with_holders(delegated, request), request.node, request.call.path)
        except CniError as error:
            failures.append(error)
    return failures


def _with_holders(delegated: Delegated, request: Request[C]) -> Json:
    """The configuration for GC of an IPAM plugin: the node's own addresses are valid too."""
    valid = request.call.valid_attachments
    if valid is None:
        return delegated.config
    every = (*valid, *holders(request.plugin.name, delegated, request.node))
    listed = [{"containerID": container_id, "ifname": ifname} for container_id, ifname in every]
    return {**delegated.config, **dict.fromkeys(VALID_ATTACHMENTS, listed)}


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
        attachment = Attachment(container, ifname, request.call.network, "")
        failures = withdraw_unrecorded(attachment, request, scene)
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
