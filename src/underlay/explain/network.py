"""What ADD would do for a network that nodes share, and for a claim, with addresses that could be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_interface
from typing import Any

from underlay.claims import claim_route
from underlay.cni.errors import InvalidConfig
from underlay.cni.plugin import Attachment, C, Delegated, IpamPlugin, Joining, MainPlugin, Membership, Wanted
from underlay.cni.request import Request, configured
from underlay.cni.result import IpConfig, Result, render
from underlay.cni.segment import GATEWAYS, underlay_of
from underlay.cni.wish import Wish
from underlay.explain.example import example
from underlay.explain.grouping import Group, groups
from underlay.facts import Interface
from underlay.netlink.facts import NodeKernel
from underlay.objects import IP, Object, Route

Json = dict[str, Any]
DRAWN = "addresses are drawn at random; these are the first that are free on this node"
CLAIMED = "On the node: what is claimed for the pod"


def joined(
    plugin: MainPlugin[C], request: Request[C], attachment: Attachment, kernel: NodeKernel
) -> tuple[Json, tuple[Group, ...], tuple[str, ...]]:
    """The answer, what would be made, and remarks. Annotations are not asked for."""
    config = configured(request).config
    if config is None:
        raise InvalidConfig(f"the configuration asks {plugin.name} for nothing")
    joining = plugin.choose(config, request.call, {})
    member, of_node, is_member = _membership(joining, request, kernel)
    ips, source = _drawn(joining.ipam, request, kernel, [gateway.ip for gateway in member.gateways])
    given = Result(ips=tuple(map(IpConfig, ips)))
    plan, result = joining.nic(attachment, given, member)
    name = joining.name.partition(":")[2]
    whose = f", for all its pods in {name}" + (" (it is there)" if is_member else "")
    claims = _claims(joining.ipam, ips, joining.dev)
    made = (*groups(member.plan.present, whose), *_part(f"On the node{whose}: what is claimed", of_node))
    remarks = [f"the pod joins {name}", source]
    if plugin.reads_annotations(config) is not None:
        remarks.append(
            "the pod's annotations may choose another network, addresses and a MAC: not asked here"
        )
    return (
        render(result, request.call.cni_version),
        (*made, *groups(plan.objects), *_part(CLAIMED, claims)),
        (*remarks, *member.plan.notes),
    )


def claimed(
    plugin: IpamPlugin[C], request: Request[C], kernel: NodeKernel
) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """The claims of `routetable` behind another main plugin."""
    config = configured(request).config
    if config is None:
        raise InvalidConfig(f"the configuration asks {plugin.name} for nothing")
    wanted = plugin.wanted(config, request.call)
    ips, source = _drawn(wanted, request, kernel, ())
    return tuple(_part(CLAIMED, _claims(wanted, ips, str(wanted.dev)))), (source,)


def _membership(
    joining: Joining, request: Request[C], kernel: NodeKernel
) -> tuple[Membership, tuple[Route, ...], bool]:
    """What the node would have in the network, its own claims there, and whether it is in there already."""
    known = request.node.records.glimpsed_segment(joining.name).record()
    underlay = underlay_of(joining, kernel)
    if known and GATEWAYS in known.result:
        gateways: tuple[Interface, ...] = tuple(map(ip_interface, known.result[GATEWAYS]))
        return Membership(gateways, joining.node(underlay, gateways)), known.claims, True
    own = joining.gateways
    claims: tuple[Route, ...] = ()
    if own is None:
        own, _ = _drawn(joining.ipam_of_node, request, kernel, ())
        claims = _claims(joining.ipam_of_node, own, joining.dev)
    return Membership(own, joining.node(underlay, own)), claims, False


def _drawn(
    asked: Wanted | Delegated, request: Request[C], kernel: NodeKernel, but: Iterable[IP]
) -> tuple[tuple[Interface, ...], str]:
    """Addresses that the IPAM could give, but for some, and a sentence about where they are from."""
    if isinstance(asked, Delegated):
        found = example(asked.config, request.call.ifname, request.call.netns, request.call.cni_version)
        return tuple(ip_interface(ip["address"]) for ip in found.result["ips"]), found.source
    return tuple(_first(wish, request, kernel, but) for wish in asked.wishes), DRAWN


def _first(wish: Wish, request: Request[C], kernel: NodeKernel, but: Iterable[IP]) -> Interface:
    for each in wish.ranges:
        version = each.subnet.version
        taken = request.node.records.claims.numbers(version) | set(kernel.host_routes(version).numbers)
        taken |= {int(ip) for ip in but if ip.version == version}
        ip = wish.requested or each.draw(taken, lambda _: 0)
        if ip is not None and ip in each.subnet:
            return ip_interface((ip, each.subnet.prefixlen))
    raise InvalidConfig(f"{', '.join(map(str, wish.ranges))}: no address is free on this node")


def _claims(asked: Wanted | Delegated, ips: Iterable[Interface], dev: str) -> tuple[Route, ...]:
    return tuple(claim_route(each.ip, dev) for each in ips) if isinstance(asked, Wanted) else ()


def _part(heading: str, objects: tuple[Object, ...]) -> Iterator[Group]:
    if objects:
        yield Group(heading, objects)
