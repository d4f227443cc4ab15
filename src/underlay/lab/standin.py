"""A scenario's pods by the stand-in runtime: namespaces, and a chain of plugins called for each NIC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

from underlay.lab import definitions, routing
from underlay.lab.addresses import Addresses, IPAddress
from underlay.lab.cluster import Cluster
from underlay.lab.connectivity import Answer, Probe, reach_all
from underlay.lab.errors import LabError
from underlay.lab.pod import Json
from underlay.lab.runtime import Runtime
from underlay.lab.scenario import Deployment, Nic
from underlay.lab.topology import Node


@dataclass(frozen=True)
class StandIn:
    """Its processes are the plugins alone; what is in a pod is asked from its namespace."""

    cluster: Cluster

    def attach(self, here: Deployment) -> None:
        self.cluster.lab.up(*here.scene.pods)
        for nic in here.scene.nics:
            self.cluster.runtime(nic.node).add(here.network(nic), nic.pod, nic.ifname)
            if here.scenario.routed:
                routing.spread(self.cluster, nic.node)

    def detach(self, here: Deployment) -> None:
        """Last NIC first."""
        for nic in reversed(here.scene.nics):
            self.cluster.runtime(nic.node).delete(here.network(nic), nic.pod, nic.ifname)
        self.cluster.lab.remove(*here.scene.pods)

    def addresses(self, here: Deployment, nic: Nic) -> Addresses:
        return _both(ip_interface(each["address"]).ip for each in self._given(here, nic))

    def gateways(self, here: Deployment, nic: Nic) -> Addresses:
        return _both(ip_address(each["gateway"]) for each in self._given(here, nic))

    def reach_all(self, probes: Sequence[Probe]) -> list[Answer]:
        return reach_all(probes)

    def _given(self, here: Deployment, nic: Nic) -> list[Json]:
        """What IPAM gave, as the result of ADD has it."""
        attachment = self.cluster.runtime(nic.node).attachment(here.network(nic), nic.pod, nic.ifname)
        if attachment is None:
            raise LabError(f"pod {nic.pod.name} has no {nic.ifname}: take the lab down and up again")
        given: list[Json] = attachment.result["ips"]
        return given


@dataclass(frozen=True)
class StandInPods:
    """Pods that are started by name on one node, with the networks that their annotations ask for."""

    cluster: Cluster
    node: Node

    def run(self, name: str, annotations: Mapping[str, str]) -> None:
        pod = self.cluster.lab.pod(name)
        given = {definitions.POD_ANNOTATIONS: dict(annotations)}
        self.cluster.lab.up(pod)
        try:
            self._runtime.add(self._network, pod, "eth0", **given)
        except LabError as error:
            try:
                self.remove(name)  # a runtime calls DEL for what has failed, too
            except LabError as second:
                error.add_note(str(second))
            raise

    def remove(self, name: str) -> None:
        pod = self.cluster.lab.pod(name)
        try:
            self._runtime.delete(self._network, pod)
        finally:
            self.cluster.lab.remove(pod)

    @property
    def _runtime(self) -> Runtime:
        return self.cluster.runtime(self.node)

    @property
    def _network(self) -> Json:
        return definitions.several_nics(self.cluster)


def _both(given: Iterable[IPAddress]) -> Addresses:
    found = {each.version: each for each in given}
    return Addresses(IPv4Address(found[4]), IPv6Address(found[6]))
