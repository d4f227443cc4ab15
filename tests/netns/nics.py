"""A node on two LANs whose runtime has `underlay` in front: networks in manifests, pods with annotations."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.netns.recorder import Recorder
from tests.netns.world import FIRST_POD, LAN_A, LAN_B, World
from underlay.cni.call import POD_ANNOTATIONS, read_call
from underlay.cni.request import Request
from underlay.cni.verbs import run
from underlay.lab.addresses import VERSIONS
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime, again, configuration
from underlay.lab.topology import Node
from underlay.log import Log, LogOptions
from underlay.networks.annotations import DEFAULT_NETWORK, NETWORKS
from underlay.oneshot import OwnNode
from underlay.plugins import PLUGINS

VALID = "cni.dev/valid-attachments"


@dataclass
class Front:
    """The default network is `lan-a`: macvlan on LAN A, and `veth` behind it."""

    world: World
    keys: Json = field(default_factory=dict)  # of the plugin's configuration, beside the usual ones

    def __post_init__(self) -> None:
        for lan in (LAN_A, LAN_B):
            self.world.lan(lan)
        self.node: Node = self.world.node()
        self.runtime: Runtime = self.world.runtime(self.node)
        self.definitions = Path(self.world.directory) / "definitions"
        self.conflists = Path(self.world.directory) / "conflists"
        self.definitions.mkdir()
        self.conflists.mkdir()
        self.define("lan-a", self.macvlan(0), namespace="kube-system")
        self.define("lan-b", self.macvlan(1))

    def macvlan(self, lan: int, *, veth: bool = True, **keys: Any) -> Json:
        """A chain with addresses of a LAN from host-local; no `name`, as in most definitions."""
        network = self.world.network("lan", f"eth{lan}", lan)
        plugins = network["plugins"] if veth else network["plugins"][:1]
        plugins[0]["ipam"] = self.host_local(lan)
        return {"cniVersion": "1.0.0", "plugins": [{**plugins[0], **keys}, *plugins[1:]]}

    def host_local(self, lan: int) -> Json:
        subnets, gateway = self.world.lans[lan].subnets, self.world.lans[lan].gateway
        ranges = [
            {
                "subnet": str(subnets.of(v)),
                "rangeStart": str(subnets.host(FIRST_POD).of(v)),
                "gateway": str(gateway.of(v)),
            }
            for v in VERSIONS
        ]
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
        directory = os.path.join(self.world.directory, "leases")
        return {
            "type": "host-local",
            "dataDir": directory,
            "ranges": [[r] for r in ranges],
            "routes": routes,
        }

    def leases(self) -> list[str]:
        """The addresses that host-local has given, and not got back."""
        found = Path(self.world.directory, "leases").glob("*/[0-9a-f]*[.:]*")
        return sorted(path.name for path in found)

    def define(self, name: str, config: Json | str, namespace: str = "default", **annotations: str) -> Path:
        """Writes a definition as the API would show it, into a file of its own."""
        text = config if isinstance(config, str) else json.dumps(config)
        path = self.definitions / f"{namespace}-{name}.json"
        metadata = {"name": name, "namespace": namespace, "annotations": annotations}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "k8s.cni.cncf.io/v1",
                    "kind": "NetworkAttachmentDefinition",
                    "metadata": metadata,
                    "spec": {"config": text},
                }
            )
        )
        return path

    @property
    def network(self) -> Json:
        """The conflist of the runtime."""
        log = {"log_options": {"log_file": os.path.join(self.world.directory, "underlay.log")}}
        plugin = {
            "type": "underlay",
            "defaultNetwork": "lan-a",
            "nadDir": str(self.definitions),
            "confDir": str(self.conflists),
            "capabilities": {POD_ANNOTATIONS: True, "portMappings": True, "ips": True},
            **log,
            **self.keys,
        }
        return {"cniVersion": self.keys.get("cniVersion", "1.0.0"), "name": "pods", "plugins": [plugin]}

    def annotated(self, networks: str = "", default: str = "", **capabilities: Any) -> Json:
        """What the runtime gives for a pod with these annotations."""
        annotations = {NETWORKS: networks} if networks else {}
        return capabilities | {
            POD_ANNOTATIONS: annotations | ({DEFAULT_NETWORK: default} if default else {})
        }

    def add(self, pod: Pod, networks: str = "", default: str = "", **capabilities: Any) -> Json:
        return self.runtime.add(self.network, pod, **self.annotated(networks, default, **capabilities))

    def delete(self, pod: Pod) -> None:
        self.runtime.delete(self.network, pod)

    def check(self, pod: Pod) -> None:
        self.runtime.check(self.network, pod)

    def collect(self, *valid: Pod, **keys: Any) -> None:
        """GC with the NIC `eth0` of these pods; `keys` in the place of the list."""
        listed = [{"containerID": pod.container_id, "ifname": "eth0"} for pod in valid]
        self.call("GC", None, cniVersion="1.1.0", **(keys or {VALID: listed}))

    def status(self) -> None:
        self.call("STATUS", None, cniVersion="1.1.0")

    def call(self, verb: str, pod: Pod | None, **keys: Any) -> str:
        """One execution, with these keys beside those of the network."""
        return self.runtime.call("underlay", verb, self.config(pod, **keys), self.variables(pod))

    def run(self, verb: str, pod: Pod, node: OwnNode, networks: str = "", **keys: Any) -> Json | None:
        """The same in this process, on a node with which the test may meddle; raises CniError."""
        config = self.config(pod, **keys)
        return self.call_in(node, verb, pod, config | {"runtimeConfig": self.annotated(networks)})

    def call_in(self, node: OwnNode, verb: str, pod: Pod, config: Json) -> Json | None:
        """The same with a whole configuration."""
        call = read_call({**self.variables(pod), "CNI_COMMAND": verb}, json.dumps(config).encode())
        return run(Request(PLUGINS["underlay"], call, node, Log(LogOptions(file=os.devnull))))

    def config(self, pod: Pod | None, **keys: Any) -> Json:
        kept = self.runtime.attachment(self.network, pod) if pod else None
        plugin = self.network["plugins"][0]
        config = again(self.network, plugin, kept) if kept else configuration(self.network, plugin, None, {})
        config.pop("capabilities")
        return config | keys

    def variables(self, pod: Pod | None) -> dict[str, str]:
        path = {"CNI_PATH": ":".join(self.runtime.bin_dirs)}
        if pod is None:
            return path
        return {
            **path,
            "CNI_CONTAINERID": pod.container_id,
            "CNI_NETNS": pod.netns.path if pod.netns.exists else "",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": pod.cni_args,
        }

    def recorder(self, name: str = "plugins") -> Recorder:
        """A plugin that writes down how it is called, in `binDir`."""
        recorder = Recorder(Path(self.world.directory) / name)
        recorder.install()
        self.keys["binDir"] = str(recorder.directory)
        return recorder


def links(pod: Pod) -> list[str]:
    """The names of the pod's links, without lo."""
    shown = json.loads(pod.netns.run("ip", "-j", "link"))
    return sorted(link["ifname"] for link in shown if link["ifname"] != "lo")


def defaults(pod: Pod, version: int = 4) -> list[str]:
    """The default routes of the pod's main table, as `ip` shows them."""
    shown = pod.netns.run("ip", f"-{version}", "route", "show", "default")
    return [" ".join(line.split()[:5]) for line in shown.splitlines()]
