"""CHECK and STATUS: look, and change nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

from underlay.cni.delegate import check_addresses, forward
from underlay.cni.errors import CniError, Drift, LimitedConnectivity, NotAvailable
from underlay.cni.plugin import Attachment, C, ChainedPlugin, MainPlugin, NodeKernel
from underlay.cni.request import Request, attachment_in, configured, facts_for, previous_of
from underlay.cni.result import Result
from underlay.cni.scene import Scene
from underlay.cni.segment import segment_plan, underlay_of
from underlay.objects import HOST, MAIN, OURS, LinkAddress, Macvlan, Object, Route
from underlay.plan import apply, missing
from underlay.record import Record

FORWARDING = {4: "ipv4/conf/all/forwarding", 6: "ipv6/conf/all/forwarding"}

ELSEWHERE = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}  # for documentation: beyond this node


def check(request: Request[C]) -> None:
    """Compares what ADD recorded with what is there; Drift names each thing that isn't."""
    config = configured(request).config
    if config is None:
        return
    previous = previous_of(request)
    scene = request.scene()
    attachment = attachment_in(scene, request, previous)
    wanted = _wanted(request, config, attachment, scene)
    lost = lacking(wanted, scene.kernel)
    differences = [(obj, found) for obj, found in lost if not _is_later(obj, found, previous)]
    if differences:
        lines = [f"{obj}" + (f"   (there is: {found})" if found else "") for obj, found in differences]
        raise Drift(
            f"{len(differences)} of the {len(wanted)} things that {request.plugin.name} made for"
            f" {request.call.ifname} are missing or changed: {lines[0]}",
            "\n".join(lines),
        )


def _wanted(request: Request[C], config: C, attachment: Attachment, scene: Scene) -> tuple[Object, ...]:
    """What was made for the attachment, and for the segment that it is in."""
    record = scene.pod.read(request.record_name)
    if record:
        if record.ipam:
            check_addresses(record, scene.node, scene.path)
        shared = segment_plan(record.segment, scene) if record.segment else ()
        return (*own_objects(record), *shared)
    if isinstance(request.plugin, ChainedPlugin):
        plugin = request.plugin
        return plugin.plan(config, attachment, facts_for(plugin, request, config, attachment, scene)).objects
    raise Drift(
        f"nothing is recorded of {request.call.ifname}: it was never made, or its record is lost",
        "recreate the pod",
    )


def own_objects(record: Record) -> tuple[Object, ...]:
    """All that a record says has to be there, whatever other plugins do."""
    return (*(obj for obj in record.plan.objects if not _is_anybodys(obj)), *record.claims)


def lacking(objects: Iterable[Object], kernel: NodeKernel) -> list[tuple[Object, Object | None]]:
    """Each object that isn't there as it has to be, with what stands in its place."""
    return [(obj, found) for obj, found in missing(objects, kernel) if not _has_followed(obj, found, kernel)]


def _is_anybodys(obj: Object) -> bool:
    """The default of the pod's main table, which a later plugin may have moved."""
    return isinstance(obj, Route) and obj.is_default and obj.table == MAIN and obj.proto != OURS


def _is_later(obj: Object, found: Object | None, previous: Result) -> bool:
    """Whether a later plugin of the chain has changed the MAC, and said so in its result."""
    if not isinstance(obj, LinkAddress) or not isinstance(found, LinkAddress):
        return False
    return any(nic.name == obj.dev and nic.mac.lower() == found.mac for nic in previous.interfaces)


def _has_followed(obj: Object, found: Object | None, kernel: NodeKernel) -> bool:
    """Whether a NIC has only taken the lower MTU of the link that it is on, as the kernel lets it."""
    if not isinstance(obj, Macvlan) or not isinstance(found, Macvlan):
        return False
    lower = kernel.link(HOST, obj.lower)
    return lower is not None and lower.mtu == found.mtu < obj.mtu and replace(found, mtu=obj.mtu) == obj


def status(request: Request[C]) -> None:
    """Tries one object of each kind that the plugin makes, in a namespace made for it."""
    config = configured(request).config
    plugin = request.plugin
    if config is not None and isinstance(plugin, MainPlugin):
        _look_at_segments(plugin, config, request)
    elif config is not None and isinstance(plugin, ChainedPlugin) and plugin.forwarded:
        with request.node.kernel("") as kernel:
            for version in plugin.forwarded(config):
                if kernel.underlay("", (ELSEWHERE[version],)):
                    _refuse_without_forwarding(version, "pods", kernel)
    try:
        with request.node.scratch() as kernel:
            apply(request.plugin.needs.objects, kernel)
    except (CniError, OSError) as error:
        raise NotAvailable(
            f"{request.plugin.name} cannot work on this node: {error}",
            "tried in a network namespace that was made for this",
        ) from error


def _look_at_segments(plugin: MainPlugin[C], config: C, request: Request[C]) -> None:
    """NotAvailable where a configured segment could not be joined now, or its IPAM plugin can't serve;
    LimitedConnectivity where the node does not forward what its pods send."""
    call = request.call
    delegated = plugin.given(config, call).delegated if plugin.given else ()
    try:
        for each in delegated:
            forward("STATUS", each.config, request.node, call.path)
        with request.node.kernel("") as kernel:
            for joining in plugin.segments(config):
                joining.node(underlay_of(joining, kernel), ())
                for version in joining.versions:
                    _refuse_without_forwarding(version, f"pods of {joining.name}", kernel)
    except LimitedConnectivity:
        raise
    except CniError as error:
        raise NotAvailable(f"{plugin.name} cannot serve: {error.msg}", error.details) from error


def _refuse_without_forwarding(version: int, whose: str, kernel: NodeKernel) -> None:
    path = FORWARDING[version]
    if kernel.sysctl(HOST, path) == "0":
        name = f"net.{path.replace('/', '.')}"
        raise LimitedConnectivity(
            f"{name} is 0: {whose} reach their network and this node, and nothing else",
            f"sysctl -w {name}=1, and the same in /etc/sysctl.d",
        )
