"""A small world for tests: LANs with stateful gateways, a node, macvlan pods with `veth` chained behind.

Built from the lab's own parts; a test asks for what it needs and the fixture takes everything down.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from underlay.cni.call import read_call
from underlay.cni.request import Request
from underlay.cni.verbs import run
from underlay.lab.addresses import VERSIONS, IPAddress, Subnets, subnets
from underlay.lab.connectivity import Probe, reach, reach_all
from underlay.lab.echo import Server
from underlay.lab.namespace import Netns, create, delete
from underlay.lab.overlay import OverlayPod
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime, configuration
from underlay.lab.topology import Host, Lan, Node, Router, Via, add_routes
from underlay.log import Log, LogOptions
from underlay.oneshot import OwnNode
from underlay.plugins import PLUGINS
from underlay.record import Record

LAN_A, LAN_B = subnets("10.6.0.0/24", "fd00:6::/64"), subnets("10.7.0.0/24", "fd00:7::/64")
OUTSIDE = subnets("198.51.100.0/24", "fd00:51::/64")
EVERY_LAN = (LAN_A, LAN_B)
VETH: Json = {
    "type": "veth",
    "service_hijack_subnet": ["10.96.0.0/12", "fd00:96::/108"],
    "overlay_hijack_subnet": ["10.244.0.0/16", "fd00:244::/48"],
}
FIRST_POD = 100


@dataclass
class World:
    """`lans` LANs, a node on all of them, and a client outside behind each LAN's own stateful gateway."""

    bin_dirs: tuple[str, ...]
    directory: str
    made: list[Netns] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)  # of the plugins, beside where records are

    def __post_init__(self) -> None:
        self.numbers = itertools.count(FIRST_POD)
        self.outside = Lan(self.netns("outside"), OUTSIDE)
        self.outside.up()
        self.lans: list[Lan] = []
        self.pods: dict[str, Pod] = {}

    def netns(self, name: str) -> Netns:
        made = Netns(f"t-{name}")
        create(made)
        self.made.append(made)
        made.sysctl(
            {"ipv6/conf/default/accept_dad": 0}
        )  # nothing waits, no address is tentative for a while
        return made

    def lan(self, subnet: Subnets) -> Lan:
        """A LAN and its gateway, which leads to the outside and the other LANs and forgives no asymmetry."""
        number = len(self.lans) + 1
        lan = Lan(self.netns(f"lan{number}"), subnet)
        lan.up()
        router = self.netns(f"router{number}")
        Router(router, lan, self.outside, number, routes=tuple(map(self.beyond, self.lans))).up()
        for index in range(len(self.lans)):
            add_routes(Netns(f"t-router{index + 1}"), (Via(subnet, self.outside.host(number)),))
        self.lans.append(lan)
        return lan

    def beyond(self, lan: Lan) -> Via:
        """The way to a LAN from the outside: by its own gateway."""
        return Via(lan.subnets, self.outside.host(self.lans.index(lan) + 1))

    def node(self, number: int = 11, *lans: Lan) -> Node:
        """A node on these LANs (all, unless told), with a docker-like bridge older than its NICs."""
        node = Node(self.netns(f"node{number}"), lans or tuple(self.lans), number, docker=True)
        node.up()
        return node

    def host(self, lan: Lan, number: int = 50) -> Host:
        host = Host(self.netns(f"host{lan.netns.name}"), lan, number)
        host.up()
        return host

    def external(self, number: int = 60) -> Host:
        """A machine outside that reaches each LAN by its gateway."""
        host = Host(self.netns("external"), self.outside, number, tuple(map(self.beyond, self.lans)))
        host.up()
        return host

    def overlay_pod(self, node: Node, number: int = 5) -> OverlayPod:
        pod = OverlayPod(self.netns(f"overlay{number}"), node, number)
        pod.up()
        return pod

    def pod(self, name: str = "pod") -> Pod:
        return Pod(self.netns(name), name)

    def runtime(self, node: Node) -> Runtime:
        state = os.path.join(self.directory, node.netns.name)
        return Runtime(node.netns, self.bin_dirs, state, {"UNDERLAY_STATE": self.state, **self.environment})

    @property
    def state(self) -> str:
        """Where this world's records are, in place of /run/underlay."""
        return os.path.join(self.directory, "records")

    def network(self, name: str = "lan", dev: str = "eth0", lan: int = 0, **veth: Any) -> Json:
        """A conflist: macvlan on `dev` with a LAN's next addresses, then `veth`; None leaves a key out."""
        number, subnet = next(self.numbers), self.lans[lan].subnets
        addresses = [
            {
                "address": f"{subnet.host(number).of(v)}/{subnet.of(v).prefixlen}",
                "gateway": str(self.lans[lan].gateway.of(v)),
            }
            for v in VERSIONS
        ]
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
        macvlan = {
            "type": "macvlan",
            "master": dev,
            "mode": "bridge",
            "ipam": {"type": "static", "addresses": addresses, "routes": routes},
        }
        log = {"log_options": {"log_file": os.path.join(self.directory, "veth.log"), "log_level": "debug"}}
        chained = {key: value for key, value in (VETH | log | veth).items() if value is not None}
        return {"cniVersion": "1.0.0", "name": name, "plugins": [macvlan, chained]}

    def nic(self, runtime: Runtime, pod: Pod, ifname: str = "eth0", **veth: Any) -> Nic:
        """A NIC that macvlan alone has made; the test calls `veth` for it."""
        network = self.network(f"lan-{ifname}", **veth)
        return Nic(runtime, network, pod, ifname, runtime.add(without_veth(network), pod, ifname))

    def forget_records(self) -> None:
        """Loses what the plugins have written down, as a node may lose /run."""
        shutil.rmtree(self.state)

    def down(self) -> None:
        delete(*(netns for netns in self.made if netns.exists))


