"""The annotation that says which networks a pod has got, as people and tools read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from underlay.cni.result import Interface, Result, parse
from underlay.networks.delegates import Delegate

NETWORK_STATUS = "k8s.v1.cni.cncf.io/network-status"
Json = dict[str, Any]


def network_status(delegates: Sequence[Delegate]) -> str:
    """Its value. One entry for each NIC, the default network's first; a link that is another's means to
    an end, such as `veth0`, has none."""
    entries = [_entry(delegate, is_default=index == 0) for index, delegate in enumerate(delegates)]
    return json.dumps(entries, indent=4)


def _entry(delegate: Delegate, *, is_default: bool) -> Json:
    result = parse(delegate.result, delegate.conflist.cni_version, where=f"the result of {delegate.place}")
    nic = next((each for each in result.interfaces if each.name == delegate.ifname and each.sandbox), None)
    ips = [str(ip.address.ip) for ip in result.addresses_of(delegate.ifname, nic.sandbox if nic else "")]
    return {
        "name": delegate.network,
        "interface": delegate.ifname,
        **({"ips": ips} if ips else {}),
        **_of_link(nic),
        **({"default": True} if is_default else {}),
        "dns": {key: value for key, value in result.dns.items() if value},
        **_gateways(result),
    }


def _of_link(nic: Interface | None) -> Json:
    found = {"mac": nic.mac, "mtu": nic.mtu} if nic else {}
    return {key: value for key, value in found.items() if value}


def _gateways(result: Result) -> Json:
    announced = {ip.address.version: ip.gateway for ip in result.ips if ip.gateway}
    defaults = [route for route in result.routes if not route.dst.prefixlen]
    found = [str(gw) for route in defaults if (gw := route.gw or announced.get(route.dst.version))]
    return {"gateway": found} if found else {}
