"""CHECK and STATUS: look, and change nothing."""

from __future__ import annotations

from underlay.cni.errors import CniError, Drift, NotAvailable
from underlay.cni.plugin import C
from underlay.cni.request import Request, attachment_of, facts_for, keys_of, parsed, previous_of
from underlay.cni.result import Result
from underlay.objects import LinkAddress, Object
from underlay.plan import apply, missing


def check(request: Request[C]) -> None:
    """Compares what ADD recorded with what is there; Drift names each thing that isn't."""
    config = parsed(request, keys_of(request))
    if config is None:
        return
    previous = previous_of(request)
    attachment = attachment_of(request, previous)
    with request.scene() as scene:
        record = scene.pod.read(request.record_name)
        if record:
            plan = record.plan
        else:
            plan = request.plugin.plan(config, attachment, facts_for(request, config, attachment, scene))
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


def status(request: Request[C]) -> None:
    """Tries one object of each kind that the plugin makes, in a namespace made for it."""
    parsed(request, keys_of(request))
    try:
        with request.node.scratch() as kernel:
            apply(request.plugin.needs.objects, kernel)
    except (CniError, OSError) as error:
        raise NotAvailable(
            f"{request.plugin.name} cannot work on this node: {error}",
            "tried in a network namespace that was made for this",
        ) from error
