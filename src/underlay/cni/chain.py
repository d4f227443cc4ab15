"""Runs the chain of plugins of one NIC as a runtime does (CNI SPEC 1.1.0, sections 3 and 4).

Plugins of ours run in this process, each with a request of its own; all others are executed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from underlay.cni.call import VALID_ATTACHMENTS, Call
from underlay.cni.errors import CniError, DecodingFailure, InvalidConfig
from underlay.cni.execute import UNKNOWN_COMMAND, execute, found_in
from underlay.cni.logs import log_of
from underlay.cni.plugin import Node, Plugin
from underlay.cni.request import Json, Request
from underlay.cni.scene import Scene
from underlay.log import Log
from underlay.networks.conflist import Conflist, ipam_type
from underlay.networks.delegates import Delegate
from underlay.values import dataclass

OF_THE_RUNTIME = "cni.dev/"  # keys that begin so are dropped, as `capabilities` is
Valid = tuple[tuple[str, str], ...] | None  # attachments, as GC is told them


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: for which pod, on which node, and how plugins are found and our own are run.

    `netns` is "" where the pod's namespace is gone, or not this pod's any more.
    """

    node: Node
    log: Log
    path: tuple[str, ...]
    own: Mapping[str, Plugin[Any]]
    run: Callable[[Request[Any]], Json | None]
    container_id: str = ""
    netns: str = ""

    @contextmanager
    def scene(self) -> Iterator[Scene]:
        """The pod, under its lock, which none of the plugins that are called may need meanwhile."""
        with (
            self.node.kernel(self.netns) as kernel,
            self.node.records.pod(self.container_id) as pod,
        ):
            yield Scene(self.node, kernel, pod, self.log, self.path)

    def lacks(self, conflist: Conflist) -> list[str]:
        """The plugins of a chain that are neither ours nor installed, and the IPAM plugins of these."""
        foreign = [plugin for plugin in conflist.plugins if plugin["type"] not in self.own]
        needed = [kind for plugin in foreign for kind in (plugin["type"], ipam_type(plugin)) if kind]
        return [kind for kind in needed if found_in(self.path, kind, self.node) is None]


def add(delegate: Delegate, caller: Caller, made: Callable[[Json], Json]) -> Json:
    """The result of the chain. `made` is given that of the first plugin, which makes the NIC, and gives
    what the others shall see. What was begun is left for `delete`."""
    result: Json | None = None
    for plugin in delegate.conflist.plugins:
        is_first = result is None
        answer = _called("ADD", plugin, delegate, caller, result)
        if answer is None:
            raise DecodingFailure(f"{plugin['type']}: its ADD has printed no result")
        result = made(answer) if is_first else answer
    return {"cniVersion": delegate.conflist.cni_version, **(result or {})}


def check(delegate: Delegate, caller: Caller) -> None:
    """A plugin that has no CHECK yet in the version of the chain is not asked, unless it is ours."""
    conflist = delegate.conflist
    for plugin in () if conflist.disable_check else conflist.plugins:
        if conflist.speaks("0.4.0") or plugin["type"] in caller.own:
            _called("CHECK", plugin, delegate, caller, delegate.result)


def delete(delegate: Delegate, caller: Caller) -> None:
    """In reverse. A failure ends it: what the other plugins have given may still be in use."""
    conflist = delegate.conflist
    for plugin in reversed(conflist.plugins):
        is_told = bool(delegate.result) and (conflist.speaks("0.4.0") or plugin["type"] in caller.own)
        _called("DEL", plugin, delegate, caller, delegate.result if is_told else None)


def installed(conflist: Conflist, caller: Caller) -> Conflist:
    """The chain without the plugins that are not there, or whose IPAM plugin is not."""
    there = (each for each in conflist.plugins if not caller.lacks(replace(conflist, plugins=(each,))))
    return replace(conflist, plugins=tuple(there))


def collect(conflist: Conflist, valid: Valid, caller: Caller) -> list[CniError]:
    """GC of every plugin, whatever becomes of the others; returns the failures."""
    if conflist.disable_gc:
        return []
    nobody = Delegate("", conflist.name, conflist)
    extra: Json = {} if valid is None else dict.fromkeys(VALID_ATTACHMENTS, _listed(valid))
    return _asked("GC", _newest(installed(conflist, caller), caller), nobody, caller, extra, valid)


