"""One call of one plugin, and what every verb asks of it first: its configuration, its pod, its facts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import field, replace
from functools import partial
from typing import Any, Generic

from underlay.cni.call import VALID_ATTACHMENTS, Call
from underlay.cni.errors import CniError, InvalidConfig, InvalidEnvironment, InvalidNetns
from underlay.cni.keys import Keys, log_options
from underlay.cni.phases import Phases
from underlay.cni.plugin import Attachment, C, ChainedPlugin, Node, Plugin
from underlay.cni.result import Result, parse
from underlay.cni.scene import Scene
from underlay.facts import Facts
from underlay.log import Log
from underlay.objects import IP, POD, Route
from underlay.plan import Plan
from underlay.record import Record, record_name
from underlay.store import ENCODER
from underlay.values import dataclass

Json = dict[str, Any]
NOTHING = Plan(())
OF_THE_CALL = {
    "prevresult",
    "args",
    "runtimeconfig",
    *VALID_ATTACHMENTS,
}  # what the runtime adds to a configuration
MOST_READ, LONGEST_READ = 256, 1 << 16  # so many configurations of so many characters are kept


@dataclass(frozen=True, slots=True)
class Request(Generic[C]):
    """One call of one plugin on one node.

    `notes` are for its line in the log. `until_answered` holds what is let go when the answer is out, and
    `afterwards` is what is done then; none of it raises.
    """

    plugin: Plugin[C]
    call: Call
    node: Node
    log: Log
    phases: Phases = field(default_factory=Phases)
    notes: list[str] = field(default_factory=list)
    until_answered: ExitStack = field(default_factory=ExitStack)
    afterwards: list[Callable[[], None]] = field(default_factory=list)

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
            pod=self.call.pod,
        )

    def scene(self) -> Scene:
        """The pod of the call, under its lock, which is held until the answer is out."""
        kernel = self.until_answered.enter_context(self.node.kernel(self.call.netns))
        pod = self.until_answered.enter_context(self.node.records.pod(self.call.container_id))
        self.node.refuse_abandoned()
        return Scene(self.node, kernel, pod, self.log, self.call.path)

    def announce_afterwards(self, mac: str, addresses: tuple[IP, ...]) -> None:
        """Makes reused addresses of the NIC reachable at once, when the answer is out."""
        self.afterwards.append(partial(self._announce, mac, addresses))

    def _announce(self, mac: str, addresses: tuple[IP, ...]) -> None:
        """What is attached stays so where that fails."""
        try:
            with self.node.kernel(self.call.netns) as kernel:
                kernel.announce(self.call.ifname, mac, addresses)
        except CniError as error:
            self.log.event("announce", "warning", message=error.msg)


@dataclass(frozen=True, slots=True)
class Configured(Generic[C]):
    """A configuration, checked, and what a log should say of keys that nobody asked for.

    None where it asks for nothing to be done, whatever else it holds.
    """

    config: C | None
    unknown: tuple[str, ...]


_READ: dict[tuple[str, str], Configured[Any]] = {}  # by plugin and configuration


def configured(request: Request[C]) -> Configured[C]:
    """The configuration of a call. It is the same in each call for a network, but for what the runtime
    adds, so a process that answers many reads it once."""
    own = {k: v for k, v in request.call.config.items() if k.casefold() not in OF_THE_CALL}
    place = request.plugin.name, ENCODER.encode(own)
    read = _READ.get(place)
    if read is None:
        keys = Keys(own, request.plugin.aliases)
        config = request.plugin.parse(keys)
        if config is not None:
            log_options(keys, "")
        if len(_READ) >= MOST_READ:
            _READ.clear()
        read = Configured(config, tuple(keys.unknown()))
        if len(place[1]) <= LONGEST_READ:
            _READ[place] = read
    return read


def usable(request: Request[C]) -> C | None:
    """The configuration, if it still is one: an unusable one never makes DEL fail."""
    try:
        return configured(request).config
    except CniError:
        return None


def attachment_of(request: Request[C]) -> Attachment:
    """The attachment of an ADD or CHECK, whose pod must be there."""
    return _attachment(request, request.node.netns_id(request.call.netns), None)


def attachment_in(scene: Scene, request: Request[C], previous: Result | None = None) -> Attachment:
    """The same where the pod's namespace has been opened already."""
    return _attachment(request, scene.kernel.identity(POD), previous)


def _attachment(request: Request[C], netns_id: str, previous: Result | None) -> Attachment:
    call = request.call
    refuse_own_namespace(request)
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


def netns_to_clean(request: Request[C], recorded_id: str | None) -> str:
    """The namespace of a DEL if it is this container's; a path may lead to another pod's by now.

    `recorded_id` is that of the namespace in the record, None where there is no record.
    """
    records, call = request.node.records, request.call
    netns_id = request.node.netns_id(call.netns)
    if recorded_id is not None:
        return call.netns if netns_id == recorded_id else ""
    owners = records.netns_owners(netns_id) if netns_id else set()
    return call.netns if owners <= {call.container_id} else ""


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
    if not displaced:
        return facts
    routes = (*facts.pod_routes, *(obj for obj in displaced if isinstance(obj, Route)))
    return replace(facts, pod_routes=routes)


def other_name(plugin: Plugin[C], config: C) -> str:
    return plugin.other_nic(config) if isinstance(plugin, ChainedPlugin) and plugin.other_nic else ""
