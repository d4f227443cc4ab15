"""The pods of one node under containerd: what a kubelet does with them, and their namespaces by name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex

from underlay.lab.containerd.cri import Cri, Done, Mount, Sandbox, SandboxConfig
from underlay.lab.containerd.daemon import Containerd
from underlay.lab.containerd.image import NAME, SLEEP
from underlay.lab.errors import LabError
from underlay.lab.namespace import DIRECTORY, Netns

NO_ANNOTATIONS: Mapping[str, str] = {}


@dataclass(frozen=True)
class Pods:
    """`prefix` is that of their namespaces' names; their containers see `mounts`."""

    daemon: Containerd
    prefix: str
    mounts: Sequence[Mount] = ()

    def run(self, name: str, annotations: Mapping[str, str] = NO_ANNOTATIONS) -> Sandbox:
        """Starts a pod with one container; what is half made is taken back."""
        return self._run(name, annotations, attempt=0)

    def renew(self, name: str) -> Sandbox:
        """Gives a pod another sandbox, as a kubelet does when the last one has ended."""
        last = self.find(name)
        self.cri.stop_sandbox(last.id)
        made = self._run(name, last.annotations, last.attempt + 1)
        self.cri.remove_sandbox(last.id)
        return made

    def remove(self, name: str) -> None:
        """Ends a pod, and all its sandboxes."""
        for sandbox in self._sandboxes(name):
            self.cri.stop_sandbox(sandbox.id)
            self.cri.remove_sandbox(sandbox.id)
        self._unlink(name)

    def restart_container(self, name: str) -> None:
        """Ends the pod's container and starts another, in the same sandbox."""
        sandbox = self.find(name)
        for container in self.cri.containers(sandbox.id):
            self.cri.remove_container(container)
        self._start(sandbox.id, self._config(name, sandbox.annotations, sandbox.attempt))

    def kill(self, name: str) -> None:
        """Kills the first process of the pod's sandbox behind the runtime's back."""
        details = json.loads(self.cri.details(self.find(name).id))
        self.daemon.space.run("kill", "-KILL", str(details["pid"]))

    def find(self, name: str) -> Sandbox:
        """The pod's newest sandbox; LabError where there is none."""
        if found := self._sandboxes(name):
            return found[-1]
        raise LabError(f"there is no pod {name} on {self.daemon.space.netns.name}")

    def all(self) -> list[Sandbox]:
        return self.cri.sandboxes()

    def netns(self, name: str) -> Netns:
        """The pod's network namespace, by a name that the commands of iproute2 take."""
        return Netns(self.prefix + name)

    def container(self, name: str) -> str:
        """The one that runs in the pod; LabError where none does."""
        for container, runs in self.cri.containers(self.find(name).id).items():
            if runs:
                return container
        raise LabError(f"no container runs in pod {name}")

    def execute(self, name: str, *command: str) -> Done:
        """Runs a command in the pod's container to its end."""
        return self.cri.execute(self.container(name), command)

    def entering(self, name: str, *options: str) -> list[str]:
        """What runs a command in the pod's container, with its streams, once: the command's beginning."""
        ident = f"lab-{token_hex(8)}"
        return [*self.daemon.client, "tasks", "exec", "--exec-id", ident, *options, self.container(name)]

    @property
    def cri(self) -> Cri:
        return self.daemon.cri

    def _run(self, name: str, annotations: Mapping[str, str], attempt: int) -> Sandbox:
        config = self._config(name, annotations, attempt)
        made = self.cri.run_sandbox(config)
        try:
            self._link(name, made)
            self._start(made, config)
        except BaseException:
            self.remove(name)
            raise
        return self.find(name)

    def _start(self, sandbox: str, config: SandboxConfig) -> None:
        self.cri.start_container(sandbox, config, NAME, SLEEP, self.mounts)

    def _config(self, name: str, annotations: Mapping[str, str], attempt: int) -> SandboxConfig:
        logs = os.path.join(self.daemon.logs, name)
        return SandboxConfig(name, self.daemon.space.cgroup, logs, annotations, attempt)

    def _sandboxes(self, name: str) -> list[Sandbox]:
        return sorted((each for each in self.all() if each.name == name), key=lambda each: each.attempt)

    def _link(self, name: str, sandbox: str) -> None:
        """Its namespace is mounted on the node alone: a link leads there, and keeps nothing alive."""
        namespaces = json.loads(self.cri.details(sandbox))["runtimeSpec"]["linux"]["namespaces"]
        (path,) = (each["path"] for each in namespaces if each["type"] == "network")
        self._unlink(name)
        # Its directory is /var/run, a link that would lead out of the node's root.
        node = self.daemon.space.path(os.path.join(DIRECTORY, os.path.basename(path)))
        os.symlink(node, self.netns(name).path)

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.netns(name).path)
