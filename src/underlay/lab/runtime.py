"""A stand-in for a container runtime: calls a chain of CNI plugins on one node as libcni does.

Nothing but the CNI variables is in a plugin's environment, not even a PATH, and its process is in the
network namespace of the node. The results of ADD are kept, for the DEL, CHECK and GC of a later process.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from underlay.lab.errors import LabError, PluginError
from underlay.lab.namespace import Netns
from underlay.lab.pod import Attachment, Cache, Json, Pod


@dataclass(frozen=True)
class Runtime:
    """The container runtime of one node.

    `bin_dirs` is CNI_PATH, `state_dir` keeps the results of ADD, `environment` is what the daemon would
    hand on besides the CNI variables. A network is the JSON object of a .conflist file.
    """

    node: Netns
    bin_dirs: Sequence[str]
    state_dir: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def add(self, network: Json, pod: Pod, ifname: str = "eth0", **capabilities: Any) -> Json:
        """The result of the chain; `capabilities` (`ips=[…]`) reach the plugins that declare them."""
        result: Json | None = None
        for plugin in network["plugins"]:
            config = configuration(network, plugin, result, capabilities)
            result = json.loads(self.call(plugin["type"], "ADD", config, self._variables(pod, ifname)))
        if result is None:
            raise LabError(f"network {network['name']} has no plugins")
        self.cache.keep(
            Attachment(network["name"], pod.container_id, ifname, pod.netns.path, result, capabilities)
        )
        return result

    def check(self, network: Json, pod: Pod, ifname: str = "eth0") -> None:
        """Calls CHECK of each plugin with the cached result; PluginError names what differs."""
        kept = self.attachment(network, pod, ifname)
        for plugin in network["plugins"]:
            self.call(plugin["type"], "CHECK", again(network, plugin, kept), self._variables(pod, ifname))

    def delete(self, network: Json, pod: Pod, ifname: str = "eth0") -> None:
        """Calls DEL in reverse order and forgets the result; a second call has none to send."""
        kept = self.attachment(network, pod, ifname)
        variables = self._variables(pod, ifname)
        if not pod.netns.exists:
            variables["CNI_NETNS"] = ""  # what runtimes send when the namespace is gone
        for plugin in reversed(network["plugins"]):
            self.call(plugin["type"], "DEL", again(network, plugin, kept), variables)
        self.forget(network, pod, ifname)

    def forget(self, network: Json, pod: Pod, ifname: str = "eth0") -> None:
        """Loses the cached result as a runtime may lose its state: DEL then comes without prevResult."""
        self.cache.forget(self._key(network, pod, ifname))

    def gc(self, network: Json, valid: Sequence[Attachment] = ()) -> None:
        """Calls GC of each plugin; all attachments of the network but the valid ones are forgotten."""
        keep = [{"containerID": each.container_id, "ifname": each.ifname} for each in valid]
        for plugin in network["plugins"]:
            config = again(network, plugin, None)
            config |= {"cni.dev/valid-attachments": keep, "cni.dev/attachments": keep}
            self.call(plugin["type"], "GC", config, self._path())
        for each in self.cache.all():
            if each.network == network["name"] and each not in valid:
                self.cache.forget(each.key)

    def status(self, network: Json) -> None:
        """Calls STATUS of each plugin; PluginError says what is not available."""
        for plugin in network["plugins"]:
            self.call(plugin["type"], "STATUS", again(network, plugin, None), self._path())

    def version(self, plugin: str, cni_version: str = "1.0.0") -> Json:
        """What a plugin says that it supports."""
        answer: Json = json.loads(self.call(plugin, "VERSION", {"cniVersion": cni_version}, self._path()))
        return answer

    def call(self, plugin: str, verb: str, config: Json, variables: Mapping[str, str]) -> str:
        """One execution of one plugin: its standard output, or PluginError with what it answered."""
        environment = {**self.environment, **variables, "CNI_COMMAND": verb}
        with self.node.entered():
            done = subprocess.run(
                [self.find(plugin)], input=json.dumps(config), env=environment,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        if done.returncode:
            raise refusal(plugin, verb, done.stdout, done.stderr)
        return done.stdout

    def find(self, plugin: str) -> str:
        """The path of a plugin's executable."""
        for directory in self.bin_dirs:
            if os.access(path := os.path.join(directory, plugin), os.X_OK):
                return path
        raise LabError(f"no CNI plugin {plugin} in {', '.join(self.bin_dirs)}")

    def attachment(self, network: Json, pod: Pod, ifname: str = "eth0") -> Attachment | None:
        """What is known of an ADD; None when there was none, or its DEL is done."""
        return self.cache.find(self._key(network, pod, ifname))

    @property
    def cache(self) -> Cache:
        return Cache(os.path.join(self.state_dir, "results"))

    def _key(self, network: Json, pod: Pod, ifname: str) -> str:
        return Attachment(network["name"], pod.container_id, ifname, "", {}).key

    def _variables(self, pod: Pod, ifname: str) -> dict[str, str]:
        return {
            **self._path(),
            "CNI_CONTAINERID": pod.container_id,
            "CNI_NETNS": pod.netns.path,
            "CNI_IFNAME": ifname,
            "CNI_ARGS": pod.cni_args,
        }

    def _path(self) -> dict[str, str]:
        return {"CNI_PATH": ":".join(self.bin_dirs)}


def configuration(network: Json, plugin: Json, result: Json | None, capabilities: Json) -> Json:
    """What one plugin of a chain reads on stdin (CNI specification, section 4: execution configuration)."""
    config = {**plugin, "name": network["name"], "cniVersion": network["cniVersion"]}
    declared = [key for key, supported in plugin.get("capabilities", {}).items() if supported]
    if given := {key: capabilities[key] for key in declared if key in capabilities}:
        config["runtimeConfig"] = given
    if result is not None:
        config["prevResult"] = result
    return config


def again(network: Json, plugin: Json, kept: Attachment | None) -> Json:
    """The same for a later call, with what was kept of ADD; prevResult came with version 0.4.0."""
    if kept is None:
        return configuration(network, plugin, None, {})
    result = kept.result if network["cniVersion"] >= "0.4.0" else None
    return configuration(network, plugin, result, kept.capabilities)


def refusal(plugin: str, verb: str, stdout: str, stderr: str) -> PluginError:
    """The error that a plugin printed, or what is left of it when that is no JSON."""
    try:
        answer = json.loads(stdout)
        return PluginError(plugin, verb, answer["code"], answer["msg"], answer.get("details", ""))
    except (ValueError, KeyError, TypeError):
        said = stdout.strip() or "nothing"
        return PluginError(plugin, verb, 999, f"it failed and printed no error: {said}", stderr.strip())
