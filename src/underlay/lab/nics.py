"""The NICs of a namespace, as its kernel knows them: what a pod has come to, whoever has made it."""

from __future__ import annotations

import json
from ipaddress import ip_address

from underlay.lab.addresses import IPAddress
from underlay.lab.namespace import Netns


def nics(netns: Netns) -> dict[str, dict[int, IPAddress]]:
    """The first global address of each family, by NIC; those that have none are left out."""
    found: dict[str, dict[int, IPAddress]] = {}
    for link in json.loads(netns.run("ip", "-json", "addr", "show")):
        for each in link["addr_info"]:
            if each["scope"] == "global":
                address = ip_address(each["local"])
                found.setdefault(link["ifname"], {}).setdefault(address.version, address)
    return found
