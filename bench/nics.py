"""The NICs that pods have before one of our plugins is called for them."""

from __future__ import annotations

from collections.abc import Sequence

from bench.stage import LAN, Stage
from underlay.lab.addresses import EVERYWHERE, Addresses
from underlay.lab.overlay import OVERLAY, OverlayPod
from underlay.lab.pod import Json, Pod
from underlay.lab.topology import GATEWAY

MASTER = "eth0"  # of the node
METRICS = (100, 512)  # of the overlay's default routes: macvlan's own are 0 and 1024


class PodOfMany(OverlayPod):
    """Its address is one of the whole overlay's: the block of a node of the lab has 254."""

    @property
    def addresses(self) -> Addresses:
        return OVERLAY.host(self.number)


def plug_overlay(stage: Stage, pods: Sequence[Pod]) -> None:
    """Gives each pod an eth0 of the overlay, dual stack, as its first NIC."""
    for pod in pods:
        PodOfMany(pod.netns, stage.node, int(pod.name), METRICS).up()


def plug_macvlan(stage: Stage, pods: Sequence[Pod], ifname: str, versions: Sequence[int]) -> None:
    """Gives each pod a macvlan NIC on the LAN, with an address and a default of these IP versions."""
    new, kind = f"link add {ifname} link {MASTER}", "type macvlan mode bridge"
    stage.node.netns.ip(*(f"{new} netns {pod.netns.name} {kind}" for pod in pods))
    for pod in pods:
        # Hundreds of pods that look for a router would be what is measured.
        silent = {f"ipv6/conf/{ifname}/{key}": 0 for key in ("accept_ra", "router_solicitations")}
        pod.netns.sysctl(silent)
        gateways = (LAN.host(GATEWAY).of(version) for version in versions)
        pod.netns.ip(
            *(f"addr add {_address(pod, version)} dev {ifname}" for version in versions),
            f"link set {ifname} up",
            *(f"route add default via {gateway} dev {ifname}" for gateway in gateways),
        )


def macvlan_result(pod: Pod, ifname: str, versions: Sequence[int]) -> Json:
    """What the plugin macvlan would have answered for the NIC of `plug_macvlan`."""
    gateways = {version: str(LAN.host(GATEWAY).of(version)) for version in versions}
    return {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": ifname, "sandbox": pod.netns.path}],
        "ips": [
            {"interface": 0, "address": _address(pod, version), "gateway": gateway}
            for version, gateway in gateways.items()
        ],
        "routes": [{"dst": str(EVERYWHERE.of(version))} for version in versions],
    }


def _address(pod: Pod, version: int) -> str:
    return LAN.interface(int(pod.name), version)
