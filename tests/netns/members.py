"""A node of a cluster: the API knows its pods and networks, and `underlay` asks it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tests.netns.agents import until
from tests.netns.kube_api.certificates import Certificates
from tests.netns.kube_api.documents import UID
from tests.netns.kube_api.server import KubeApi, serving
from tests.netns.nics import Front
from tests.netns.world import World
from underlay.lab.pod import Json, Pod
from underlay.networks.annotations import NETWORKS
from underlay.networks.status import NETWORK_STATUS


@dataclass(frozen=True)
class KubePod(Pod):
    """A pod as the kubelet has it started: its uid is said."""

    uid: str = UID

    @property
    def cni_args(self) -> str:
        return f"{super().cni_args};K8S_POD_UID={self.uid}"


@dataclass(frozen=True)
class Member:
    """A node with `underlay` in front, and the API server that its kubeconfig leads to."""

    front: Front
    api: KubeApi

    def pod(self, name: str = "pod", networks: str = "", uid: str = UID) -> KubePod:
        """A pod that the API knows, with these networks in its annotation."""
        self.api.put_pod("default", name, {NETWORKS: networks} if networks else {}, uid)
        return KubePod(self.front.world.netns(name), name, uid)

    def define(self, namespace: str, name: str) -> None:
        """A definition of the second LAN, in the API alone."""
        self.api.put_nad(namespace, name, json.dumps(self.front.macvlan(1, veth=False)))

    def add(self, pod: Pod) -> Json:
        """ADD by a runtime that gives no annotations."""
        return self.front.runtime.add(self.front.network, pod)

    def status(self, pod: Pod) -> list[Json]:
        """What the pod's annotation says that it has got, as soon as it is there."""
        until(lambda: NETWORK_STATUS in self.api.annotations("default", pod.name))
        found: list[Json] = json.loads(self.api.annotations("default", pod.name)[NETWORK_STATUS])
        return found

    def networks(self, pod: Pod) -> dict[str, str]:
        """The same, in short: each NIC's network."""
        return {entry["interface"]: entry["name"] for entry in self.status(pod)}


@contextmanager
def member(world: World, certificates: Certificates, directory: Path, way: str) -> Iterator[Member]:
    """The API server is where the plugin looks for it: in the node's namespace for a process that is
    executed there, else in that of the tests, which is the agent's."""
    front = Front(world)
    with ExitStack() as stack:
        with front.node.netns.entered() if way == "process" else nullcontext():
            api = stack.enter_context(serving(certificates))
        front.keys["kubeconfig"] = api.kubeconfig(directory / "kubeconfig")
        yield Member(front, api)
