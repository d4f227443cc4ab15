"""A scenario: the pods that are put on the cluster, what makes their networks, and what they must reach.

A further one is a file in scenarios/ with one value, and its name in scenarios/__init__.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from underlay.lab import manifests, routing
from underlay.lab.addresses import Addresses
from underlay.lab.cluster import Cluster
from underlay.lab.connectivity import Answer, Probe
from underlay.lab.errors import LabError
from underlay.lab.lab import Guest
from underlay.lab.matrix import End, Line, Row, measure
from underlay.lab.networks import Variant
from underlay.lab.pod import Json, Pod
from underlay.lab.services import Service, serve
from underlay.lab.topology import Node

NETWORKS, CHOICE = "net.d", "scenario.json"


@dataclass(frozen=True)
class Nic:
    """One attachment: this NIC of this pod on this network, by the runtime of this node."""

    pod: Pod
    ifname: str
    network: str
    node: Node


@dataclass(frozen=True)
class Scene:
    """What a scenario puts on the cluster: its pods, and their NICs in the order of ADD.

    What an ADD does is shown for the last NIC of the pod that comes first.
    """

    pods: tuple[Guest, ...]
    nics: tuple[Nic, ...]

    @property
    def shown(self) -> Nic:
        return [nic for nic in self.nics if nic.pod == self.nics[0].pod][-1]


@dataclass(frozen=True)
class Scenario:
    """All of it as a value.

    `networks` are the configuration lists by name that `scene` attaches the pods to, `rows` is what they
    must reach then. `variants` are the ways to make the pods; the last one is made unless told otherwise.
    `plugin` is ours. `routed` pods have addresses that no subnet of a LAN leads to: the lab spreads routes
    to them. `shared` says that what pods share on a node must go with the last of them, which is shown.
    """

    name: str
    text: str
    plugin: str
    scene: Callable[[Cluster], Scene]
    networks: Callable[[Cluster, Variant], dict[str, Json]]
    rows: Callable[[Deployment], list[Row]]
    variants: tuple[Variant, ...]
    routed: bool = False
    shared: bool = False

    def variant(self, name: str) -> Variant:
        """The variant of that name; LabError lists what there is."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        there_are = ", ".join(each.name for each in self.variants)
        raise LabError(f"scenario {self.name} has no variant {name}: there are {there_are}")


class Hosting(Protocol):
    """Who makes a scenario's pods, and knows what has come of it."""

    def attach(self, here: Deployment) -> None:
        """Makes the pods with real CNI calls."""

    def detach(self, here: Deployment) -> None:
        """Deletes them as a runtime does."""

    def addresses(self, here: Deployment, nic: Nic) -> Addresses:
        """Those that IPAM gave to a NIC."""

    def gateways(self, here: Deployment, nic: Nic) -> Addresses:
        """By which the NIC leaves its network."""

    def reach_all(self, probes: Sequence[Probe]) -> list[Answer]:
        """Sends probes from the pods, and from all other machines."""


class Deployment:
    """A scenario on a cluster: `attach` and `detach` have plugins called, all else tells what is there."""

    def __init__(self, cluster: Cluster, scenario: Scenario, hosting: Hosting) -> None:
        self.cluster = cluster
        self.scenario = scenario
        self.hosting = hosting
        self.scene = scenario.scene(cluster)

    def attach(self, variant: Variant) -> None:
        """Makes the pods, and the services that have endpoints."""
        networks = self.scenario.networks(self.cluster, variant)
        for name, network in networks.items():
            _write(network, self.cluster.path(NETWORKS, f"{name}.conflist"))
        manifests.write(networks, self.cluster.path(manifests.MANIFESTS))
        self.hosting.attach(self)
        serve(self.cluster.nodes, self.services)
        _write({"scenario": self.scenario.name, "variant": variant.name}, self.cluster.path(CHOICE))

    def detach(self) -> None:
        self.hosting.detach(self)
        if self.scenario.routed:
            routing.withdraw(self.cluster)

    def measure(self) -> list[Line]:
        """What comes of every way, at once."""
        return measure(self.rows, self.hosting.reach_all)

    def end(self, pod: str, ifname: str) -> End:
        """A NIC that the plugins have made, as one end of a way."""
        nic = self._nic(pod, ifname)
        return End(nic.pod.netns, self.hosting.addresses(self, nic))

    def gateways(self, pod: str, ifname: str) -> Addresses:
        """By which the NIC leaves its network."""
        return self.hosting.gateways(self, self._nic(pod, ifname))

    def _nic(self, pod: str, ifname: str) -> Nic:
        return next(nic for nic in self.scene.nics if (nic.pod.name, nic.ifname) == (pod, ifname))

    def network(self, nic: Nic) -> Json:
        """The NIC's configuration list, read where a runtime reads it."""
        return _read(self.cluster.path(NETWORKS, f"{nic.network}.conflist"))

    @property
    def rows(self) -> list[Row]:
        """Every way that must work."""
        return self.scenario.rows(self)

    @property
    def services(self) -> list[Service]:
        """Those that some row leads to."""
        return list(dict.fromkeys(row.service for row in self.rows if row.service))


def deployed(
    cluster: Cluster, scenarios: Sequence[Scenario], hosting: Hosting
) -> tuple[Deployment, Variant]:
    """What is up, and what made it; LabError when no lab is."""
    choice = _read(cluster.path(CHOICE))
    scenario = named(choice["scenario"], scenarios)
    return Deployment(cluster, scenario, hosting), scenario.variant(choice["variant"])


def named(name: str, scenarios: Sequence[Scenario]) -> Scenario:
    """The scenario of that name; LabError lists what there is."""
    for scenario in scenarios:
        if scenario.name == name:
            return scenario
    raise LabError(f"there is no scenario {name}: there are {', '.join(each.name for each in scenarios)}")


def _write(value: Json, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)


def _read(path: str) -> Json:
    try:
        with open(path, encoding="utf-8") as file:
            value: Json = json.load(file)
    except FileNotFoundError as error:
        raise LabError("no lab is up: `underlay lab up` builds one") from error
    return value
