"""The subnets that a pod reaches through its node: the cluster's services and overlay, and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from underlay.cni.errors import InvalidConfig
from underlay.cni.keys import Keys
from underlay.objects import IP, Network
from underlay.plugins.nic import EVERYTHING, Nic
from underlay.values import dataclass

SERVICE, OVERLAY, ADDITIONAL = "service_hijack_subnet", "overlay_hijack_subnet", "additional_hijack_subnet"
ALIASES = {SERVICE: ("service_cidr",), OVERLAY: ("cluster_cidr",), ADDITIONAL: ("additional_cidr",)}
REASON = "the pod reaches these subnets through its node"


@dataclass(frozen=True, slots=True)
class Hijack:
    """One subnet, and the key it was given by."""

    key: str
    subnet: Network
    text: str = field(init=False)  # of the subnet: made once, and told of each pod that it is not for

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", str(self.subnet))


def parse_hijacks(keys: Keys, *, is_required: bool) -> tuple[Hijack, ...]:
    """The subnets of all three keys, each once."""
    reason = REASON if is_required else ""
    found = [
        *(Hijack(SERVICE, subnet) for subnet in keys.cidrs(SERVICE, required=reason)),
        *(Hijack(OVERLAY, subnet) for subnet in keys.cidrs(OVERLAY, required=reason)),
        *(Hijack(ADDITIONAL, subnet) for subnet in keys.cidrs(ADDITIONAL, default=(), bare=True)),
    ]
    return tuple({hijack.subnet: hijack for hijack in reversed(found)}.values())[::-1]


def hijacked(nic: Nic, hijacks: tuple[Hijack, ...]) -> Iterator[Network]:
    """The subnets in the NIC's families; InvalidConfig for one that is the NIC's own already."""
    own = dict.fromkeys(nic.subnets, "subnet") | {route.dst: "route" for route in nic.routes}
    own |= dict.fromkeys((EVERYTHING[version] for version in nic.next_hops), "default route")
    for hijack in hijacks:
        if hijack.subnet in own:
            raise InvalidConfig(
                f'{hijack.key}: "{hijack.subnet}" is the {own[hijack.subnet]} of {nic.dev} itself',
                "it cannot lead through the node as well: leave it out, or give smaller subnets of it",
            )
        if hijack.subnet.version in nic.versions:
            yield hijack.subnet


def forwarded(hijacks: tuple[Hijack, ...]) -> tuple[int, ...]:
    """The IP versions of the subnets: the node forwards what goes there."""
    return tuple(sorted({hijack.subnet.version for hijack in hijacks}))


def left_out(
    nic: Nic, next_hops: Mapping[int, IP | None], hijacks: tuple[Hijack, ...], who: str
) -> Iterator[str]:
    """A line for each subnet that gets no route; `who` ends the sentence where nobody leads there."""
    for hijack in hijacks:
        version = hijack.subnet.version
        if version not in nic.versions:
            yield f"{hijack.key}: {hijack.text} left out, {nic.dev} has no IPv{version} address"
        elif version not in next_hops:
            yield f"{hijack.key}: {hijack.text} left out, {who.format(version=version)}"
