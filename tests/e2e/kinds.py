"""The lab's scenarios as pods that one configuration of a runtime makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from underlay.cni.call import POD_ANNOTATIONS
from underlay.lab.cluster import Cluster
from underlay.lab.containerd.hosting import Annotations
from underlay.lab.pod import Json
from underlay.lab.scenario import Deployment, Nic, Scenario, Scene
from underlay.lab.scenarios import veth, vxlan
from underlay.plugins.choice import NETWORK_NAME

LAST_OF_24 = 255  # the number of a /24's broadcast address


@dataclass(frozen=True)
class Kind:
    """A scenario, the runtime's configuration for it, and what pods are told apart by."""

    scenario: Scenario
    network: Callable[[Cluster], Json]
    annotations: Annotations

    def __str__(self) -> str:
        return self.scenario.name


def _two_pods(cluster: Cluster) -> Scene:
    every = veth.scene(cluster)
    return Scene(every.pods[:2], every.nics[:2])


def _behind_macvlan(cluster: Cluster) -> Json:
    return veth.networks(cluster, veth.SCENARIO.variants[-1])["lan-a"]


def _nothing(_here: Deployment, _nics: Sequence[Nic]) -> Mapping[str, str]:
    return {}


def _blue_and_green(cluster: Cluster) -> Json:
    """One plugin for both networks, which takes the name from the annotation."""
    blue, green = vxlan.networks(cluster, vxlan.UNICAST).values()
    (plugin,), (other,) = blue["plugins"], green["plugins"]
    both = {"vxlans": [*plugin["vxlans"], *other["vxlans"]], "capabilities": {POD_ANNOTATIONS: True}}
    return {**blue, "name": "vxlan", "plugins": [plugin | both]}


def _with_one_address_for_each(cluster: Cluster) -> Json:
    """No IPv4 address is left over: nodes that did not know of each other would draw the same ones."""
    found = _blue_and_green(cluster)
    (plugin,) = found["plugins"]
    needed = {
        name: len(cluster.nodes) + sum(nic.network == name for nic in vxlan.scene(cluster).nics)
        for name in ("blue", "green")
    }
    vxlans = [
        each | {"excludeFirst": LAST_OF_24 - needed[each["name"]], "excludeLast": 1}
        for each in plugin["vxlans"]
    ]
    return {**found, "plugins": [plugin | {"vxlans": vxlans}]}


def _network_name(_here: Deployment, nics: Sequence[Nic]) -> Mapping[str, str]:
    return {NETWORK_NAME: nics[0].network}


VETH = Kind(replace(veth.SCENARIO, scene=_two_pods, rows=veth.first_nic_rows), _behind_macvlan, _nothing)
VXLAN = Kind(vxlan.SCENARIO, _blue_and_green, _network_name)
SCARCE = Kind(replace(vxlan.SCENARIO, name="scarce"), _with_one_address_for_each, _network_name)
