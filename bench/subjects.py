"""The plugins that are measured: how a pod is prepared, and what is called for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.floor import Script, Scripts
from bench.replay import Replay
from bench.stage import NIC, PEER, Calls, Stage, calls
from underlay.lab.pod import Json, Pod
from underlay.objects import Object
from underlay.plugins import PLUGINS

Versions = tuple[int, ...]  # of IP
HIJACKED: Json = {
    "service_hijack_subnet": ["10.96.0.0/12", "fd00:96::/108"],
    "overlay_hijack_subnet": ["10.244.0.0/16", "fd00:244::/48"],
}
VXLANS: dict[Versions, Json] = {
    (4,): {"name": "blue", "id": 5001, "cidr": "10.66.0.0/16"},
    (4, 6): {"name": "green", "id": 5002, "cidr": ["10.67.0.0/16", "fd67::/64"]},
}


class Subject(Protocol):
    """A plugin, for pods of the IP versions that are asked for."""

    @property
    def name(self) -> str: ...

    def plug(self, stage: Stage, pods: Sequence[Pod], versions: Versions) -> None:
        """What has to be there before the plugin is called."""

    def calls(self, stage: Stage, pod: Pod, versions: Versions) -> Calls:
        """Its calls for a pod of `plug`."""

    def further_calls(self, stage: Stage, pod: Pod, versions: Versions) -> Calls:
        """The same for a pod that the other subjects have attached already."""


@dataclass(frozen=True)
class Veth:
    """`veth` behind a macvlan that is there already."""

    name: str = "veth"

    def plug(self, stage: Stage, pods: Sequence[Pod], versions: Versions) -> None:
        stage.plug(pods, versions)

    def calls(self, stage: Stage, pod: Pod, versions: Versions) -> Calls:
        result = stage.macvlan_result(pod, versions)
        network = {"cniVersion": "1.0.0", "name": "bench", "type": self.name}
        return calls({**network, **HIJACKED, "prevResult": result}, pod, NIC)

    def further_calls(self, stage: Stage, pod: Pod, versions: Versions) -> Calls:
        return self.calls(stage, pod, versions)


@dataclass(frozen=True)
class Vxlan:
    """`vxlan` with `routetable`, which waits for nothing."""

    name: str = "vxlan"

    def plug(self, stage: Stage, pods: Sequence[Pod], versions: Versions) -> None:
        """It makes the NIC itself."""

    def calls(self, stage: Stage, pod: Pod, versions: Versions) -> Calls:
        return self._calls(pod, VXLANS[versions], NIC)

    def further_calls(self, stage: Stage, pod: Pod, versions: Versions) -> Calls:
        return self._calls(pod, {**VXLANS[versions], "default_route": False}, "net1")

    def _calls(self, pod: Pod, network: Json, ifname: str) -> Calls:
        config = {
            "cniVersion": "1.0.0",
            "name": f"{network['name']}-net",
            "type": self.name,
            "defaultNetwork": network["name"],
            "vxlans": [{**network, "peers": [str(PEER)], "options": {"port": "4789"}}],
            "ipam": {"type": "routetable", "propagation_wait": "0s"},
        }
        return calls(config, pod, ifname)


SUBJECTS: tuple[Subject, ...] = tuple(each for each in (Veth(), Vxlan()) if each.name in PLUGINS)


def recorded(stage: Stage, wanted: Calls) -> tuple[Object, ...]:
    """What the ADD of these calls has made, while it is there."""
    with stage.own.records.pod(wanted.pod.container_id) as pod:
        (record,) = (record for record in pod.all() if record.plugin == wanted.plugin)
    return (*record.plan.present, *record.claims)


def replayed(stage: Stage, wanted: Calls, objects: Sequence[Object], host_index: int) -> Scripts:
    """The same for floor.c, while it is not there. A link on the node gets `host_index`."""
    with stage.kernel(wanted.pod) as kernel:
        replay = Replay(objects, kernel, host_index)
        added, removed = replay.added(), replay.removed()
    path = wanted.pod.netns.path
    return Scripts(Script(path, added), Script(path, removed))
