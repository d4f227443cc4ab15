"""What plugins leave on the nodes: what `ip` and `bridge` show there, and their files, compared."""

from __future__ import annotations

import os
import time

from underlay.lab.addresses import VERSIONS
from underlay.lab.cluster import Cluster
from underlay.lab.namespace import Netns

COMPARED = "links, addresses, routes, rules, neighbours, multicast groups, forwarding entries, records"
# Only lasting neighbours: others come and go by themselves.
SHOWN = ("link", "addr", "route show table all", "rule", "neigh show nud permanent", "maddr")
PATIENCE = 5.0  # seconds, after which what still changes is taken as it is
PAUSE = 0.05  # seconds: the kernel gives a new link its IPv6 addresses a moment later


class Traces:
    """The nodes as they are when this is made."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nodes = {node.netns: _at_rest(node.netns) for node in cluster.nodes}
        self._files = _files(cluster)

    def left(self) -> list[str]:
        """What differs now: lines that are there or gone, with the node's name, and new files."""
        lines = [
            f"{netns.name}: {line}"
            for netns, before in self._nodes.items()
            for line in sorted(before ^ _again(netns, before))
        ]
        return [*lines, *sorted(_files(self._cluster) - self._files)]


def _again(netns: Netns, before: set[str]) -> set[str]:
    """Without waiting where all is as before."""
    now = _shown(netns)
    return now if now == before else _at_rest(netns)


def _at_rest(netns: Netns) -> set[str]:
    """Read until it stands still."""
    deadline = time.monotonic() + PATIENCE
    before, now = set[str](), _shown(netns)
    while now != before and time.monotonic() < deadline:
        time.sleep(PAUSE)
        before, now = now, _shown(netns)
    return now


def _shown(netns: Netns) -> set[str]:
    commands = "\n".join(SHOWN)
    shown = [netns.run("ip", f"-{version}", "-o", "-batch", "-", stdin=commands) for version in VERSIONS]
    return set("".join([*shown, netns.run("bridge", "fdb", "show")]).splitlines())


def _files(cluster: Cluster) -> set[str]:
    """Records, and what of theirs is on a node's own /run."""
    places = (cluster.records, *(cluster.path(node.netns.name, "run", "underlay") for node in cluster.nodes))
    found = (
        os.path.join(parent, name) for each in places for parent, _, names in os.walk(each) for name in names
    )
    return set(found)
