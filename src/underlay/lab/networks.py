"""Network configurations for the lab's pods: the real macvlan plugin, and what is chained behind it."""

from __future__ import annotations

from dataclasses import dataclass

from underlay.lab.addresses import VERSIONS
from underlay.lab.overlay import OVERLAY
from underlay.lab.pod import Json
from underlay.lab.services import SERVICES
from underlay.lab.topology import Lan

CNI_VERSION = "1.0.0"  # the newest that the distributions' macvlan knows
DEFAULT_ROUTES: list[Json] = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]


@dataclass(frozen=True)
class Variant:
    """One of the ways in which a scenario makes the same pods: its name, and in words what makes them.

    Where it is not `complete`, a row must be right in those families alone that it says itself; `remark`
    explains what is seen then.
    """

    name: str
    made_with: str
    complete: bool = True
    remark: str = ""


def behind_macvlan(plugin: str, remark: str = "") -> tuple[Variant, Variant]:
    """Without our plugin, and with it chained behind macvlan; `remark` is on what is seen without it."""
    return (
        Variant("without", "macvlan alone", complete=False, remark=remark),
        Variant("with", f"{plugin} chained behind macvlan"),
    )


def network(name: str, *plugins: Json, cni_version: str = CNI_VERSION) -> Json:
    """A configuration list, as a file in /etc/cni/net.d holds it."""
    return {"cniVersion": cni_version, "name": name, "plugins": list(plugins)}


def macvlan(master: str, ipam: Json) -> Json:
    """A NIC on the LAN of the node's device `master`."""
    return {"type": "macvlan", "master": master, "mode": "bridge", "ipam": ipam}


def static(lan: Lan, number: int) -> Json:
    """IPAM: host `number` of the LAN, whose gateway has the default routes."""
    addresses = [
        {"address": lan.subnets.interface(number, version), "gateway": str(lan.gateway.of(version))}
        for version in VERSIONS
    ]
    return {"type": "static", "addresses": addresses, "routes": DEFAULT_ROUTES}


def host_local(lan: Lan, first: int, last: int, data_dir: str) -> Json:
    """IPAM: the next free host of the LAN between two numbers, remembered in `data_dir`."""
    ranges = [
        [
            {
                "subnet": str(lan.subnets.of(version)),
                "gateway": str(lan.gateway.of(version)),
                "rangeStart": str(lan.host(first).of(version)),
                "rangeEnd": str(lan.host(last).of(version)),
            }
        ]
        for version in VERSIONS
    ]
    return {"type": "host-local", "dataDir": data_dir, "ranges": ranges, "routes": DEFAULT_ROUTES}


def chained(plugin: str, variant: Variant, log_file: str) -> list[Json]:
    """Our plugin behind macvlan; nothing in the variant without it."""
    return [through_node(plugin, log_file)] if variant.complete else []


def through_node(plugin: str, log_file: str) -> Json:
    """Our plugin, told what the pod reaches through its node."""
    return {
        "type": plugin,
        "service_hijack_subnet": [str(SERVICES.v4), str(SERVICES.v6)],
        "overlay_hijack_subnet": [str(OVERLAY.v4), str(OVERLAY.v6)],
        "log_options": {"log_file": log_file},
    }
