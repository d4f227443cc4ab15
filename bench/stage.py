"""Where it is measured: a node on a LAN, in namespaces, and pods on it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from bench.errors import BenchError
from underlay.install import install
from underlay.lab.addresses import subnets
from underlay.lab.namespace import Netns, create, delete
from underlay.lab.pod import Json, Pod
from underlay.lab.topology import GATEWAY, Host, Lan, Node
from underlay.netlink.facts import NodeKernel
from underlay.netlink.watch import Watch
from underlay.oneshot import OwnNode

LAN = subnets("10.6.0.0/16", "fd00:6::/64")
NODE_NUMBER, PEER_NUMBER = 11, 12
FIRST_POD = 1000  # on the LAN
PEER = LAN.host(PEER_NUMBER).v4  # another node, which is there to be sent to
NIC = "eth0"
PATIENCE, POLL = 120, 0.02  # seconds
EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True)
class Calls:
    """The calls for one NIC of a pod: what a runtime puts into the environment and on standard input."""

    plugin: str
    pod: Pod
    ifname: str
    stdin: bytes

    def environment(self, verb: str) -> dict[str, str]:
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.pod.container_id,
            "CNI_NETNS": self.pod.netns.path,
            "CNI_IFNAME": self.ifname,
            "CNI_PATH": "/opt/cni/bin",
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
        self._agent: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        peer = Host(Netns("bench-peer"), self.lan, PEER_NUMBER)
        self._create(self.lan.netns, self.node.netns, peer.netns)
        self.lan.up()
        self.node.up()
        peer.up()

    def _create(self, *namespaces: Netns) -> None:
        self.made += namespaces
        create(*namespaces)

    def down(self) -> None:
        if self._agent:
            self._agent.terminate()
            self._agent.wait()
        if "own" in vars(self):
            self.own.close()
        delete(*(netns for netns in self.made if netns.exists))

    @cached_property
    def own(self) -> ClosableNode:
        with self.node.netns.entered():
            return ClosableNode(self.state)

    @cached_property
    def agent(self) -> str:
        """The socket of an agent, which is started for it."""
        path = os.path.join(self.directory, "agent.sock")
        command = [sys.executable, "-m", "underlay", "agent", "--socket", path, "--state", self.state]
        with open(os.path.join(self.directory, "agent.log"), "wb") as log:
            self._agent = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(path):
            if self._agent.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"the agent does not start: {' '.join(command)}")
            time.sleep(POLL)
        return path

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

    def plug(self, pods: Sequence[Pod], versions: Sequence[int]) -> None:
        """Gives each pod a macvlan NIC on the LAN, with an address and a default of these IP versions."""
        self.node.netns.ip(
            *(f"link add {NIC} link {NIC} netns {pod.netns.name} type macvlan mode bridge" for pod in pods)
        )
        for pod in pods:
            # Hundreds of pods that look for a router would be what is measured.
            pod.netns.sysctl({f"ipv6/conf/{NIC}/{key}": 0 for key in ("accept_ra", "router_solicitations")})
            gateways = (LAN.host(GATEWAY).of(version) for version in versions)
            pod.netns.ip(
                *(f"addr add {_address(pod, version)} dev {NIC}" for version in versions),
                f"link set {NIC} up",
                *(f"route add default via {gateway} dev {NIC}" for gateway in gateways),
            )

    def macvlan_result(self, pod: Pod, versions: Sequence[int]) -> Json:
        """What the plugin macvlan would have answered for the NIC of `plug`."""
        return {
            "cniVersion": "1.0.0",
            "interfaces": [{"name": NIC, "sandbox": pod.netns.path}],
            "ips": [
                {
                    "interface": 0,
                    "address": _address(pod, version),
                    "gateway": str(LAN.host(GATEWAY).of(version)),
                }
                for version in versions
            ],
            "routes": [{"dst": EVERYTHING[version]} for version in versions],
        }

    @contextmanager
    def kernel(self, pod: Pod) -> Iterator[NodeKernel]:
        """The kernel as a call for this pod sees it."""
        with self.own.kernel(pod.netns.path) as kernel:
            yield kernel


def _address(pod: Pod, version: int) -> str:
    return LAN.interface(int(pod.name), version)