def status(conflist: Conflist, caller: Caller) -> list[CniError]:
    """What keeps the plugins from serving, one error for each."""
    missing: list[CniError] = [not_found(kind, caller) for kind in caller.lacks(conflist)]
    there = _newest(installed(conflist, caller), caller)
    return missing + _asked("STATUS", there, Delegate("", conflist.name, conflist), caller, {}, None)


def _newest(conflist: Conflist, caller: Caller) -> Iterable[Json]:
    """The plugins that know the verbs of 1.1.0: those that are spoken to in it, and ours in any case."""
    if conflist.speaks("1.1.0"):
        return conflist.plugins
    return [plugin for plugin in conflist.plugins if plugin["type"] in caller.own]


def _asked(
    verb: str, plugins: Iterable[Json], whose: Delegate, caller: Caller, extra: Json, valid: Valid
) -> list[CniError]:
    failures: list[CniError] = []
    for plugin in plugins:
        try:
            _call(verb, plugin, whose, caller, extra, valid)
        except CniError as error:
            if error.code != UNKNOWN_COMMAND:
                failures.append(error)
    return failures


def _listed(valid: tuple[tuple[str, str], ...]) -> list[Json]:
    return [{"containerID": container_id, "ifname": ifname} for container_id, ifname in valid]


def _called(
    verb: str, plugin: Json, delegate: Delegate, caller: Caller, previous: Json | None
) -> Json | None:
    return _call(verb, plugin, delegate, caller, {} if previous is None else {"prevResult": previous}, None)


def _call(
    verb: str, plugin: Json, delegate: Delegate, caller: Caller, extra: Json, valid: Valid
) -> Json | None:
    config = {**configuration(plugin, delegate), **extra}
    own = caller.own.get(plugin["type"])
    if own:
        return caller.run(_request(verb, own, config, delegate, caller, valid))
    file = found_in(caller.path, plugin["type"], caller.node)
    if file is None:
        raise not_found(plugin["type"], caller)
    return execute(plugin["type"], file, verb, config, _variables(verb, delegate, caller), caller.node)


def configuration(plugin: Json, delegate: Delegate) -> Json:
    """What a plugin reads (SPEC, section 4, "Deriving execution configuration"), but for prevResult."""
    config = {
        key: value
        for key, value in plugin.items()
        if key != "capabilities" and not key.startswith(OF_THE_RUNTIME)
    }
    config |= {"name": delegate.conflist.name, "cniVersion": delegate.conflist.cni_version}
    if given := runtime_config(plugin, delegate.capabilities):
        config["runtimeConfig"] = given
    return config


def runtime_config(plugin: Json, capabilities: Json) -> Json:
    """Of what there is to give, all that the plugin declares."""
    declared = plugin.get("capabilities")
    if not isinstance(declared, dict):
        return {}
    return {key: value for key, value in capabilities.items() if declared.get(key) is True}


def _request(
    verb: str, own: Plugin[Any], config: Json, delegate: Delegate, caller: Caller, valid: Valid
) -> Request[Any]:
    call = Call(
        command=verb,
        container_id=caller.container_id,
        netns=caller.netns,
        ifname=delegate.ifname,
        path=caller.path,
        args=delegate.args,
        config=config,
        cni_version=delegate.conflist.cni_version,
        network=delegate.conflist.name,
        prev_result=config.get("prevResult"),
        valid_attachments=valid,
    )
    return Request(own, call, caller.node, log_of(own.name, call, caller.log.another))


def _variables(verb: str, delegate: Delegate, caller: Caller) -> dict[str, str]:
    path = {"CNI_PATH": os.pathsep.join(caller.path)}
    if verb in ("GC", "STATUS"):
        return path
    return {
        **path,
        "CNI_CONTAINERID": caller.container_id,
        "CNI_NETNS": caller.netns,
        "CNI_IFNAME": delegate.ifname,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in delegate.args.items()),
    }


def not_found(kind: str, caller: Caller) -> InvalidConfig:
    return InvalidConfig(
        f'"{kind}" is an executable in none of {os.pathsep.join(caller.path)}',
        "install that plugin there, or name its directory in binDir",
    )


def located(error: CniError, place: str) -> CniError:
    """The same error, which says at which NIC or network it was."""
    found = type(error)(f"{place}: {error.msg}", error.details)
    for note in getattr(error, "__notes__", ()):
        found.add_note(note)
    return found
