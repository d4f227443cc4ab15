"""What a plugin is told of the world before it plans: read once, plain values, no way back to the kernel."""

from __future__ import annotations

from dataclasses import field
from ipaddress import IPv4Interface, IPv6Interface

from underlay.objects import IP, Ns, Object, Route
from underlay.objects.link import Link
from underlay.plan import Plan
from underlay.values import dataclass

Interface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class OtherNic:
    """Another NIC of the pod. `host_end` is its end on the node (the bridge, where that is a port of
    one), None where it has none there."""

    link: Link
    addresses: tuple[Interface, ...]
    host_end: Link | None


@dataclass(frozen=True, slots=True)
class Underlay:
    """The link of the node that carries a segment, with its global addresses."""

    link: Link
    addresses: tuple[Interface, ...]

    @property
    def known_by(self) -> str:
        """What no other node has: the link's MAC, or where that says nothing the addresses."""
        has_mac = self.link.mac.strip("0:") != ""
        return self.link.mac if has_mac else " ".join(map(str, self.addresses))


@dataclass(frozen=True, slots=True)
class VxlanLink:
    """A VXLAN device of the node, whoever made it."""

    dev: str
    vni: int
    port: int


@dataclass(frozen=True, slots=True)
class Remains:
    """What is found of an attachment without a record: all that is ours in the pod, and the other NIC."""

    ours: frozenset[Object]
    other: OtherNic | None


@dataclass(frozen=True, slots=True)
class Facts:
    """The node, the pod and the NIC of one call.

    `node_addresses` are all global addresses of the host namespace but kube-ipvs0's, in the kernel's
    order; `node_sources` gives for a pod address the address by which the node reaches it.
    `pod_routes` are the pod's unicast routes that are not ours, also those that we have taken out of main.
    `siblings` are the plans of the pod's other attachments, `other` the NIC that the plugin asked for.
    """

    nic: Link
    nic_addresses: tuple[Interface, ...] = ()
    node_addresses: tuple[IP, ...] = ()
    node_sources: dict[IP, IP] = field(default_factory=dict)
    pod_routes: tuple[Route, ...] = ()
    rp_filter_of_all: dict[Ns, int] = field(default_factory=dict)
    siblings: tuple[Plan, ...] = ()
    other: OtherNic | None = None
