"""A pod of the overlay with a macvlan NIC on the LAN, and `router` chained: each NIC for its own traffic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from underlay.lab.addresses import VERSIONS
from underlay.lab.cluster import Cluster
from underlay.lab.matrix import ANY_NODE, End, Row
from underlay.lab.networks import Variant, behind_macvlan, chained, macvlan, network
from underlay.lab.overlay import FIRST_POD, METRICS, OverlayPod
from underlay.lab.pod import Json, Pod
from underlay.lab.scenario import Deployment, Nic, Scenario, Scene
from underlay.lab.services import Service, numbered
from underlay.lab.topology import Host, Lan

OVERLAY_NIC = "eth0"


def pod_of(cluster: Cluster) -> OverlayPod:
    """The pod, as the overlay has made it."""
    return replace(cluster.lab.overlay_pod("pod1", cluster.node1, FIRST_POD), metrics=METRICS)


def remark(newest: str) -> str:
    return (
        "Two default routes are in the pod's main table now, and neither serves it: by that of"
        f" {newest}, here for IPv4, it loses the cluster; by the overlay's, here for IPv6, the outside."
        " With equal metrics chance would decide; the lab gives them different ones."
    )


def scene(cluster: Cluster) -> Scene:
    pod = pod_of(cluster)
    return Scene((pod,), (Nic(Pod(pod.netns, "pod1"), "net1", "lan-a", cluster.node1),))


def networks(cluster: Cluster, variant: Variant) -> dict[str, Json]:
    behind = chained("router", variant, cluster.path("router.log"))
    return {"lan-a": network("lan-a", macvlan("eth0", cluster.host_local(cluster.lan_a)), *behind)}


def rows(here: Deployment) -> list[Row]:
    return [*nic_rows(here, "net1", here.cluster.client, newest="net1"), *pod_rows(here, "net1")]


def nic_rows(here: Deployment, ifname: str, client: Host, newest: str) -> Iterator[Row]:
    """What a macvlan NIC answers and asks with its own address; `client` is on its LAN."""
    ways = Ways(here, ifname, here.end("pod1", ifname))
    lan, outside = End.of(client), End.of(here.cluster.external)
    yield from ways.node(client.lan)
    yield ways.to_nic("LAN", lan, "the client", alone=VERSIONS)
    yield ways.to_nic("outside", outside, "the client", alone=(4,) if ifname == newest else ())
    yield from ways.services()
    yield from ways.overlay()


@dataclass(frozen=True)
class Ways:
    """The rows of one macvlan NIC, whose address is bound where it asks."""

    here: Deployment
    ifname: str
    nic: End

    def node(self, lan: Lan) -> Iterator[Row]:
        """The node speaks from its address on the NIC's LAN."""
        node = self.here.cluster.node1
        seen = [lan.host(node.number)]
        yield Row(self.ifname, f"node → {self.ifname}", End.of(node), self.nic, seen, "the node")
        yield self.from_nic("node", End.of(node))

    def services(self) -> Iterator[Row]:
        for at, (end, service) in services(self.here).items():
            seen = list(self.here.cluster.node1.devices.values())
            row = self.from_nic(f"ClusterIP, {at}", end)
            yield replace(row, service=service, seen=seen, seen_as=ANY_NODE)

    def overlay(self) -> Iterator[Row]:
        ends = overlay_ends(self.here.cluster)
        for at, end in ends.items():
            yield self.from_nic(f"overlay pod, {at}", end)
        for at, end in ends.items():
            yield replace(
                self.to_nic("overlay pod", end, "the overlay pod"),
                text=f"overlay pod → {self.ifname}, {at}",
            )

    def to_nic(self, who: str, client: End, seen_as: str, alone: tuple[int, ...] = ()) -> Row:
        text = f"{who} → {self.ifname}"
        return Row(self.ifname, text, client, self.nic, [client.addresses], seen_as, alone=alone)

    def from_nic(self, whom: str, server: End) -> Row:
        text = f"{self.ifname} → {whom}"
        return Row(self.ifname, text, self.nic, server, [self.nic.addresses], self.ifname, bound=True)


def pod_rows(here: Deployment, newest: str) -> Iterator[Row]:
    """What the pod asks without naming an address, and its overlay NIC as before."""
    cluster = here.cluster
    eth0, outside = End.of(pod_of(cluster)), End.of(cluster.external)
    seen = [here.end("pod1", newest).addresses]
    yield Row("pod", "pod → outside", eth0, outside, seen, newest, alone=(4,))
    for at, (end, service) in services(here).items():
        text = f"pod → ClusterIP, {at}"
        yield Row("pod", text, eth0, end, [eth0.addresses], OVERLAY_NIC, service, alone=(6,))
    for at, end in overlay_ends(cluster).items():
        text = f"pod → overlay pod, {at}"
        yield Row("pod", text, eth0, end, [eth0.addresses], OVERLAY_NIC, alone=(6,))
    node, seen = End.of(cluster.node1), list(cluster.node1.devices.values())
    yield Row("eth0", "node → eth0", node, eth0, seen, ANY_NODE, alone=(6,))
    for at, end in overlay_ends(cluster).items():
        text = f"overlay pod → eth0, {at}"
        yield Row("eth0", text, end, eth0, [end.addresses], "the overlay pod", alone=(6,))


def overlay_ends(cluster: Cluster) -> dict[str, End]:
    """An overlay pod on each node."""
    return {"this node": End.of(cluster.overlay1), "other node": End.of(cluster.overlay2)}


def services(here: Deployment) -> dict[str, tuple[End, Service]]:
    """A ClusterIP for each of them. Overlay addresses reach it as they are, others masqueraded."""
    ends = overlay_ends(here.cluster)
    found = numbered({"here": ends["this node"].addresses, "there": ends["other node"].addresses})
    return dict(zip(ends, zip(ends.values(), found.values(), strict=True), strict=True))


SCENARIO = Scenario(
    name="overlay",
    text="The pod's first NIC is the overlay's, and net1 is macvlan, on the LAN.",
    plugin="router",
    scene=scene,
    networks=networks,
    rows=rows,
    variants=behind_macvlan("router", remark("net1")),
)
