"""Where it is measured: a node on a LAN, in namespaces, and pods on it."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from bench.agent import Agent
from bench.errors import BenchError
from underlay.agent.background import Background
from underlay.install import install
from underlay.lab.addresses import subnets
from underlay.lab.namespace import Netns, create, delete
from underlay.lab.pod import Json, Pod
from underlay.lab.topology import Host, Lan, Node
from underlay.netlink.facts import NodeKernel
from underlay.netlink.watch import Watch
from underlay.oneshot import OwnNode

LAN = subnets("10.6.0.0/16", "fd00:6::/64")
NODE_NUMBER, OTHER_NUMBER = 11, 12
FIRST_POD = 1000  # on the LAN
OTHER_NODE = LAN.host(OTHER_NUMBER).v4  # another node, which is there to be sent to
PATIENCE, POLL = 120, 0.02  # seconds


@dataclass(frozen=True)
class Calls:
    """The calls for one NIC of a pod: what a runtime puts into the environment and on standard input."""

    plugin: str
    pod: Pod
    ifname: str
    stdin: bytes
    path: str = "/opt/cni/bin"  # of plugins

    def environment(self, verb: str) -> dict[str, str]:
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.pod.container_id,
            "CNI_NETNS": self.pod.netns.path,
            "CNI_IFNAME": self.ifname,
            "CNI_PATH": self.path,
            "CNI_ARGS": self.pod.cni_args,
        }


def calls(config: Json, pod: Pod, ifname: str) -> Calls:
    """The calls of one plugin, whose configuration names its type."""
    return Calls(config["type"], pod, ifname, json.dumps(config).encode())


class ClosableNode(OwnNode):
    """The node as calls in a process that stays see it. To be closed."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.memory = self.watch = Watch(self._host)
        self.background = Background()

    def close(self) -> None:
        self.watch.close()
        os.close(self._host)


@dataclass
class Stage:
    """A node on a LAN. `directory` takes records, logs and executables."""

    directory: str
    made: list[Netns] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lan = Lan(Netns("bench-lan"), LAN)
        self.node = Node(Netns("bench-node"), (self.lan,), NODE_NUMBER)
        self._next_pod = FIRST_POD

    def up(self) -> None:
        other = Host(Netns("bench-other"), self.lan, OTHER_NUMBER)
        self._create(self.lan.netns, self.node.netns, other.netns)
        self.lan.up()
        self.node.up()
        other.up()

    def _create(self, *namespaces: Netns) -> None:
        self.made += namespaces
        create(*namespaces)

    def down(self) -> None:
        for started in vars(self).keys() & {"agent", "own"}:
            vars(self)[started].close()
        delete(*(netns for netns in self.made if netns.exists))

    @cached_property
    def own(self) -> ClosableNode:
        with self.node.netns.entered():
            return ClosableNode(self.state)

    @cached_property
    def agent(self) -> Agent:
        """The agent that answers the calls of contestants."""
        return Agent(os.path.join(self.directory, "agent.sock"), self.state)

    @property
    def state(self) -> str:
        """In place of /run/underlay."""
        return os.path.join(self.directory, "records")

    @property
    def log(self) -> str:
        return os.path.join(self.directory, "calls.log")

    @cached_property
    def bin_dir(self) -> str:
        """Where the plugins' executables are."""
        directory = os.path.join(self.directory, "bin")
        install(directory)
        return directory

    def pods(self, count: int) -> list[Pod]:
        """New pods, without a NIC."""
        numbers = range(self._next_pod, self._next_pod + count)
        self._next_pod += count
        pods = [Pod(Netns(f"bench-{number}"), str(number)) for number in numbers]
        self._create(*(pod.netns for pod in pods))
        return pods

    def remove(self, pods: Sequence[Pod]) -> None:
        """Takes pods away, and waits until the kernel has: it tears namespaces down afterwards, in order.

        So a last one is gone when its end of a pair of links is.
        """
        last = Netns("bench-last")
        self._create(last)
        self.lan.netns.ip(f"link add last type veth peer name last netns {last.name}")
        gone = {*(pod.netns for pod in pods), last}
        delete(*(pod.netns for pod in pods), last)
        self.made = [netns for netns in self.made if netns not in gone]
        deadline = time.monotonic() + PATIENCE
        with self.lan.netns.entered():
            while "last" in (name for _, name in socket.if_nameindex()):
                if time.monotonic() > deadline:
                    raise BenchError(f"the kernel has not removed {len(pods)} pods in {PATIENCE} s")
                time.sleep(POLL)

    @contextmanager
    def kernel(self, pod: Pod) -> Iterator[NodeKernel]:
        """The kernel as a call for this pod sees it."""
        with self.own.kernel(pod.netns.path) as kernel:
            yield kernel
