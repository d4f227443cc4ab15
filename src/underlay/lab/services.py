"""ClusterIPs, in nftables on every node, translated and masqueraded as kube-proxy does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from underlay.lab.addresses import VERSIONS, Addresses, subnets
from underlay.lab.overlay import OVERLAY
from underlay.lab.topology import Node

SERVICES = subnets("10.96.0.0/16", "fd00:96::/112")
PORT = 80
MASQUERADE = "0x4000"  # kube-proxy's mark


@dataclass(frozen=True)
class Service:
    """A ClusterIP with one endpoint, for TCP and UDP on port 80."""

    name: str
    number: int
    endpoint: Addresses
    target_port: int

    @property
    def addresses(self) -> Addresses:
        return SERVICES.host(self.number)


def numbered(endpoints: dict[str, Addresses]) -> dict[str, Service]:
    """A service for each endpoint, by name; its port there is its own, so that they may share a pod."""
    return {
        name: Service(name, number, endpoint, target_port=8000 + number)
        for number, (name, endpoint) in enumerate(endpoints.items(), 11)
    }


def serve(nodes: Sequence[Node], services: Sequence[Service]) -> None:
    """Makes each service known on each node, in the place of all that were known before."""
    ruleset = "".join(_table(version, services) for version in VERSIONS)
    for node in nodes:
        node.netns.nft(ruleset)


def _table(version: int, services: Sequence[Service]) -> str:
    family = "ip" if version == 4 else "ip6"
    jumps = "\n".join(
        f"    {family} daddr {service.addresses.of(version)} th dport {PORT} jump {service.name}"
        for service in services
    )
    chains = "".join(_chain(family, version, service) for service in services)
    return f"""
table {family} kube-proxy
delete table {family} kube-proxy
table {family} kube-proxy {{{chains}
  chain services {{
{jumps}
  }}
  chain prerouting {{ type nat hook prerouting priority dstnat; jump services; }}
  chain output {{ type nat hook output priority -100; jump services; }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    meta mark & {MASQUERADE} == {MASQUERADE} masquerade
  }}
}}
"""


def _chain(family: str, version: int, service: Service) -> str:
    """Masquerades what does not come from the overlay, and an endpoint that talks to itself (hairpin)."""
    endpoint = service.endpoint.of(version)
    target = f"{endpoint}:{service.target_port}" if version == 4 else f"[{endpoint}]:{service.target_port}"
    return f"""
  chain {service.name} {{
    {family} saddr != {OVERLAY.of(version)} meta mark set meta mark | {MASQUERADE}
    {family} saddr {endpoint} meta mark set meta mark | {MASQUERADE}
    meta l4proto tcp dnat to {target}
    meta l4proto udp dnat to {target}
  }}"""
