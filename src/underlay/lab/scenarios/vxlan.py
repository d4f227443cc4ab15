"""Pods in layer-2 networks that VXLAN stretches over both nodes, with `routetable` for their addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from underlay.lab.addresses import subnets
from underlay.lab.cluster import Cluster
from underlay.lab.matrix import ANY_NODE, End, Row
from underlay.lab.networks import Variant, network
from underlay.lab.pod import Json
from underlay.lab.scenario import Deployment, Nic, Scenario, Scene
from underlay.lab.scenarios.overlay import overlay_ends, services

MULTICAST = Variant("multicast", "vxlan over a multicast group")
UNICAST = Variant("unicast", "vxlan over unicast to its peers")
# Addresses are drawn at random: from a /64 they would be too long to read.
BLUE, GREEN = subnets("10.66.0.0/24", "fd00:66::/112"), subnets("10.67.0.0/24", "fd00:67::/112")
MTU = 1450  # bytes: what the LAN's 1500 leave beside the headers of VXLAN over IPv4
TOO_LONG = "message too long"  # EMSGSIZE
POD, NODE = "the pod", "the node"


def scene(cluster: Cluster) -> Scene:
    places = {"blue1": cluster.node1, "blue2": cluster.node1, "blue3": cluster.node2}
    places |= {"green1": cluster.node1, "green2": cluster.node2}
    nics = tuple(Nic(cluster.lab.pod(n), "eth0", n.rstrip("123"), node) for n, node in places.items())
    return Scene(tuple(nic.pod for nic in nics), nics)


def networks(cluster: Cluster, variant: Variant) -> dict[str, Json]:
    """On a LAN either will do; `peers` needs no more than that the nodes reach each other."""
    peers = [str(node.addresses.v4) for node in cluster.nodes]
    found = {}
    for name, vni, group, subnet in (("blue", 5001, "239.1.1.1", BLUE), ("green", 5002, "239.1.1.2", GREEN)):
        options: Json = {"vtepdev": "eth0"}
        vxlan: Json = {"name": name, "id": vni, "cidr": [str(subnet.v4), str(subnet.v6)], "options": options}
        if variant == MULTICAST:
            options["group"] = group
        else:
            vxlan["peers"] = peers
        found[name] = network(name, plugin(cluster, vxlan))
    return found


def plugin(cluster: Cluster, vxlan: Json) -> Json:
    """Ours, for one network."""
    return {
        "type": "vxlan",
        "defaultNetwork": vxlan["name"],
        "vxlans": [vxlan],
        "ipam": {"type": "routetable"},
        "log_options": {"log_file": cluster.path("vxlan.log")},
    }


def rows(here: Deployment) -> list[Row]:
    pods = {nic.pod.name: here.end(nic.pod.name, nic.ifname) for nic in here.scene.nics}
    groups = (_networks(pods), _nodes(here, pods), _cluster(here, pods), _outside(here, pods), _sizes(pods))
    return [row for group in groups for row in group]


def _networks(pods: Mapping[str, End]) -> Iterator[Row]:
    """Two pods of one network speak at layer 2, others through the nodes."""
    ways = {
        "blue → blue, same node": ("blue1", "blue2"),
        "blue → blue, other node": ("blue1", "blue3"),
        "green → green, other node": ("green1", "green2"),
        "blue → green, same node": ("blue1", "green1"),
        "blue → green, other node": ("blue1", "green2"),
        "green → blue, other node": ("green1", "blue3"),
    }
    for text, (one, other) in ways.items():
        group = "one network" if one.rstrip("123") == other.rstrip("123") else "two networks"
        yield _from_pod(group, text, pods[one], pods[other])


def _nodes(here: Deployment, pods: Mapping[str, End]) -> Iterator[Row]:
    """Its own node speaks to a pod from the network's gateway, another node from the LAN."""
    blue, node1, node2 = pods["blue1"], End.of(here.cluster.node1), End.of(here.cluster.node2)
    gateway = here.gateways("blue1", "eth0")
    yield Row("node", "node → its blue pod", node1, blue, [gateway], "the pod's gateway")
    yield _from_pod("node", "blue → its node", blue, node1)
    yield Row("node", "node → blue, other node", node2, blue, [node2.addresses], NODE)
    yield _from_pod("node", "blue → other node", blue, node2)


def _cluster(here: Deployment, pods: Mapping[str, End]) -> Iterator[Row]:
    """The node is the pod's gateway, so services and the overlay need nothing more."""
    blue, seen = pods["blue1"], list(here.cluster.node1.devices.values())
    for at, (end, service) in services(here).items():
        yield Row("cluster", f"blue → ClusterIP, {at}", blue, end, seen, ANY_NODE, service)
    for at, end in overlay_ends(here.cluster).items():
        yield _from_pod("cluster", f"blue → overlay pod, {at}", blue, end)
    for at, end in overlay_ends(here.cluster).items():
        yield Row("cluster", f"overlay pod → blue, {at}", end, blue, [end.addresses], "the overlay pod")


def _outside(here: Deployment, pods: Mapping[str, End]) -> Iterator[Row]:
    outside = End.of(here.cluster.external)
    for text, pod in (("blue on node1", pods["blue1"]), ("green on node2", pods["green2"])):
        yield Row("outside", f"outside → {text}", outside, pod, [outside.addresses], "the client")
        yield _from_pod("outside", f"{text} → outside", pod, outside)


def _sizes(pods: Mapping[str, End]) -> Iterator[Row]:
    """A packet that fills the MTU fits with its outer headers into the LAN's; the pod knows the limit."""
    one, other = pods["blue1"], pods["blue3"]
    text = f"blue → blue, {MTU} bytes, DF"
    yield Row("size", text, one, other, [one.addresses], POD, size=MTU)
    text = f"{MTU + 1} bytes, DF: refused"
    yield Row("size", text, one, other, [], "nothing of it", size=MTU + 1, refusal=TOO_LONG)


def _from_pod(group: str, text: str, pod: End, server: End) -> Row:
    return Row(group, text, pod, server, [pod.addresses], POD)


SCENARIO = Scenario(
    name="vxlan",
    text=(
        "The pods are in the networks blue and green, layer 2 over both nodes, and routetable gives them"
        " their addresses. No routing daemon runs here: after each ADD the lab itself gives the other node,"
        " gateway-a and the machine outside static routes to what the node has claimed (proto 202), as such"
        " a daemon would."
    ),
    plugin="vxlan",
    scene=scene,
    networks=networks,
    rows=rows,
    variants=(MULTICAST, UNICAST),
    routed=True,
    shared=True,
)
