"""A scenario: the pods that are put on the cluster, what makes their networks, and what they must reach.

A further one is a file in scenarios/ with one value, and its name in scenarios/__init__.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from underlay.lab.cluster import Cluster
from underlay.lab.lab import Removable
from underlay.lab.pod import Json, Pod
from underlay.lab.topology import Node


class Chain(Enum):
    """A demonstration makes the same pods twice: without our plugin, and with it."""

    WITHOUT = "without"
    WITH = "with"


@dataclass(frozen=True)
class Nic:
    """One attachment: this NIC of this pod on this network, by the runtime of this node."""

    pod: Pod
    ifname: str
    network: str
    node: Node


@dataclass(frozen=True)
class Scene:
    """What a scenario puts on the cluster: pods, their networks by name, and the NICs in the order of ADD.

    What ADD changes is shown for the last NIC of `pod1`, the first NIC's pod.
    """

    pods: tuple[Removable, ...]
    nics: tuple[Nic, ...]
    networks: dict[str, Json]

    @property
    def shown(self) -> Nic:
        """The NIC whose ADD is shown as commands."""
        return [nic for nic in self.nics if nic.pod == self.nics[0].pod][-1]


@dataclass(frozen=True)
class Scenario:
    """A value that says it all: `scene` is how to attach, `rows` what must work then.

    `plugin` is ours, chained behind macvlan. `remark` explains what is seen without it.
    """

    name: str
    text: str
    plugin: str
    scene: Callable[[Cluster, Chain], Scene]
    rows: Callable[[Deployment], list[Row]]
    remark: str = ""

    def made_with(self, chain: Chain) -> str:
        """What makes the pods' networks, in words."""
        return "macvlan alone" if chain is Chain.WITHOUT else f"{self.plugin} chained behind macvlan"
