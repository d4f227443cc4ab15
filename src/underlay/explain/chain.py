"""What ADD of a chain would do for one NIC, plugin by plugin. Nothing is changed, nothing recorded.

Facts are those of the node, and of the pod where there is one. A NIC that is not there is imagined; without
a pod, in a namespace that is made for the question and gone with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from underlay import netns
from underlay.cni.call import read_call
from underlay.cni.errors import InvalidConfig
from underlay.cni.plugin import Attachment, C, ChainedPlugin, IpamPlugin, MainPlugin
from underlay.cni.request import Request, configured, facts_for, other_name, previous_of
from underlay.cni.result import Result, render
from underlay.cni.scene import Scene
from underlay.explain.example import MAC, example, result_of
from underlay.explain.grouping import Group, groups
from underlay.explain.network import claimed, joined
from underlay.facts import Facts
from underlay.log import Log, LogOptions
from underlay.netlink.facts import NodeKernel
from underlay.objects import HOST, POD
from underlay.objects.link import Link
from underlay.oneshot import HostNode
from underlay.plan import Plan
from underlay.plugins import PLUGINS
from underlay.plugins.routetable import NAMES as OWN_IPAM
from underlay.values import dataclass

Json = dict[str, Any]
CONTAINER = "CONTAINERID"  # of a pod that is imagined: what is named after it shows where
NOWHERE = "/no/pod"
IMAGINED = "the NIC is imagined: with --netns it is looked at"


@dataclass(frozen=True, slots=True)
class Question:
    """A network as the JSON of a conflist, and for whom. `netns` is the path of a pod's namespace, "" for an
    imagined one; `previous` is what the plugin before ours has answered; `args` are CNI_ARGS."""

    network: Json
    ifname: str
    netns: str = ""
    previous: Json | None = None
    args: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What one plugin of the chain would do; `remarks` are sentences about it."""

    plugin: str
    groups: tuple[Group, ...] = ()
    remarks: tuple[str, ...] = ()


def steps(question: Question, node: HostNode) -> Iterator[Step]:
    """CniError where ADD would fail, as it would."""
    with _pod(question, node) as (kernel, container):
        walk = _Walk(question, node, kernel, container)
        for plugin in _plugins(question.network):
            yield walk.step(plugin)


def _plugins(network: Json) -> list[Json]:
    """Those of a chain; a configuration of one plugin is a chain too."""
    plugins = network.get("plugins", [network])
    if not isinstance(plugins, list) or not all(
        isinstance(each, dict) and each.get("type") for each in plugins
    ):
        raise InvalidConfig("plugins: this is no list of objects that each have a type", "give a conflist")
    return plugins


@contextmanager
def _pod(question: Question, node: HostNode) -> Iterator[tuple[NodeKernel, str]]:
    """The pod's kernel, and its container: the one that is on record there."""
    with node.kernel("") as host:
        if question.netns:
            owners = sorted(node.records.netns_owners(node.netns_id(question.netns)))
            with node.kernel(question.netns) as kernel:
                if not kernel.has(POD):
                    raise InvalidConfig(f"--netns: {question.netns} is no network namespace")
                yield kernel, owners[0] if owners else CONTAINER
            return
        empty = netns.new_netns()
        try:
            kernel = NodeKernel(host.netns_fd(HOST), empty)
            yield kernel, CONTAINER
            kernel.close()
        finally:
            os.close(empty)


