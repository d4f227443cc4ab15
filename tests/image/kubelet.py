"""What a kubelet makes of a DaemonSet's pod on one node: the same words, as CRI has them.

Numbers of fields are those of api.proto in k8s.io/cri-api; beside each is its name there. What the pods of
the chart do not say is not here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

from tests.chart.helm import Json
from underlay.lab.containerd import grpc
from underlay.lab.containerd.cri import Cri
from underlay.lab.containerd.node import ContainerdNode
from underlay.lab.containerd.protobuf import Decoded, Message, decode, encode
from underlay.lab.process import until

RUNTIME = "/runtime.v1.RuntimeService/"
SECONDS = 60.0
GRACE = 40  # seconds, terminationGracePeriodSeconds
DAEMON = "underlay"  # what the names of its pods begin with
NODE, CONTAINER = 2, 1  # NamespaceMode
PROPAGATIONS = {None: 0, "HostToContainer": 1, "Bidirectional": 2}  # MountPropagation
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
EXITED = 2  # CONTAINER_EXITED
# As a kubelet has them for every container that is not privileged (securitycontext.ConvertToRuntime…Paths).
MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True)
class Kubelet:
    """`configmaps` are the texts of those that a pod mounts, by name; `account` is what a pod that wants it
    has of its service account, and `env` what all have."""

    node: ContainerdNode
    configmaps: Mapping[str, Mapping[str, str]]
    account: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, spec: Json) -> Pod:
        """Makes volumes and sandbox, and the first containers in turn, to their ends; then the others."""
        name = f"{DAEMON}-{token_hex(3)}"
        for volume in spec["volumes"]:
            self._make(volume)
        self._write(self.account_directory, self.account)
        pod = Pod(self, spec, self.call("RunPodSandbox", {1: self.sandbox(spec, name)}).text(1), name)
        for container in spec.get("initContainers", ()):
            pod.run(container)
        for container in spec["containers"]:
            pod.start(container)
        return pod

    def sandbox(self, spec: Json, name: str) -> Message:
        """PodSandboxConfig."""
        options: Message = {1: NODE, 2: NODE if spec["hostPID"] else CONTAINER}  # network, pid
        return {
            1: {1: name, 2: f"uid-{name}", 3: "kube-system"},  # metadata
            3: self.log_directory(name),
            4: {3: ["ndots:5"]},  # dns_config.options
            8: {1: self.node.space.cgroup, 2: {1: options}},  # linux.cgroup_parent, .security_context
        }

    def log_directory(self, name: str) -> str:
        return os.path.join(self.node.containerd.logs, name)

    def source(self, volume: Json) -> str:
        """Where a volume is on the node."""
        if "hostPath" in volume:
            return str(volume["hostPath"]["path"])
        return os.path.join(self.node.directory, "volumes", volume["name"])

    def _make(self, volume: Json) -> None:
        source = self.source(volume)
        if volume.get("hostPath", {}).get("type") == "DirectoryOrCreate":
            self.node.space.run("mkdir", "-p", "-m", "755", source)
        if "configMap" in volume:
            self._write(source, self.configmaps[volume["configMap"]["name"]])

    @property
    def account_directory(self) -> str:
        return os.path.join(self.node.directory, "serviceaccount")

    def _write(self, directory: str, texts: Mapping[str, str]) -> None:
        os.makedirs(directory, exist_ok=True)
        for name, text in texts.items():
            Path(directory, name).write_text(text, encoding="utf-8")

    @property
    def cri(self) -> Cri:
        return self.node.containerd.cri

    def call(self, method: str, request: Message) -> Decoded:
        return call(self.cri.socket, method, request)


def call(socket: str, method: str, request: Message) -> Decoded:
    """A call of CRI."""
    return decode(grpc.call(socket, RUNTIME + method, encode(request), SECONDS))


def end(socket: str, sandbox: str) -> None:
    """Ends a pod of the DaemonSet: its containers first, each with the time that it may take."""
    for listed in call(socket, "ListContainers", {1: {3: sandbox}}).messages(1):
        call(socket, "StopContainer", {1: listed.text(1), 2: GRACE})
    call(socket, "StopPodSandbox", {1: sandbox})
    call(socket, "RemovePodSandbox", {1: sandbox})


class Failed(Exception):
    """A container that had to end well did not."""


@dataclass(frozen=True)
class Pod:
    """One that was started from `spec`."""

    kubelet: Kubelet
    spec: Json
    sandbox: str
    name: str

    def start(self, container: Json) -> str:
        """The id of a container of the pod that was started."""
        sandbox = self.kubelet.sandbox(self.spec, self.name)
        config = self._config(container)
        made = self.kubelet.call("CreateContainer", {1: self.sandbox, 2: config, 3: sandbox}).text(1)
        self.kubelet.call("StartContainer", {1: made})
        return made

    def run(self, container: Json) -> None:
        """To its end; Failed where that is no good one."""
        made, name = self.start(container), container["name"]
        until(lambda: self._status(made).number(3) == EXITED, f"{name} does not end")
        if code := self._status(made).number(7):  # exit_code
            raise Failed(f"{name} has ended with {code}: {self.said(name)}")

    def running(self) -> list[str]:
        """The names of its containers that run."""
        listed = self.kubelet.call("ListContainers", {1: {3: self.sandbox}}).messages(1)
        return sorted(each.message(3).text(1) for each in listed if each.number(6) == 1)

    def said(self, container: str) -> str:
        """What one of its containers has printed, without the runtime's marks."""
        path = Path(self.kubelet.log_directory(self.name), f"{container}.log")
        return "\n".join(line.split(" ", 3)[-1] for line in path.read_text(encoding="utf-8").splitlines())

    def remove(self) -> None:
        """Ends it, as a rolling update does with the old one."""
        end(self.kubelet.cri.socket, self.sandbox)

    def _status(self, container: str) -> Decoded:
        return self.kubelet.call("ContainerStatus", {1: container}).message(1)

    def _config(self, container: Json) -> Message:
        """ContainerConfig."""
        env = {**self.kubelet.env, **{each["name"]: self._value(each) for each in container.get("env", ())}}
        argument = re.compile(r"\$\((\w+)\)")
        return {
            1: {1: container["name"]},  # metadata
            2: {1: container["image"]},
            3: container.get("command", []),
            4: [argument.sub(lambda found: env[found[1]], each) for each in container.get("args", ())],
            6: [{1: key, 2: value} for key, value in env.items()],
            7: list(self._mounts(container)),
            11: f"{container['name']}.log",  # log_path
            15: {2: self._security(container["securityContext"])},  # linux.security_context
        }

    def _value(self, env: Json) -> str:
        known = {
            "spec.nodeName": self.kubelet.node.node.netns.name,
            "status.hostIP": str(self.kubelet.node.node.addresses.v4),
        }
        return env.get("value") or known[env["valueFrom"]["fieldRef"]["fieldPath"]]

    def _mounts(self, container: Json) -> Iterator[Message]:
        volumes = {volume["name"]: volume for volume in self.spec["volumes"]}
        for mount in container.get("volumeMounts", ()):
            yield {
                1: mount["mountPath"],  # container_path
                2: self.kubelet.source(volumes[mount["name"]]),  # host_path
                3: mount.get("readOnly", False),
                5: PROPAGATIONS[mount.get("mountPropagation")],
            }
        if self.spec["automountServiceAccountToken"]:
            yield {1: ACCOUNT, 2: self.kubelet.account_directory, 3: True}

    def _security(self, security: Json) -> Message:
        """LinuxContainerSecurityContext."""
        capabilities = security["capabilities"]
        return {
            1: {1: capabilities.get("add", []), 2: capabilities.get("drop", [])},
            3: {1: NODE, 2: NODE if self.spec["hostPID"] else CONTAINER},  # namespace_options
            5: {1: security["runAsUser"]},
            7: security["readOnlyRootFilesystem"],
            11: not security["allowPrivilegeEscalation"],  # no_new_privs
            13: list(MASKED),
            14: list(READ_ONLY),
            15: {1: 0},  # seccomp: RuntimeDefault
        }
