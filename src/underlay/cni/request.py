"""One call of one plugin, and what every verb asks of it first: its configuration, its pod, its facts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic

from underlay.cni.call import Call
from underlay.cni.errors import CniError, InvalidConfig, InvalidEnvironment, InvalidNetns
from underlay.cni.keys import Keys, log_options
from underlay.cni.plugin import Attachment, C, ChainedPlugin, Node, Plugin
from underlay.cni.result import Result, parse
from underlay.cni.scene import Scene
from underlay.facts import Facts
from underlay.log import Log
from underlay.objects import POD, Route
from underlay.plan import Plan
from underlay.records import Record, record_name

Json = dict[str, Any]
NOTHING = Plan(())


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

    def record_of(self, attachment: Attachment, plan: Plan = NOTHING, inputs: str = "") -> Record:
        """A new record of the call's attachment."""
        return Record(
            plugin=self.plugin.name,
            network=attachment.network,
            container_id=attachment.container_id,
            ifname=attachment.ifname,
            netns=attachment.netns,
            netns_id=attachment.netns_id,
            inputs=inputs,
            created=int(time.time()),
            plan=plan,
        )

    @contextmanager
    def scene(self) -> Iterator[Scene]:
        """The pod of the call, under its lock."""
        with (
            self.node.kernel(self.call.netns) as kernel,
            self.node.records.pod(self.call.container_id) as pod,
        ):
            yield Scene(self.node, kernel, pod, self.log, self.call.path)


def keys_of(request: Request[C]) -> Keys:
    return Keys(request.call.config, request.plugin.aliases)


def parsed(request: Request[C], keys: Keys) -> C | None:
    """The configuration, checked; None where it asks for nothing to be done, whatever else it holds."""
    config = request.plugin.parse(keys)
    if config is not None:
        log_options(keys, "")
    return config


def usable(request: Request[C]) -> C | None:
    """The configuration, if it still is one: an unusable one never makes DEL fail."""
    try:
        return parsed(request, keys_of(request))
    except CniError:
        return None


def attachment_of(request: Request[C], previous: Result | None = None) -> Attachment:
    """The attachment of an ADD or CHECK, whose pod must be there."""
    call = request.call
    refuse_own_namespace(request)
    netns_id = request.node.netns_id(call.netns)
    if not netns_id:
        raise InvalidEnvironment(
            f'CNI_NETNS: "{call.netns}" is not a network namespace',
            "it has to be the pod's, and still there",
        )
    return Attachment(call.container_id, call.ifname, call.network, call.netns, previous, netns_id)


def previous_of(request: Request[C]) -> Result:
    if request.call.prev_result is None:
        if not isinstance(request.plugin, ChainedPlugin):
            raise InvalidConfig(
                f"prevResult is missing: CHECK of {request.plugin.name} compares with what its ADD answered",
                "the runtime has to keep that and pass it on",
            )
        raise InvalidConfig(
            f"prevResult is missing: {request.plugin.name} is a chained plugin",
            f"list it behind the plugin that makes {request.call.ifname}, such as macvlan or sriov",
        )
    return parse(request.call.prev_result, request.call.cni_version)


def refuse_own_namespace(request: Request[C]) -> None:
    netns = request.call.netns
    if netns and request.node.is_own(netns):
        raise InvalidNetns(
            f'CNI_NETNS: "{netns}" is the node\'s own network namespace',
            "a pod on the host network has no attachment; nothing was changed",
        )


def facts_for(
    plugin: ChainedPlugin[C], request: Request[C], config: C, attachment: Attachment, scene: Scene
) -> Facts:
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
    facts = scene.kernel.facts(nic, [ip.address.ip for ip in given], siblings, other_name(plugin, config))
    displaced = [obj for taken in scene.pod.displaced().values() for obj in taken.objects]
    routes = (*facts.pod_routes, *(obj for obj in displaced if isinstance(obj, Route)))
    return replace(facts, pod_routes=routes)


def other_name(plugin: Plugin[C], config: C) -> str:
    return plugin.other_nic(config) if isinstance(plugin, ChainedPlugin) and plugin.other_nic else ""
