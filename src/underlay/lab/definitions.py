"""Networks that are ready to be asked for: what `underlay lab run --annotate networks=…` may name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from underlay.lab import manifests, overlay_plugin
from underlay.lab.cluster import Cluster
from underlay.lab.manifests import MANIFESTS
from underlay.lab.networks import CNI_VERSION, macvlan, network, through_node
from underlay.lab.pod import Json
from underlay.lab.scenarios import vxlan

NETWORKS = "k8s.v1.cni.cncf.io/networks"
DEFAULT_NETWORK = "v1.multus-cni.io/default-network"
POD_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"  # the capability by which a runtime hands them over
OVERLAY = "overlay"
RANGES = {"veth": (201, 225), "router": (226, 250)}  # of addresses on a LAN: a scenario's pods have others


@dataclass(frozen=True)
class Definition:
    """A network by its name, and what a person is told of it."""

    name: str
    text: str
    network: Json


def write_ready(cluster: Cluster) -> None:
    """Writes all of these where pods can ask for them."""
    manifests.write({each.name: each.network for each in definitions(cluster)}, cluster.path(MANIFESTS))


def definitions(cluster: Cluster) -> tuple[Definition, ...]:
    """All that the lab has of itself."""
    return (
        Definition(OVERLAY, "what eth0 is in, unless told", overlay_plugin.network(cluster.path("overlay"))),
        _behind_macvlan(cluster, "veth", "a", "macvlan and veth: for eth0"),
        _behind_macvlan(cluster, "veth", "b", "the same on the other LAN"),
        _behind_macvlan(cluster, "router", "a", "macvlan and router: beside the overlay"),
        _behind_macvlan(cluster, "router", "b", "the same on the other LAN"),
        *_stretched(cluster),
    )


def _stretched(cluster: Cluster) -> Iterator[Definition]:
    """The networks of VXLAN, for a pod's own NIC and for others, which leave it the default route."""
    for name, config in vxlan.networks(cluster, vxlan.UNICAST).items():
        yield Definition(name, "vxlan over both nodes: for eth0", config)
        (plugin,) = config["plugins"]
        (options,) = plugin["vxlans"]
        beside = plugin | {"vxlans": [options | {"default_route": False}]}
        found = network(f"{name}-beside", beside)
        yield Definition(found["name"], "the same network, for further NICs", found)


def _behind_macvlan(cluster: Cluster, plugin: str, lan: str, text: str) -> Definition:
    """A NIC on lan-a is on the nodes' eth0, one on lan-b on eth1."""
    master, where = {"a": ("eth0", cluster.lan_a), "b": ("eth1", cluster.lan_b)}[lan]
    name, ipam = f"lan-{lan}-{plugin}", cluster.host_local(where, *RANGES[plugin])
    behind = through_node(plugin, cluster.path(f"{plugin}.log"))
    return Definition(name, text, network(name, macvlan(master, ipam), behind))


def several_nics(cluster: Cluster) -> Json:
    """What a runtime of the lab has as 00-underlay.conflist: our plugin, which reads a pod's annotations."""
    plugin = {
        "type": "underlay",
        "capabilities": {POD_ANNOTATIONS: True},
        "defaultNetwork": OVERLAY,
        "defaultNamespace": "default",
        "nadDir": cluster.path(MANIFESTS),
        "confDir": cluster.path("net.d"),
        "binDir": cluster.path("bin"),
        "log_options": {"log_file": cluster.path("underlay.log")},
    }
    return {"cniVersion": CNI_VERSION, "name": "lab", "plugins": [plugin]}


def asking_for(default: str, others: Sequence[str]) -> dict[str, str]:
    """The annotations of a pod with these networks, each `name` or `name@ifname`."""
    return {DEFAULT_NETWORK: default} | ({NETWORKS: ",".join(others)} if others else {})
