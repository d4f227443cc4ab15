"""The rows of the matrix for the cluster of `underlay lab`."""

from __future__ import annotations

from underlay.lab.cluster import Cluster
from underlay.lab.matrix import End, Row
from underlay.lab.pod import Pod

POD, NODE, CLIENT = "the pod", "the node", "the client"
ANY_NODE = "any node address"  # when it masquerades, the kernel chooses


def rows(cluster: Cluster) -> list[Row]:
    """Every way that an underlay pod has to have."""
    groups = (_node, _services, _overlay, _network, _second_nic)
    return [row for group in groups for row in group(cluster)]


def _node(cluster: Cluster) -> list[Row]:
    pod, node = _pod(cluster, cluster.pod1), End(cluster.node1.netns, cluster.node1.addresses)
    return [
        Row("node", "pod → its node", pod, node, [pod.addresses], POD),
        Row("node", "node → its pod", node, pod, [node.addresses], NODE),
    ]


def _services(cluster: Cluster) -> list[Row]:
    """Seen as the node: whoever is not of the overlay is masqueraded, and so is an endpoint to itself."""
    pod, peer = _pod(cluster, cluster.pod1), _pod(cluster, cluster.pod2)
    here, there = _overlay_ends(cluster)
    seen = list(cluster.node1.devices.values())
    endpoints = {
        "here": ("this node", here),
        "there": ("other node", there),
        "macvlan": ("macvlan pod", peer),
        "itself": ("hairpin", pod),
    }
    return [
        Row("services", f"pod → ClusterIP, {text}", pod, end, seen, ANY_NODE, cluster.services[name])
        for name, (text, end) in endpoints.items()
    ]


def _overlay(cluster: Cluster) -> list[Row]:
    pod = _pod(cluster, cluster.pod1)
    ends = list(zip(("this node", "other node"), _overlay_ends(cluster), strict=True))
    to = [Row("overlay", f"pod → overlay pod, {at}", pod, end, [pod.addresses], POD) for at, end in ends]
    back = [
        Row("overlay", f"overlay pod → pod, {at}", end, pod, [end.addresses], "the overlay pod")
        for at, end in ends
    ]
    return to + back


def _network(cluster: Cluster) -> list[Row]:
    pod = _pod(cluster, cluster.pod1)
    client, outside = (End(each.netns, each.addresses) for each in (cluster.client, cluster.external))
    return [
        Row("network", "LAN → pod", client, pod, [client.addresses], CLIENT, alone=True),
        Row("network", "outside → pod", outside, pod, [outside.addresses], CLIENT, alone=True),
        Row("network", "pod → outside", pod, outside, [pod.addresses], POD, alone=True),
    ]


def _second_nic(cluster: Cluster) -> list[Row]:
    """The reply must leave by the NIC that was asked: the gateways drop one that comes another way."""
    net1 = _pod(cluster, cluster.dual, "net1")
    outside = End(cluster.external.netns, cluster.external.addresses)
    return [Row("second NIC", "outside → second NIC", outside, net1, [outside.addresses], CLIENT)]


def _pod(cluster: Cluster, pod: Pod, ifname: str = "eth0") -> End:
    return End(pod.netns, cluster.addresses(pod, ifname))


def _overlay_ends(cluster: Cluster) -> tuple[End, End]:
    here, there = cluster.overlay1, cluster.overlay2
    return End(here.netns, here.addresses), End(there.netns, there.addresses)
