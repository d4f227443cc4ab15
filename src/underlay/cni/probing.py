"""Questions to the network around an ADD: is the address free, is the gateway there. Actions, not state.

They wait for seconds, so they are asked while no lock is held that another pod needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from underlay.cni.errors import Conflict
from underlay.cni.keys import Keys
from underlay.objects import IP, POD, Ns
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for answers: `retries` times `interval` seconds."""

    interval: float
    retries: int


def patience_of(keys: Keys) -> Patience | None:
    """Read a section such as `ip_conflict`; None where it is not enabled. A bad one is bad even so."""
    patience = Patience(keys.duration("interval", 1.0), keys.integer("retries", 3, 1, 100))
    return patience if keys.flag("enabled", False) else None


@dataclass(frozen=True, slots=True)
class Probing:
    """What to ask for a NIC, and what to announce; without patience a question is not asked.

    `gateways` maps each to the address of the pod to ask from, None for a link-local one. `ns` is where
    the link `dev` is that is asked from: the pod's NIC, or the node's own link in the same network.
    """

    dev: str
    addresses: tuple[IP, ...]
    gateways: Mapping[IP, IP | None]
    for_conflict: Patience | None
    for_gateways: Patience | None
    ns: Ns = POD


class Lan(Protocol):
    """The network behind a NIC of the pod."""

    def holder_of(
        self, ns: Ns, dev: str, addresses: tuple[IP, ...], patience: Patience
    ) -> tuple[IP, str] | None:
        """Who else has one of the addresses: which, and by which MAC; the node's own MACs don't count."""

    def silent_gateways(self, dev: str, gateways: Mapping[IP, IP | None], patience: Patience) -> list[IP]:
        """Those of the gateways that do not answer."""

    def announce(self, dev: str, mac: str, addresses: tuple[IP, ...]) -> None:
        """Tells everybody that the addresses are at the NIC's MAC."""


def refuse_conflict(probing: Probing, lan: Lan) -> None:
    """Raises Conflict where somebody answers for an address of the pod (RFC 5227, RFC 4862)."""
    if probing.for_conflict is None:
        return
    holder = lan.holder_of(probing.ns, probing.dev, probing.addresses, probing.for_conflict)
    if holder:
        ip, mac = holder
        raise Conflict(
            f"the address {ip} is in use on the network of {probing.dev}: {mac} answers for it",
            "find that machine by its MAC, or give the pod another address; nothing was changed",
        )


def refuse_silent_gateways(probing: Probing, lan: Lan) -> None:
    """Raises Conflict where a gateway of the pod does not answer."""
    if probing.for_gateways is None:
        return
    silent = lan.silent_gateways(probing.dev, probing.gateways, probing.for_gateways)
    if silent:
        waited = probing.for_gateways.retries * probing.for_gateways.interval
        raise Conflict(
            f"the gateway {silent[0]} does not answer on the network of {probing.dev}",
            f"asked for {waited:g} s by ARP or neighbour solicitation; is it up, and on this VLAN?",
        )
