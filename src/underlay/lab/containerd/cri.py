"""The calls of CRI v1, the Container Runtime Interface, that the lab makes in the place of a kubelet.

Numbers of fields are those of api.proto in k8s.io/cri-api; beside each is its name there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from underlay.lab.containerd import grpc
from underlay.lab.containerd.protobuf import Decoded, Message, decode, encode, entries

RUNTIME, IMAGES = "/runtime.v1.RuntimeService/", "/runtime.v1.ImageService/"
SECONDS = 30.0  # for one call: an ADD may probe addresses
READY = 0  # SANDBOX_READY
CONTAINER = 1  # NamespaceMode: a namespace of the container's own
RUNNING = 1  # CONTAINER_RUNNING


@dataclass(frozen=True)
class SandboxConfig:
    """What a kubelet says of a pod; `attempt` counts its sandboxes, each another container id of CNI."""

    name: str
    cgroup: str
    log_directory: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 0

    def message(self) -> Message:
        """PodSandboxConfig."""
        pid_of_its_own = {1: {2: CONTAINER}}  # security_context.namespace_options.pid
        return {
            1: {1: self.name, 2: f"uid-{self.name}", 3: "default", 4: self.attempt},  # metadata
            2: self.name,  # hostname
            3: self.log_directory,
            4: {3: ["ndots:5"]},  # dns_config.options: without any, the node's resolv.conf must be there
            7: entries(self.annotations),
            8: {1: self.cgroup, 2: pid_of_its_own},  # linux.cgroup_parent, .security_context
        }


@dataclass(frozen=True)
class Sandbox:
    """A pod that the runtime knows."""

    id: str
    name: str
    attempt: int
    is_ready: bool
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Mount:
    """A directory of the node's that a container sees, and can't change."""

    source: str
    target: str

    def message(self) -> Message:
        return {1: self.target, 2: self.source, 3: True}  # container_path, host_path, readonly


@dataclass(frozen=True)
class Done:
    """How a command in a container ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Cri:
    """A runtime that serves CRI at a unix socket."""

    socket: str

    def version(self) -> str:
        """Name and version of the runtime."""
        answer = self._call("Version", {1: "v1"})
        return f"{answer.text(2)} {answer.text(3)}"

    def has_image(self, image: str) -> bool:
        """Whether pods can be made of it: what `ctr` imports is noticed a moment later."""
        return bool(self._call("ImageStatus", {1: {1: image}}, service=IMAGES).data(1))

    def run_sandbox(self, config: SandboxConfig) -> str:
        """Makes a pod with its network: a call of ADD. Its id, which is the container id of CNI."""
        return self._call("RunPodSandbox", {1: config.message()}).text(1)

    def stop_sandbox(self, sandbox: str) -> None:
        """Ends its processes and takes its network away: a call of DEL."""
        self._call("StopPodSandbox", {1: sandbox})

    def remove_sandbox(self, sandbox: str) -> None:
        """Forgets it, after another DEL."""
        self._call("RemovePodSandbox", {1: sandbox})

    def sandboxes(self) -> list[Sandbox]:
        """Every pod, those whose sandbox has ended too."""
        return [_sandbox(each) for each in self._call("ListPodSandbox").messages(1)]

    def addresses(self, sandbox: str) -> list[str]:
        """Those that the runtime tells the kubelet."""
        network = self._call("PodSandboxStatus", {1: sandbox}).message(1).message(5)
        first, others = network.text(1), [each.text(1) for each in network.messages(2)]
        return [first, *others] if first else others

    def details(self, sandbox: str) -> str:
        """What the runtime itself has written down of it, as JSON."""
        return self._call("PodSandboxStatus", {1: sandbox, 2: 1}).entries(2)["info"]

    def start_container(
        self,
        sandbox: str,
        config: SandboxConfig,
        image: str,
        command: Sequence[str],
        mounts: Sequence[Mount],
    ) -> str:
        """The id of a container that runs in the pod."""
        container: Message = {
            1: {1: "main", 2: config.attempt},  # metadata
            2: {1: image},
            3: list(command),
            7: [mount.message() for mount in mounts],
            11: "main.log",  # log_path
            15: {2: {3: {2: CONTAINER}}},  # linux.security_context.namespace_options.pid
        }
        made = self._call("CreateContainer", {1: sandbox, 2: container, 3: config.message()}).text(1)
        self._call("StartContainer", {1: made})
        return made

    def containers(self, sandbox: str) -> dict[str, bool]:
        """The pod's containers, and whether each runs."""
        listed = self._call("ListContainers", {1: {3: sandbox}}).messages(1)
        return {each.text(1): each.number(6) == RUNNING for each in listed}

    def remove_container(self, container: str) -> None:
        """Ends it if it runs, and forgets it."""
        self._call("StopContainer", {1: container})
        self._call("RemoveContainer", {1: container})

    def execute(self, container: str, command: Sequence[str]) -> Done:
        """Runs a command in a container to its end."""
        answer = self._call("ExecSync", {1: container, 2: list(command), 3: int(SECONDS)})
        return Done(answer.number(3), answer.text(1), answer.text(2))

    def _call(self, name: str, request: Message | None = None, service: str = RUNTIME) -> Decoded:
        return decode(grpc.call(self.socket, service + name, encode(request or {}), SECONDS))


def _sandbox(listed: Decoded) -> Sandbox:
    metadata = listed.message(2)
    is_ready = listed.number(3) == READY
    return Sandbox(listed.text(1), metadata.text(1), metadata.number(4), is_ready, listed.entries(6))
