"""What the plugin before ours would answer, where nobody has a real result: as its IPAM is configured.

An address that is given at random, or by a service that is not asked, is stood in for by the first that is
possible, or one that is for documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from underlay.netlink.census import addresses
from underlay.netlink.kernel import Netlink
from underlay.objects import MAIN, OURS, POD
from underlay.objects.route import all_routes
from underlay.values import dataclass

Json = dict[str, Any]
DOCUMENTATION = ("192.0.2.10/24", "192.0.2.1")  # TEST-NET-1, RFC 5737
MAC = "02:00:00:00:00:0a"


@dataclass(frozen=True, slots=True)
class Example:
    """A result, and where its addresses are from."""

    result: Json
    source: str


def example(plugin: Mapping[str, Any], ifname: str, netns: str, version: str) -> Example:
    """For the NIC that this plugin of a chain would make."""
    ipam = plugin.get("ipam")
    ipam = ipam if isinstance(ipam, dict) else {}
    found = list(_addresses(ipam))
    source = f"the addresses are the first that {ipam.get('type')} could give"
    if not found:
        found = [DOCUMENTATION]
        who = ipam.get("type") or "its IPAM"
        source = f"what {who} gives is not known here: the address is one for documentation"
    ips = [{"address": a, "interface": 0, **({"gateway": g} if g else {})} for a, g in found]
    routes = ipam.get("routes")
    result = {
        "cniVersion": version,
        "interfaces": [{"name": ifname, "mac": MAC, "sandbox": netns}],
        "ips": ips,
        "routes": routes if isinstance(routes, list) else [{"dst": _everything(a)} for a, _ in found],
    }
    return Example(result, source)


def _everything(address: str) -> str:
    return "::/0" if ":" in address else "0.0.0.0/0"


def _addresses(ipam: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Address and gateway ("" for none) of each family, of `static` and of what has ranges."""
    for each in _dicts(ipam.get("addresses")):
        if isinstance(each.get("address"), str):
            yield each["address"], str(each.get("gateway", ""))
    ranges = ipam.get("ranges")
    firsts = [each[0] if isinstance(each, list) and each else each for each in ranges or ()]
    for first in firsts or ([ipam] if "subnet" in ipam else []):
        subnet = first.get("subnet") if isinstance(first, dict) else first
        try:
            network = ip_network(str(subnet))
            start = first.get("rangeStart") if isinstance(first, dict) else None
            gateway = str(first.get("gateway", network[1])) if isinstance(first, dict) else ""
            own = ip_address(str(start)) if start else network[min(10, network.num_addresses - 1)]
        except ValueError:
            continue  # the plugin itself will say what is wrong with it
        yield f"{own}/{network.prefixlen}", gateway


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def result_of(kernel: Netlink, ifname: str, netns: str, version: str) -> Json | None:
    """What the NIC of a pod shows of its plugin's result; None where there is no such NIC."""
    link = kernel.link(POD, ifname)
    if link is None:
        return None
    own = [ip for ip in addresses(kernel, POD).get(link.index, ()) if not ip.is_link_local]
    routes = [route for route in all_routes(kernel, POD) if route.table == MAIN and route.proto != OURS]
    given = [route for route in routes if ifname in route.devs and route.via]
    gateways = {route.dst.version: str(route.via) for route in given if route.is_default}
    ips = [{"address": str(ip), "interface": 0, "gateway": gateways.get(ip.version)} for ip in own]
    return {
        "cniVersion": version,
        "interfaces": [{"name": ifname, "mac": link.mac, "sandbox": netns}],
        "ips": [{key: value for key, value in ip.items() if value is not None} for ip in ips],
        "routes": [{"dst": str(route.dst), "gw": str(route.via)} for route in given],
    }
