"""Nodes on one LAN whose pods are in networks of `vxlan`: what the tests of that plugin start from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_interface
from typing import Any

from tests.netns.world import LAN_A, Footprint, Inside, World
from underlay.cni.call import read_call
from underlay.cni.request import Request
from underlay.cni.verbs import run
from underlay.lab.addresses import IPAddress
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime, configuration
from underlay.lab.topology import Lan, Node
from underlay.log import Log, LogOptions
from underlay.plugins import PLUGINS
from underlay.record import Record

GROUP = "239.1.1.1"
BLUE, GREEN = ["10.66.0.0/24", "fd00:66::/64"], ["10.67.0.0/24", "fd00:67::/64"]
FIRST_NODE = 11
VALID = "cni.dev/valid-attachments"


@dataclass
class Site:
    """`nodes` nodes on the first LAN of a world, numbered from 11."""

    world: World
    nodes: tuple[Node, ...] = ()
    runtimes: dict[str, Runtime] = field(default_factory=dict)

    @property
    def peers(self) -> list[str]:
        """Two nodes at least, of which the second need not be there."""
        numbers = range(FIRST_NODE, FIRST_NODE + max(2, len(self.nodes)))
        return [str(LAN_A.host(number).v4) for number in numbers]

    def runtime(self, number: int) -> Runtime:
        """The runtime of the node with that number, counted from 0."""
        return self.world.runtime(self.nodes[number])

    def blue(self, **keys: Any) -> Json:
        """A network's definition: unicast between the nodes unless `keys` say otherwise; None leaves out."""
        return defined({"name": "blue", "id": 5001, "cidr": BLUE, "peers": self.peers, **keys})

    def green(self, **keys: Any) -> Json:
        return defined({"name": "green", "id": 5002, "cidr": GREEN, "peers": self.peers, **keys})

    def network(self, *vxlans: Json, **keys: Any) -> Json:
        """A conflist with these networks, of which the first is the default."""
        plugin: Json = {
            "type": "vxlan",
            "vxlans": list(vxlans) or [self.blue()],
            "defaultNetwork": (vxlans or ({"name": "blue"},))[0]["name"],
            "ipam": {"type": "routetable"},
            "log_options": {"log_file": os.path.join(self.world.directory, "vxlan.log")},
            **keys,
        }
        return {
            "cniVersion": "1.0.0",
            "name": "vx",
            "plugins": [{key: value for key, value in plugin.items() if value is not None}],
        }

    def pod(self, name: str, node: int = 0, network: Json | None = None, ifname: str = "eth0") -> Attached:
        """A pod that is in a network already."""
        attached = self.nic(name, node, network, ifname)
        attached.add()
        return attached

    def nic(self, name: str, node: int = 0, network: Json | None = None, ifname: str = "eth0") -> Attached:
        """A pod that is not in it yet."""
        pod = self.world.pods.get(name) or self.world.pod(name)
        self.world.pods[name] = pod
        shared = self.shared(network or self.network(), node)
        return Attached(self, self.nodes[node], self.runtime(node), shared, pod, ifname)

    def shared(self, network: Json, node: int) -> Json:
        """The configuration for one of several nodes, each with its part of the IPv4 addresses.

        No routing daemon tells these nodes of each other's claims, so they could draw one address twice.
        """
        first, *others = network["plugins"]
        if len(self.nodes) == 1 or "vxlans" not in first:
            return network
        part = {**first, "vxlans": [self._part_of(each, node) for each in first["vxlans"]]}
        return {**network, "plugins": [part, *others]}

    def _part_of(self, vxlan: Json, node: int) -> Json:
        cidr = vxlan["cidr"]
        size = ip_interface(cidr if isinstance(cidr, str) else cidr[0]).network.num_addresses
        each = size // len(self.nodes)
        return {"excludeFirst": each * node, "excludeLast": size - each * (node + 1), **vxlan}

    def footprint(self) -> Footprint:
        return Footprint(self.world, *(node.netns for node in self.nodes))


def defined(keys: Json) -> Json:
    return {key: value for key, value in keys.items() if value is not None}


@dataclass
class Attached:
    """An attachment to a network of `vxlan`, called one verb at a time."""

    site: Site
    node: Node
    runtime: Runtime
    network: Json
    pod: Pod
    ifname: str
    result: Json = field(default_factory=dict)
    args: str = ""  # CNI_ARGS of single calls

    def add(self) -> Json:
        self.result = self.runtime.add(self.network, self.pod, self.ifname)
        return self.result

    def delete(self) -> None:
        self.runtime.delete(self.network, self.pod, self.ifname)

    @property
    def plugin(self) -> str:
        plugin: str = self.network["plugins"][0]["type"]
        return plugin

    def address(self, version: int = 4) -> IPAddress:
        found = [ip_interface(ip["address"]).ip for ip in self.result["ips"]]
        return next(ip for ip in found if ip.version == version)

    def gateway(self, version: int = 4) -> str:
        return next(
            str(ip["gateway"]) for ip in self.result["ips"] if (":" in ip["gateway"]) == (version == 6)
        )

    @property
    def variables(self) -> dict[str, str]:
        return {
            "CNI_CONTAINERID": self.pod.container_id,
            "CNI_NETNS": self.pod.netns.path,
            "CNI_IFNAME": self.ifname,
            "CNI_PATH": ":".join(self.runtime.bin_dirs),
            "CNI_ARGS": self.args,
        }

    def config(self, **keys: Any) -> Json:
        return {**configuration(self.network, self.network["plugins"][0], None, {}), **keys}

    def call(self, verb: str, variables: Json | None = None, **keys: Any) -> str:
        """One execution, as a runtime does it: the standard output, or PluginError."""
        env = self.variables if variables is None else {**self.variables, **variables}
        return self.runtime.call(self.plugin, verb, self.config(**keys), env)

    def run(self, verb: str, node: Inside, **keys: Any) -> Json | None:
        """The same in this process, on a node with which the test may meddle; raises CniError."""
        if verb == "CHECK":
            keys = {"prevResult": self.result, **keys}
        call = read_call({**self.variables, "CNI_COMMAND": verb}, json.dumps(self.config(**keys)).encode())
        answer = run(Request(PLUGINS[self.plugin], call, node, Log(LogOptions(file=os.devnull))))
        if verb == "ADD" and answer:
            self.result = answer
        return answer

    def record(self, node: Inside) -> Record:
        """What is recorded of it."""
        with node.records.pod(self.pod.container_id) as pod:
            (found,) = (record for record in pod.all() if record.ifname == self.ifname)
        return found

    def listed(self) -> Json:
        """How GC names it."""
        return {"containerID": self.pod.container_id, "ifname": self.ifname}

    def gc(self, *valid: Attached, **keys: Any) -> None:
        """GC of its network with these attachments; `keys` in the place of the list."""
        config = self.config(cniVersion="1.1.0", **(keys or {VALID: [each.listed() for each in valid]}))
        self.runtime.call(self.plugin, "GC", config, {"CNI_PATH": self.variables["CNI_PATH"]})


def one_node(world: World) -> Site:
    """A node whose LAN has nobody else: it is made in a third of the time."""
    lan = Lan(world.outside.netns, LAN_A)
    return Site(world, (world.node(FIRST_NODE, lan),))


def two_nodes(world: World) -> Iterator[Site]:
    """Two nodes on one LAN."""
    world.lan(LAN_A)
    yield Site(world, (world.node(FIRST_NODE), world.node(FIRST_NODE + 1)))
