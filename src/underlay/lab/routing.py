"""A stand-in for a routing daemon: spreads the routes to the addresses that the nodes claim.

A daemon such as bird exports the routes of protocol 202 from each node. Here the lab reads them after an
ADD and sets static routes on the others: that is what they would learn, without the wait for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from underlay.claims import CLAIM
from underlay.lab.addresses import VERSIONS, Addresses
from underlay.lab.cluster import Cluster
from underlay.lab.namespace import Netns
from underlay.lab.topology import Node


def spread(cluster: Cluster, node: Node) -> None:
    """Gives the other nodes, the LAN's gateway and the outside routes to all that the node claims."""
    claims = [(version, dst) for version in VERSIONS for dst in _claimed(node, version)]
    for machine, gateway in _ways(cluster, node):
        machine.ip(*(f"route replace {dst} via {gateway.of(v)} proto static" for v, dst in claims))


def withdraw(cluster: Cluster) -> None:
    """Takes all of them back."""
    machines = {machine for node in cluster.nodes for machine, _ in _ways(cluster, node)}
    for machine in machines:
        for version in VERSIONS:
            machine.run("ip", f"-{version}", "route", "flush", "proto", "static")


def _claimed(node: Node, version: int) -> list[str]:
    shown = node.netns.run("ip", f"-{version}", "-json", "route", "show", "proto", str(CLAIM))
    return [route["dst"] for route in json.loads(shown)]


def _ways(cluster: Cluster, node: Node) -> Iterator[tuple[Netns, Addresses]]:
    """Each other machine that routes, and its next hop on the way to the node."""
    for other in cluster.nodes:
        if other != node:
            yield other.netns, node.addresses
    yield cluster.gateway_a.netns, node.addresses
    yield cluster.external.netns, cluster.gateway_a.outside
