"""Network configurations for the lab's pods: the real macvlan plugin, and what is chained behind it."""

from __future__ import annotations

from enum import Enum

from underlay.lab.addresses import VERSIONS, Subnets
from underlay.lab.pod import Json
from underlay.lab.topology import Lan

CNI_VERSION = "1.0.0"  # the newest that the distributions' macvlan knows
DEFAULT_ROUTES: list[Json] = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]


class Chain(Enum):
    """What makes the network of the lab's pods."""

    MACVLAN = "macvlan alone"
    VETH = "veth chained behind macvlan"


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


def veth(services: Subnets, overlay: Subnets, **keys: object) -> Json:
    """Our plugin, told what the pod reaches through its node; `keys` are further keys of it."""
    return {
        "type": "veth",
        "service_hijack_subnet": [str(services.v4), str(services.v6)],
        "overlay_hijack_subnet": [str(overlay.v4), str(overlay.v6)],
        **keys,
    }
