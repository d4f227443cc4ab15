"""The overlay network, as Calico makes it: routed /32 pods, and each node a router for its block.

pod eth0 10.244.11.5/32 ── 169.254.1.1 (proxy ARP) ── cali* of its node ── node eth0 ── the other node
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from underlay.lab.addresses import VERSIONS, Addresses, Subnets, subnets
from underlay.lab.namespace import Netns
from underlay.lab.topology import ONE_QUEUE, Node, Via, add_routes

OVERLAY = subnets("10.244.0.0/16", "fd00:244::/48")
HOST_END_MAC = "ee:ee:ee:ee:ee:ee"  # Calico's, the same on every node
GATEWAY_V4 = "169.254.1.1"
GATEWAY_V6 = "fe80::ecee:eeff:feee:eeee"  # the link-local address that the MAC above makes
FIRST_POD = 6  # in the block of a node, after the lab's own
# Of default routes with one metric the kernel takes any: for IPv4 one whose gateway it knows to be there
# (fib_select_default), for IPv6 each for a part of the flows. macvlan adds some with 0 and 1024, so with
# these its own are taken for IPv4, and the overlay's for IPv6: both ways to be wrong, and none by chance.
METRICS = (100, 512)
FELIX = """
table inet felix {
  chain prerouting {
    type filter hook prerouting priority raw
    iifname "cali*" ip6 saddr != :: fib saddr . iif oif missing drop
    iifname "cali*" meta nfproto ipv4 fib saddr . iif oif missing drop
  }
}
"""


def block(node: Node) -> Subnets:
    """The part of the overlay that lives on a node."""
    return subnets(f"10.244.{node.number}.0/24", f"fd00:244:0:{node.number}::/64")


def connect(nodes: Sequence[Node]) -> None:
    """Routes each node's block from every other one by its LAN address ("host-gw")."""
    for node in nodes:
        join(node, nodes)


def join(node: Node, nodes: Sequence[Node]) -> None:
    """Gives one node the routes to the blocks of all others."""
    others = (other for other in nodes if other != node)
    add_routes(node.netns, tuple(Via(block(other), other.addresses) for other in others))


def refuse_spoofing(nodes: Sequence[Node]) -> None:
    """Drops what a pod sends from an address that the node does not route to it, as Felix does."""
    for node in nodes:
        node.netns.nft(FELIX)


def host_end(number: int) -> str:
    """The name of a pod's link on its node."""
    return f"cali{number}"


@dataclass(frozen=True)
class OverlayPod:
    """A pod of the overlay, number `number` in the block of its node."""

    netns: Netns
    node: Node
    number: int
    metrics: tuple[int, int] = (0, 1024)  # of its default routes; the kernel takes these unless told

    @property
    def addresses(self) -> Addresses:
        return block(self.node).host(self.number)

    @property
    def host_end(self) -> str:
        return host_end(self.number)

    def up(self) -> None:
        self._wire()
        self.netns.ip(
            f"addr add {self.addresses.v4}/32 dev eth0",
            f"addr add {self.addresses.v6}/128 dev eth0",
            "link set eth0 up",
            f"route add {GATEWAY_V4} dev eth0 scope link",
            f"route add default via {GATEWAY_V4} dev eth0 metric {self.metrics[0]}",
            f"route add default via {GATEWAY_V6} dev eth0 metric {self.metrics[1]}",
        )

    def down(self) -> None:
        """With its host end, which a namespace that is deleted takes along a moment later only."""
        self.node.netns.ip(f"link del {self.host_end}")

    def _wire(self) -> None:
        pod_end = f"peer name eth0 {ONE_QUEUE} netns {self.netns.name}"
        node, name = self.node.netns, self.host_end
        node.ip(
            f"link add {name} address {HOST_END_MAC} {ONE_QUEUE} type veth {pod_end}",
            f"link set {name} up",
            *(f"route add {self.addresses.of(version)} dev {name}" for version in VERSIONS),
        )
        node.sysctl({f"ipv4/conf/{name}/proxy_arp": 1, f"ipv4/neigh/{name}/proxy_delay": 0})
