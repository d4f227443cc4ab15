"""A scenario's pods under containerd: a sandbox for each, with the NICs that its annotations name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import groupby

from underlay.lab import inside, routing
from underlay.lab.addresses import VERSIONS, Addresses, IPAddress
from underlay.lab.connectivity import Answer, Probe
from underlay.lab.containerd import python
from underlay.lab.containerd.pods import Pods
from underlay.lab.errors import LabError
from underlay.lab.namespace import Netns
from underlay.lab.nics import nics
from underlay.lab.scenario import Deployment, Nic
from underlay.lab.topology import Node

Annotations = Callable[[Deployment, Sequence[Nic]], Mapping[str, str]]


@dataclass(frozen=True)
class UnderContainerd:
    """`annotations` says what a pod with these NICs has. What is in a pod is asked in its container."""

    pods: Mapping[Node, Pods]
    annotations: Annotations

    def attach(self, here: Deployment) -> None:
        """All pods at once, as kubelets start them.

        In a routed scenario node by node: each has to know what the others have claimed, and nobody else
        tells it. Of 254 addresses two nodes draw the same one every now and then.
        """
        made = by_pod(here.scene.nics)
        if not here.scenario.routed:
            self._run_all(here, made)
            return
        for node in self.pods:
            self._run_all(here, [pod for pod in made if pod[0].node == node])
            routing.spread(here.cluster, node)

    def detach(self, here: Deployment) -> None:
        gone = by_pod(here.scene.nics)
        with ThreadPoolExecutor(len(gone)) as pool:
            list(pool.map(lambda pod: self._of(pod[0]).remove(pod[0].pod.name), gone))

    def addresses(self, here: Deployment, nic: Nic) -> Addresses:
        found = nics(nic.pod.netns).get(nic.ifname, {})
        return _both(found, f"{nic.pod.netns.name} {nic.ifname} has no address")

    def gateways(self, here: Deployment, nic: Nic) -> Addresses:
        return _both(_gateways(nic), f"{nic.pod.netns.name} {nic.ifname} has no default route")

    def reach_all(self, probes: Sequence[Probe]) -> list[Answer]:
        return inside.reach_all(probes, dict(self._containers(probes)))

    def _containers(self, probes: Iterable[Probe]) -> Iterable[tuple[Netns, inside.Command]]:
        asked = {probe.client for probe in probes} | {probe.server.netns for probe in probes}
        for pods in self.pods.values():
            for sandbox in pods.all():
                if (netns := pods.netns(sandbox.name)) in asked:
                    yield netns, _command(pods, sandbox.name)

    def _run_all(self, here: Deployment, made: Sequence[Sequence[Nic]]) -> None:
        with ThreadPoolExecutor(len(made)) as pool:
            list(pool.map(lambda pod: self._run(here, pod), made))

    def _run(self, here: Deployment, pod: Sequence[Nic]) -> None:
        self._of(pod[0]).run(pod[0].pod.name, self.annotations(here, pod))

    def _of(self, nic: Nic) -> Pods:
        return self.pods[nic.node]


def by_pod(every: Sequence[Nic]) -> list[list[Nic]]:
    """The NICs of each pod, in their order."""
    return [list(group) for _, group in groupby(every, lambda nic: nic.pod)]


def _command(pods: Pods, name: str) -> inside.Command:
    return lambda: [*pods.entering(name), *python.command()]


def _gateways(nic: Nic) -> dict[int, IPAddress]:
    """As the default routes of the main table have them."""
    found = {}
    for version in VERSIONS:
        shown = nic.pod.netns.run(
            "ip", f"-{version}", "-json", "route", "show", "default", "dev", nic.ifname
        )
        with suppress(IndexError, KeyError):
            found[version] = ip_address(json.loads(shown)[0]["gateway"])
    return found


def _both(found: Mapping[int, IPAddress], otherwise: str) -> Addresses:
    if set(found) != set(VERSIONS):
        raise LabError(f"{otherwise} of both families: take the lab down and up again")
    return Addresses(IPv4Address(found[4]), IPv6Address(found[6]))