class _Walk:
    """Along a chain; `_previous` is what the plugins so far have answered."""

    def __init__(self, question: Question, node: HostNode, kernel: NodeKernel, container: str) -> None:
        self._question = question
        self._node = node
        self._kernel = kernel
        self._container = container
        self._previous = question.previous or result_of(
            kernel, question.ifname, question.netns, self._version
        )

    @property
    def _version(self) -> str:
        return str(self._question.network.get("cniVersion", ""))

    def step(self, config: Json) -> Step:
        if config["type"] not in PLUGINS:
            return self._of_others(config)
        request = self._request(config["type"], config)
        match request.plugin:
            case ChainedPlugin():
                return self._chained(request.plugin, request)
            case MainPlugin():
                self._previous, made, remarks = joined(
                    request.plugin, request, self._attachment(request), self._kernel
                )
                return Step(config["type"], made, remarks)
            case _:
                return Step(
                    config["type"], remarks=("explain each of the networks that it names by itself",)
                )

    def _of_others(self, config: Json) -> Step:
        """A plugin that is not ours, and an IPAM of ours behind it."""
        remarks = ["not ours: it does its own work"]
        if self._previous is None:
            found = example(config, self._question.ifname, self._question.netns or NOWHERE, self._version)
            self._previous = found.result
            remarks.append(found.source)
        ipam = config.get("ipam")
        if not (isinstance(ipam, dict) and ipam.get("type") in OWN_IPAM):
            return Step(config["type"], remarks=tuple(remarks))
        plugin = PLUGINS["routetable"]
        if not isinstance(plugin, IpamPlugin):
            raise TypeError("routetable is an IPAM plugin")
        request = self._request("routetable", config)
        claims, sources = claimed(plugin, request, self._kernel)
        return Step(f"{config['type']}, with routetable", claims, (*remarks, *sources))

    def _request(self, name: str, config: Json) -> Request[Any]:
        """The call that a runtime would make."""
        question = self._question
        stdin = {**config, "name": question.network.get("name"), "cniVersion": self._version}
        if self._previous is not None:
            stdin["prevResult"] = self._previous
        env = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": self._container,
            "CNI_NETNS": question.netns or NOWHERE,
            "CNI_IFNAME": question.ifname,
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": question.args,
        }
        call = read_call(env, json.dumps({k: v for k, v in stdin.items() if v is not None}).encode())
        return Request(PLUGINS[name], call, self._node, Log(LogOptions(file=os.devnull)))

    def _attachment(self, request: Request[Any], previous: Result | None = None) -> Attachment:
        call = request.call
        return Attachment(call.container_id, call.ifname, call.network, call.netns, previous)

    def _chained(self, plugin: ChainedPlugin[C], request: Request[C]) -> Step:
        read = configured(request)
        if read.config is None:
            return Step(plugin.name, remarks=("skip_call: it does nothing",))
        previous = previous_of(request)
        attachment = self._attachment(request, previous)
        pod = self._node.records.glimpsed(request.call.container_id)
        scene = Scene(self._node, self._kernel, pod, request.log)
        facts, remarks = self._facts(plugin, request, read.config, attachment, scene)
        plan = plugin.plan(read.config, attachment, facts)
        self._previous = render(previous, request.call.cni_version)
        made = tuple(groups(plan.objects))
        return Step(plugin.name, made, (*remarks, *_about_main(plan), *plan.notes, *read.unknown))

    def _facts(
        self, plugin: ChainedPlugin[C], request: Request[C], config: C, attachment: Attachment, scene: Scene
    ) -> tuple[Facts, tuple[str, ...]]:
        if scene.kernel.link(POD, attachment.ifname):
            return facts_for(plugin, request, config, attachment, scene), ()
        nic = Link(2, attachment.ifname, MAC, 1500, True, 0, {4: (), 6: ()})
        ips = attachment.previous.addresses_of(attachment.ifname) if attachment.previous else ()
        siblings = [record.plan for record in scene.pod.all() if record.name != request.record_name]
        facts = self._kernel.facts(nic, [ip.address.ip for ip in ips], siblings, other_name(plugin, config))
        named = f"what is named after the container has {CONTAINER} for its id"
        return facts, (IMAGINED, *([named] if self._container == CONTAINER else []))


def _about_main(plan: Plan) -> Iterator[str]:
    for default in plan.defaults:
        if default.takes_over or len(plan.defaults) == 1:
            yield (
                f"who has the default route of the main table is settled among all NICs of the pod;"
                f" {default.dev} has migrate_route {default.migrate}"
            )
