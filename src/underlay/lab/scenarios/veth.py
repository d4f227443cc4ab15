"""Pods whose first NIC is macvlan, with `veth` chained: everything that such a pod has to have."""

from __future__ import annotations

from underlay.lab.cluster import Cluster
from underlay.lab.matrix import ANY_NODE, End, Row
from underlay.lab.networks import Variant, behind_macvlan, chained, macvlan, network
from underlay.lab.pod import Json
from underlay.lab.scenario import Deployment, Nic, Scenario, Scene
from underlay.lab.services import numbered

POD, NODE, CLIENT = "the pod", "the node", "the client"


def scene(cluster: Cluster) -> Scene:
    pods = tuple(cluster.lab.pod(name) for name in ("pod1", "pod2", "dual"))
    first_nics = tuple(Nic(pod, "eth0", "lan-a", cluster.node1) for pod in pods)
    return Scene(pods, (*first_nics, Nic(pods[-1], "net1", "lan-b", cluster.node1)))


def networks(cluster: Cluster, variant: Variant) -> dict[str, Json]:
    lan_a, lan_b = cluster.host_local(cluster.lan_a), cluster.host_local(cluster.lan_b)
    # Two default routes in one table would leave to chance which way IPv6 takes without our plugin.
    lan_b["routes"] = []
    behind = chained("veth", variant, cluster.path("veth.log"))
    return {
        "lan-a": network("lan-a", macvlan("eth0", lan_a), *behind),
        "lan-b": network("lan-b", macvlan("eth1", lan_b), *behind),
    }


def rows(here: Deployment) -> list[Row]:
    return [*first_nic_rows(here), *_second_nic(here)]


def first_nic_rows(here: Deployment) -> list[Row]:
    """What pods with one NIC must have; they are pod1 and pod2."""
    groups = (_node, _services, _overlay, _network)
    return [row for group in groups for row in group(here)]


def _node(here: Deployment) -> list[Row]:
    pod, node = here.end("pod1", "eth0"), End.of(here.cluster.node1)
    return [
        Row("node", "pod → its node", pod, node, [pod.addresses], POD),
        Row("node", "node → its pod", node, pod, [node.addresses], NODE),
    ]


def _services(here: Deployment) -> list[Row]:
    """Seen as the node: whoever is not of the overlay is masqueraded, and so is an endpoint to itself."""
    pod, cluster = here.end("pod1", "eth0"), here.cluster
    seen = list(cluster.node1.devices.values())
    ends = {
        "here": ("this node", End.of(cluster.overlay1)),
        "there": ("other node", End.of(cluster.overlay2)),
        "macvlan": ("macvlan pod", here.end("pod2", "eth0")),
        "itself": ("hairpin", pod),
    }
    services = numbered({name: end.addresses for name, (_, end) in ends.items()})
    return [
        Row("services", f"pod → ClusterIP, {text}", pod, end, seen, ANY_NODE, services[name])
        for name, (text, end) in ends.items()
    ]


def _overlay(here: Deployment) -> list[Row]:
    pod, cluster = here.end("pod1", "eth0"), here.cluster
    ends = (("this node", End.of(cluster.overlay1)), ("other node", End.of(cluster.overlay2)))
    to = [Row("overlay", f"pod → overlay pod, {at}", pod, end, [pod.addresses], POD) for at, end in ends]
    back = [
        Row("overlay", f"overlay pod → pod, {at}", end, pod, [end.addresses], "the overlay pod")
        for at, end in ends
    ]
    return to + back


def _network(here: Deployment) -> list[Row]:
    pod = here.end("pod1", "eth0")
    client, outside = End.of(here.cluster.client), End.of(here.cluster.external)
    return [
        Row("network", "LAN → pod", client, pod, [client.addresses], CLIENT, alone=(4, 6)),
        Row("network", "outside → pod", outside, pod, [outside.addresses], CLIENT, alone=(4, 6)),
        Row("network", "pod → outside", pod, outside, [pod.addresses], POD, alone=(4, 6)),
    ]


def _second_nic(here: Deployment) -> list[Row]:
    """The reply must leave by the NIC that was asked: the gateways drop one that comes another way."""
    net1, outside = here.end("dual", "net1"), End.of(here.cluster.external)
    return [Row("second NIC", "outside → second NIC", outside, net1, [outside.addresses], CLIENT)]


SCENARIO = Scenario(
    name="veth",
    text="The pod's first NIC is macvlan, on the LAN.",
    plugin="veth",
    scene=scene,
    networks=networks,
    rows=rows,
    variants=behind_macvlan("veth"),
)
