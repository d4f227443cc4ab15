"""Nodes for tests of claims: a namespace with a link in a network, a store, and rivals."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

from underlay.claims import CLAIM, DIRECTORY, Claims, claim_route
from underlay.cni.claim import Remember, claim, release
from underlay.cni.errors import CniError
from underlay.cni.wish import Claimant, Wish
from underlay.lab.namespace import Netns, create, delete
from underlay.netlink.facts import NodeKernel
from underlay.netns import open_netns
from underlay.objects import IP, Route
from underlay.ranges import Range

POD, OTHER = "c1/lan:eth0:vxlan.json", "c2/lan:eth0:vxlan.json"
OWN4, OWN6 = ip_address("10.66.0.1"), ip_address("fd66::1")  # of the node
OVER4, OVER6 = ip_address("10.66.0.2"), ip_address("fd66::2")  # the next hop to what another node has
BIRD = 12
SHORT = 0.01  # seconds: where what another node does is there before the wait begins, and is seen after it


def wish(subnet: str, first: int = 0, last: int = 0, requested: str = "") -> Wish:
    return Wish((Range(ip_network(subnet), first, last),), ip_address(requested) if requested else None)


BOTH = (wish("10.66.0.0/24"), wish("fd66::/64"))


@dataclass
class Node:
    """A node with the link `mv` in a network, and addresses of its own there."""

    name: str
    root: Path

    def __post_init__(self) -> None:
        self.netns = Netns(f"t-{self.name}")
        self.claims = Claims(str(self.root / "1" / DIRECTORY), str(self.root))
        create(self.netns)
        self.netns.ip(
            "link add name mv type veth peer name lan", "link set lan up", "link set mv up",
            f"addr add {OWN4}/24 dev mv", f"addr add {OWN6}/64 dev mv nodad",
        )  # fmt: skip
        self.fd = open_netns(self.netns.path)
        self.kernel = NodeKernel(self.fd, None)

    def close(self) -> None:
        self.kernel.close()
        os.close(self.fd)
        delete(self.netns)

    def claim(
        self,
        *wishes: Wish,
        owner: str = POD,
        dev: str = "mv",
        wait: float | None = 0.0,
        remember: Remember = lambda _: None,
        kernel: NodeKernel | None = None,
    ) -> tuple[IP, ...]:
        claimant = Claimant(dev, owner, wait)
        return claim(wishes, claimant, self.claims, kernel or self.kernel, remember)

    def release(self, *ips: IP, owner: str = POD) -> list[CniError]:
        return release([claim_route(ip, "mv") for ip in ips], owner, self.claims, self.kernel)

    def routes(self, proto: int = CLAIM) -> set[IP]:
        """The addresses to which `ip` shows a route of that protocol."""
        lines = "".join(
            self.netns.run("ip", version, "route", "show", "proto", str(proto)) for version in ("-4", "-6")
        )
        return {ip_address(line.split()[0]) for line in lines.splitlines()}

    def learns(self, *ips: IP) -> None:
        """What a routing daemon does when it hears of claims of another node."""
        for ip in ips:
            via = OVER4 if ip.version == 4 else OVER6
            self.netns.ip(f"route add {ip}/{ip.max_prefixlen} via {via} dev mv metric 32 proto bird")


@contextmanager
def nodes(directory: Path, *names: str) -> Iterator[list[Node]]:
    """New nodes, which keep their claims below the directory, and are gone afterwards."""
    made: list[Node] = []
    try:
        for name in names:
            made.append(Node(name, directory / name))
        yield made
    finally:
        for node in made:
            node.close()


def is_untouched(node: Node) -> bool:
    """Whether there is no claim of the node, nor any trace of one."""
    return not node.routes() and not node.root.exists()


@dataclass
class Rival:
    """Another node that has claimed what this call is about to claim, `times` times."""

    node: Node
    times: int
    version: int = 0  # of what it claims, 0 for both
    seen: list[IP] = field(default_factory=list)

    def __call__(self, claims: tuple[Route, ...]) -> None:
        new = [ip for ip in addresses(claims) if ip not in self.seen and self.version in (0, ip.version)]
        if self.times and new:
            self.times -= 1
            self.seen += new
            self.node.learns(*new)


def addresses(routes: Sequence[Route]) -> list[IP]:
    return [route.dst.network_address for route in routes]
