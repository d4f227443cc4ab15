"""A pod of the overlay with macvlan NICs on two LANs: each answers for itself, the newest has main."""

from __future__ import annotations

from underlay.lab.cluster import Cluster
from underlay.lab.matrix import Row
from underlay.lab.networks import Variant, behind_macvlan, chained, macvlan, network
from underlay.lab.pod import Json
from underlay.lab.scenario import Deployment, Nic, Scenario, Scene
from underlay.lab.scenarios import overlay


def scene(cluster: Cluster) -> Scene:
    pods, (net1,) = overlay.scene(cluster).pods, overlay.scene(cluster).nics
    return Scene(pods, (net1, Nic(net1.pod, "net2", "lan-b", cluster.node1)))


def networks(cluster: Cluster, variant: Variant) -> dict[str, Json]:
    lan_a, lan_b = cluster.host_local(cluster.lan_a), cluster.host_local(cluster.lan_b)
    # net1 has its gateway for itself alone: of two defaults with one metric the kernel takes any.
    lan_a["routes"] = []
    behind = chained("router", variant, cluster.path("router.log"))
    return {
        "lan-a": network("lan-a", macvlan("eth0", lan_a), *behind),
        "lan-b": network("lan-b", macvlan("eth1", lan_b), *behind),
    }


def rows(here: Deployment) -> list[Row]:
    return [
        *overlay.nic_rows(here, "net1", here.cluster.client, newest="net2"),
        *overlay.nic_rows(here, "net2", here.cluster.client_b, newest="net2"),
        *overlay.pod_rows(here, "net2"),
    ]


SCENARIO = Scenario(
    name="three-nics",
    text="The pod's first NIC is the overlay's; net1 and net2 are macvlan, on a LAN each.",
    plugin="router",
    scene=scene,
    networks=networks,
    rows=rows,
    variants=behind_macvlan("router", overlay.remark("net2")),
)
