"""What a call of a meta plugin needs before it calls others: its setting, the pod, the networks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, cast

from underlay.cni.call import POD_ANNOTATIONS
from underlay.cni.chain import Caller
from underlay.cni.cluster import PodObject
from underlay.cni.document import get
from underlay.cni.errors import InvalidConfig, TryAgainLater
from underlay.cni.plugin import C, MetaPlugin, Node, Setting
from underlay.cni.request import Json, Request, configured, usable
from underlay.networks.catalogue import Catalogue
from underlay.networks.delegates import Delegate
from underlay.values import dataclass

Run = Callable[[Request[Any]], Json | None]


@dataclass(frozen=True, slots=True)
class Calling(Generic[C]):
    """A call of a meta plugin that is configured."""

    plugin: MetaPlugin[C]
    request: Request[C]
    config: C
    setting: Setting
    caller: Caller

    @property
    def catalogue(self) -> Catalogue:
        node = self.request.node
        return Catalogue(self.setting.sources, self.request.call.cni_version, node.cluster, node.root)

    def pod(self) -> PodObject:
        """The pod of the call, with its annotations: as the runtime gives them, else as the API does."""
        call, kubeconfig = self.request.call, self.setting.sources.kubeconfig
        namespace, name, uid = (
            call.args.get(f"K8S_POD_{each}", "") for each in ("NAMESPACE", "NAME", "UID")
        )
        given = _given_annotations(call.config)
        if given is not None or kubeconfig is None or not name:
            return PodObject(namespace, name, uid, given or {})
        return self.request.node.cluster(kubeconfig).pod(namespace, name, uid)

    def delegates(self, annotations: Mapping[str, str]) -> tuple[Delegate, ...]:
        """What the pod shall get."""
        return self.plugin.delegates(self.config, self.request.call, annotations, self.catalogue)


def calling(plugin: MetaPlugin[C], request: Request[C], run: Run) -> Calling[C]:
    """Raises what is wrong with the configuration."""
    config = configured(request).config
    if config is None:
        raise InvalidConfig(
            f"the configuration asks {plugin.name} for nothing", "a pod without it has no network"
        )
    setting = plugin.setting(config)
    return Calling(plugin, request, config, setting, caller_of(plugin, request, run, setting.bin_dir))


def caller_of(plugin: MetaPlugin[C], request: Request[C], run: Run, *directories: str) -> Caller:
    """Who calls for the pod of a request: plugins are looked for in the directories, then in CNI_PATH."""
    call = request.call
    path = tuple(dict.fromkeys(filter(None, (*directories, *call.path))))
    return Caller(request.node, request.log, path, plugin.own, run, call.container_id, call.netns)


def usable_calling(plugin: MetaPlugin[C], request: Request[C], run: Run) -> Calling[C] | None:
    """None where the configuration is not usable any more: that never makes DEL fail."""
    return calling(plugin, request, run) if usable(request) is not None else None


def refuse_unready(this: Calling[C]) -> None:
    """TryAgainLater where the file that tells of the default network's readiness is not there."""
    setting = this.setting
    if setting.ready_file and not os.path.exists(this.request.node.root + setting.ready_file):
        raise TryAgainLater(
            f"readinessIndicatorFile: {setting.ready_file} is not there",
            "the default network writes it when it can serve; the runtime calls again by itself",
        )


class Finishing:
    """The node of a call that has to be finished, whether or not somebody still waits for its answer."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def refuse_abandoned(self) -> None:
        """What was begun must be taken back; nobody else will come for it."""


def finishing(caller: Caller) -> Caller:
    """The same caller, whose plugins do not ask any more whether somebody waits."""
    return replace(caller, node=cast(Node, Finishing(caller.node)))


def _given_annotations(config: Json) -> dict[str, str] | None:
    """None where the runtime gives none; null is how some write an empty object."""
    runtime = get(config, "runtimeConfig")
    if not isinstance(runtime, dict) or POD_ANNOTATIONS not in runtime:
        return None
    given = runtime[POD_ANNOTATIONS] or {}
    if not isinstance(given, dict):
        raise InvalidConfig(f"runtimeConfig.{POD_ANNOTATIONS} is not an object of names and texts")
    return {key: each for key, each in given.items() if isinstance(each, str)}
