"""A node of the lab on which the chart's DaemonSet runs from the image, and pods are wired by it."""

from __future__ import annotations

import json
import os
import re
import shutil
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.chart.helm import NAMESPACE, Json, container, of_kind, pod_spec, rendered
from tests.image.kubelet import DAEMON, Kubelet, Pod, call, end
from tests.image.oci import Image
from tests.netns.kube_api.server import KubeApi
from tests.repo.tree import ROOT
from underlay.lab.cluster import Cluster
from underlay.lab.containerd.node import ContainerdNode
from underlay.lab.namespace import Netns, run
from underlay.lab.pod import Json as Network
from underlay.lab.process import until
from underlay.lab.scenarios import veth
from underlay.plugins import PLUGINS

CACHE = ROOT / ".cache/image"  # of scripts/image
NAME = "localhost/underlay:test"
REGISTRY, REPOSITORY, TAG = re.split("[/:]", NAME)
PORT = 9977
ALONE = {"multus": {"mode": "none"}}


def layers(architecture: str) -> list[Path]:
    """Debian's packages, and ours."""
    return [CACHE / "root.tar", CACHE / f"package-{architecture}.tar"]


def image(architecture: str) -> Image:
    """The image as the Dockerfile has it."""
    dockerfile = (ROOT / "packaging/Dockerfile").read_text(encoding="utf-8")
    (entry_point,) = re.findall(r"(?m)^ENTRYPOINT (\[.*\])$", dockerfile)
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return Image(
        NAME, architecture, layers(architecture), {"Entrypoint": json.loads(entry_point), "Env": [path]}
    )


