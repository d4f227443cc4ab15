"""The machines of the lab and the wires between them.

    external ── outside ─┬─ router ── LAN A ─┬─ node1 eth0 ─ macvlan pods
                         └─ router ── LAN B  ├─ node2 eth0 ─ macvlan pods
                                             └─ client

Each value names what it is to be and `up()` makes it, once its namespace and its LANs are there; so a
test asks for a LAN and a node alone, and a lab is found again by computing the same values.
"""

from __future__ import annotations

from dataclasses import dataclass

from underlay.lab.addresses import EVERYWHERE, VERSIONS, Addresses, Subnets, subnets
from underlay.lab.namespace import Netns

GATEWAY = 1  # the number of a LAN's gateway
DOCKER = subnets("172.17.0.0/16", "fd00:17::/64")  # docker gives its bridge number 1
# The kernel takes its time, up to a second, to tell that a veth has carrier whose two ends have one ifindex
# (linkwatch_urgent_event in net/core/link_watch.c), and until then the bridge lets nothing through.
FIRST_PORT = 1000
ONE_QUEUE = "numtxqueues 1 numrxqueues 1"  # more make the kernel wait when a veth is made

LOOSE = {"ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 2}  # as systemd sets it on a node
STRICT = {"ipv4/conf/all/rp_filter": 1, "ipv4/conf/default/rp_filter": 1}
FORWARDING = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}
# What a cluster keeps to itself is unknown beyond its gateway, and the rest of the world says nothing.
SILENCE = [f"route add blackhole {EVERYWHERE.of(version)}" for version in VERSIONS]

# A reply that comes back another way than its request went is lost. IPv6 has no rp_filter: `fib` does it.
STATEFUL = """
table inet stateful {
  chain prerouting {
    type filter hook prerouting priority raw
    ip6 saddr != :: fib saddr . iif oif missing drop
  }
  chain forward {
    type filter hook forward priority filter; policy drop
    ct state invalid drop
    ct state { new, established, related } accept
  }
}
"""


@dataclass(frozen=True)
class Lan:
    """A physical network: a bridge in a namespace of its own, so that no node's netfilter sees inside."""

    netns: Netns
    subnets: Subnets

    def up(self) -> None:
        self.netns.sysctl({"ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1})
        self.netns.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up")
        # Conntrack of the bridge would see both directions of an asymmetric flow and hide the asymmetry.
        self.netns.sysctl({f"bridge/bridge-nf-call-{table}": 0 for table in ("iptables", "ip6tables")})

    def host(self, number: int) -> Addresses:
        return self.subnets.host(number)

    @property
    def gateway(self) -> Addresses:
        return self.host(GATEWAY)

    def plug(self, netns: Netns, dev: str, number: int) -> None:
        """Gives the namespace a NIC on this LAN, with the addresses of that number."""
        port = f"port{number}"
        self.netns.ip(
            f"link add {port} index {FIRST_PORT + number} {ONE_QUEUE} type veth"
            f" peer name {dev} {ONE_QUEUE} netns {netns.name}",
            f"link set {port} master br0 up",
        )
        netns.ip(
            *(f"addr add {self.subnets.interface(number, version)} dev {dev}" for version in VERSIONS),
            f"link set {dev} up",
        )


@dataclass(frozen=True)
class Via:
    """A route of a host: these subnets by that next hop."""

    subnets: Subnets
    gateway: Addresses


@dataclass(frozen=True)
class Host:
    """A machine with one NIC; with no routes named, the LAN's gateway is its default."""

    netns: Netns
    lan: Lan
    number: int
    routes: tuple[Via, ...] = ()

    @property
    def addresses(self) -> Addresses:
        return self.lan.host(self.number)

    def up(self) -> None:
        self.lan.plug(self.netns, "eth0", self.number)
        add_routes(self.netns, self.routes or (Via(EVERYWHERE, self.lan.gateway),))


@dataclass(frozen=True)
class Router:
    """The gateway of `lan`, with its other leg on `uplink`; a stateful one drops what is asymmetric."""

    netns: Netns
    lan: Lan
    uplink: Lan
    number: int  # on the uplink
    stateful: bool = True
    routes: tuple[Via, ...] = ()

    @property
    def outside(self) -> Addresses:
        return self.uplink.host(self.number)

    def up(self) -> None:
        self.netns.sysctl({**FORWARDING, **(STRICT if self.stateful else LOOSE)})
        self.lan.plug(self.netns, "eth0", GATEWAY)
        self.uplink.plug(self.netns, "eth1", self.number)
        add_routes(self.netns, self.routes)
        self.netns.ip(*SILENCE)
        if self.stateful:
            self.netns.nft(STATEFUL)


@dataclass(frozen=True)
class Node:
    """A Kubernetes node: eth0, eth1, … on its LANs with one number on all, forwarding on.

    With `docker` it has a docker-like bridge that is older than eth0: the kernel takes the address of
    such a device wherever nothing names a source.
    """

    netns: Netns
    lans: tuple[Lan, ...]
    number: int
    docker: bool = False

    @property
    def addresses(self) -> Addresses:
        """Those by which the cluster knows the node."""
        return self.lans[0].host(self.number)

    @property
    def devices(self) -> dict[str, Addresses]:
        """Its addresses by device."""
        docker = {"docker0": DOCKER.host(1)} if self.docker else {}
        return docker | {f"eth{index}": lan.host(self.number) for index, lan in enumerate(self.lans)}

    def up(self) -> None:
        self.netns.sysctl({**FORWARDING, **LOOSE})
        if self.docker:
            # Without a container the bridge has no carrier, so a check for duplicates would never end.
            addresses = (DOCKER.interface(1, version) for version in VERSIONS)
            given = (f"addr add {address} dev docker0 nodad" for address in addresses)
            self.netns.ip("link add docker0 type bridge", *given, "link set docker0 up")
        for index, lan in enumerate(self.lans):
            lan.plug(self.netns, f"eth{index}", self.number)
        add_routes(self.netns, (Via(EVERYWHERE, self.lans[0].gateway),))


def add_routes(netns: Netns, routes: tuple[Via, ...]) -> None:
    netns.ip(
        *(
            f"route add {via.subnets.of(version)} via {via.gateway.of(version)}"
            for via in routes
            for version in VERSIONS
        )
    )