@dataclass(frozen=True)
class Nic:
    """A NIC of a pod with `veth` chained behind it, called one verb at a time. `result` is macvlan's."""

    runtime: Runtime
    network: Json
    pod: Pod
    ifname: str
    result: Json

    @property
    def variables(self) -> dict[str, str]:
        return {
            "CNI_CONTAINERID": self.pod.container_id,
            "CNI_NETNS": self.pod.netns.path,
            "CNI_IFNAME": self.ifname,
            "CNI_PATH": ":".join(self.runtime.bin_dirs),
        }

    def config(self, **keys: Any) -> Json:
        """What `veth` reads; `keys` besides, or in the place of, those of the network."""
        return {**configuration(self.network, self.network["plugins"][-1], self.result, {}), **keys}

    def call(self, verb: str, **keys: Any) -> str:
        """One execution, as a runtime does it: the standard output, or PluginError."""
        return self.runtime.call("veth", verb, self.config(**keys), self.variables)

    def run(self, verb: str, node: OwnNode, **keys: Any) -> Json | None:
        """The same in this process, on a node with which the test may meddle; raises CniError."""
        call = read_call({**self.variables, "CNI_COMMAND": verb}, json.dumps(self.config(**keys)).encode())
        return run(Request(PLUGINS["veth"], call, node, Log(LogOptions(file=os.devnull))))


class Footprint:
    """What calls can leave: the state of these namespaces and the records, as they are when this is made."""

    def __init__(self, world: World, *namespaces: Netns) -> None:
        self.world = world
        self.before = {netns: state_of(netns) for netns in namespaces}
        self.records = files(world.state)

    def changes(self) -> list[str]:
        """The lines and files that differ from then; no waiting where there are none."""
        now = {netns: _shown(netns) for netns in self.before}
        if now == self.before and files(self.world.state) == self.records:
            return []
        now = {netns: state_of(netns) for netns in self.before}
        lines = [
            f"{netns.name}: {line}"
            for netns in self.before
            for line in sorted(set(self.before[netns].splitlines()) ^ set(now[netns].splitlines()))
        ]
        return [
            *lines,
            *sorted({path for path, _ in files(self.world.state).items() ^ self.records.items()}),
        ]


class Inside(OwnNode):
    """A node of the world, for calls in this process. To be closed."""

    def __init__(self, node: Netns, state: str) -> None:
        with node.entered():
            super().__init__(state)

    def close(self) -> None:
        os.close(self._host)

    def record(self, nic: Nic) -> Record:
        """The one record of a NIC."""
        with self.records.pod(nic.pod.container_id) as pod:
            (found,) = (record for record in pod.all() if record.ifname == nic.ifname)
        return found


def without_veth(network: Json) -> Json:
    return {**network, "plugins": network["plugins"][:1]}


def address(result: Json, version: int) -> IPAddress:
    """The pod's address of a family, from an ADD's result."""
    from ipaddress import ip_interface

    found = [ip_interface(ip["address"]).ip for ip in result["ips"]]
    return next(ip for ip in found if ip.version == version)


def server(host: Any, version: int) -> Server:
    return Server(host.netns, host.addresses.of(version))


def seen(client: Netns, target: Netns, at: IPAddress, source: IPAddress | None = None) -> IPAddress | None:
    """As whom the target sees the client; None without an answer."""
    return reach(Probe(client, Server(target, at), source=source)).seen


def failures(probes: Iterable[Probe]) -> list[str]:
    """The probes without an answer."""
    every = list(probes)
    answers = reach_all(every)
    return [
        f"{probe.client.name} {probe.source or ''} -> {probe.server}: {answer.error}"
        for probe, answer in zip(every, answers, strict=True)
        if not answer
    ]


def state_of(netns: Netns) -> str:
    """All that `ip` shows of a namespace that a plugin could have changed, in a fixed order.

    Read until it stands still: the kernel gives a new link its IPv6 addresses a moment later.
    """
    deadline = time.monotonic() + 5
    before, now = "", _shown(netns)
    while now != before:
        assert time.monotonic() < deadline, f"{netns.name} does not come to rest"
        time.sleep(0.05)
        before, now = now, _shown(netns)
    return now


def files(directory: str) -> dict[str, str]:
    """The text of every file below a directory, and where every link leads, by path."""
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(directory) for name in names]
    return {path: os.readlink(path) if os.path.islink(path) else Path(path).read_text() for path in paths}


def _shown(netns: Netns) -> str:
    commands = "link show\naddr show\nroute show table all\nrule show\nneigh show nud permanent\n"
    shown = [netns.run("ip", f"-{version}", "-o", "-batch", "-", stdin=commands) for version in VERSIONS]
    return "\n".join(line for each in shown for line in sorted(each.splitlines()))