@dataclass(frozen=True)
class Site:
    """One node, with containerd and the image; its plugins come and go with the DaemonSet."""

    cluster: Cluster

    def prepare(self, archive: Path) -> None:
        self.take_ours_off()
        self.node.start(self.network)
        # As systemd has it: a container sees what is mounted later. Names for `ip` are not this machine's.
        self.node.space.run("mount", "--make-rshared", "/")
        self.node.space.run("mount", "-t", "tmpfs", "tmpfs", "/etc/iproute2")
        run(*self.node.containerd.client, "images", "import", str(archive))
        until(lambda: self.node.containerd.cri.has_image(NAME), "the image is not there")

    def take_ours_off(self) -> None:
        """Executables and configuration; the lab has put some of its own there."""
        for name in (*PLUGINS, ".underlay-python", ".underlay-installed.json"):
            Path(self.bin_dir, name).unlink(missing_ok=True)
        Path(self.node.containerd.conf_dir, "00-underlay.conflist").unlink(missing_ok=True)
        shutil.rmtree(os.path.join(self.node.containerd.conf_dir, "underlay.d"), ignore_errors=True)

    @property
    def node(self) -> ContainerdNode:
        return ContainerdNode(self.cluster, self.cluster.node1)

    @property
    def bin_dir(self) -> str:
        return self.cluster.path("bin")

    @property
    def network(self) -> Network:
        """macvlan and veth, which logs where it does by default."""
        network = deepcopy(veth.networks(self.cluster, veth.SCENARIO.variants[-1])["lan-a"])
        network["plugins"][-1].pop("log_options", None)
        return network

    def manifests(self, values: Json) -> list[Json]:
        """What the chart gives for this node."""
        places = {"binDir": self.bin_dir, "confDir": self.node.containerd.conf_dir}
        image = {"registry": REGISTRY, "repository": REPOSITORY, "tag": TAG}
        return rendered({"image": image, "cni": places, **values})

    def kubelet(self, values: Json) -> tuple[Kubelet, Json]:
        """With what it is to run: the pod of the DaemonSet."""
        manifests = self.manifests(values)
        configmaps = {each["metadata"]["name"]: each["data"] for each in of_kind("ConfigMap", manifests)}
        return Kubelet(self.node, configmaps), pod_spec(manifests)

    def start(self, values: Json = ALONE, api: KubeApi | None = None, without: str = "") -> Pod:
        """The DaemonSet's pod, ready; in the cluster of that API, `without` a capability of its agent's."""
        kubelet, spec = self.kubelet(values)
        if without:
            container("agent", spec)["securityContext"]["capabilities"]["add"].remove(without)
        pod = (in_cluster(kubelet, api) if api else kubelet).run(spec)
        self.await_ready(pod)
        return pod

    def clear(self) -> None:
        """Ends all pods and takes off what was installed; then the node is as it was at first."""
        self.remove_pods()
        self._end_daemons()
        self.take_ours_off()
        self.node.containerd.set_network(self.network)
        self.await_network(self.network["name"])

    def remove_pods(self, values: Json = ALONE, api: KubeApi | None = None) -> None:
        """Those that are wired; by an agent that works, whatever a test has done."""
        self._end_daemons()
        if left := self.node.pods.all():
            self.start(values, api)
            for sandbox in left:
                self.node.pods.remove(sandbox.name)

    def _end_daemons(self) -> None:
        cri = self.node.containerd.cri
        for sandbox in cri.sandboxes():
            if sandbox.name.startswith(DAEMON):
                end(cri.socket, sandbox.id)

    def daemon(self) -> Pod:
        """The pod of the DaemonSet that runs."""
        (found,) = (each for each in self.node.containerd.cri.sandboxes() if each.name.startswith(DAEMON))
        kubelet, spec = self.kubelet(ALONE)
        return Pod(kubelet, spec, found.id, found.name)

    def await_ready(self, pod: Pod) -> None:
        until(lambda: self.asked("readyz") == 200 or "agent" not in pod.running(), "the agent is not ready")
        assert "agent" in pod.running(), pod.said("agent")

    def await_network(self, name: str) -> None:
        """Until containerd has taken the network of that name from its directory."""
        until(lambda: self._network_taken() == name, f"containerd does not take {name}")

    def _network_taken(self) -> str:
        told = call(self.node.containerd.cri.socket, "Status", {1: True}).entries(2)
        return str(json.loads(told["cniconfig"])["Networks"][-1]["Config"]["Name"])

    def asked(self, path: str) -> int:
        """The code of the agent's answer to the kubelet; 0 where there is none."""
        with self.node.node.netns.entered():
            try:
                with urlopen(f"http://127.0.0.1:{PORT}/{path}", timeout=5) as answer:
                    return int(answer.status)
            except URLError:
                return 0

    def pings(self, name: str) -> list[str]:
        """What is lost between a pod and its node, both ways and families: nothing as a rule."""
        pod, node = self.node.pods.netns(name), self.node.node
        addresses = self.node.pods.cri.addresses(self.node.pods.find(name).id)
        to_node = [(pod, str(each)) for each in (node.addresses.v4, node.addresses.v6)]
        return [
            lost for way in (*to_node, *((node.netns, each) for each in addresses)) for lost in ping(*way)
        ]

    def collect_garbage(self) -> None:
        """GC as a runtime sends it that does not say who is there: what is provably dead goes."""
        call = {"CNI_COMMAND": "GC", "CNI_PATH": self.bin_dir}
        env = [f"{key}={value}" for key, value in call.items()]
        command = ["env", *env, os.path.join(self.bin_dir, "veth")]
        (plugin,) = self.network["plugins"][-1:]
        config = plugin | {"cniVersion": "1.1.0", "name": self.network["name"]}
        run(*self.node.space.entering(), *command, stdin=json.dumps(config))


def in_cluster(kubelet: Kubelet, api: KubeApi) -> Kubelet:
    """The same, which gives pods what they ask that API with."""
    account = {"token": "t0ken", "ca.crt": api.certificates["ca.crt"].read_text(), "namespace": NAMESPACE}
    env = {"KUBERNETES_SERVICE_HOST": api.host, "KUBERNETES_SERVICE_PORT": str(api.port)}
    return replace(kubelet, account=account, env=env)


def ping(client: Netns, address: str) -> list[str]:
    """Nothing where it is answered."""
    said = client.run("sh", "-c", f"ping -c1 -W2 {address} || true")
    return [] if " 0% packet loss" in said else [f"{client.name} → {address}"]
