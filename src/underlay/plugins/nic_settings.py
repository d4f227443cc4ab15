"""What `veth` and `router` set on the NIC of a call, and ask of the network behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeGuard

from underlay.cni.errors import InvalidConfig
from underlay.cni.plugin import Attachment
from underlay.cni.probing import Probing
from underlay.facts import Facts
from underlay.objects import IP, MAIN, POD, LinkAddress, LinkUp, Network, Ns, Object, Route, TxQueueLen
from underlay.objects.link import Link
from underlay.objects.sysctl import setting
from underlay.plan import Plan
from underlay.plugins.chained import Chained
from underlay.plugins.nic import Nic, addresses_of, nic_of, route_by


def without_routing(config: Chained, nic: Nic, link: Link) -> Plan | None:
    """The whole plan of a NIC that has no address, or shall get a MAC and no more."""
    if not nic.addresses:
        return Plan((), notes=(f"{nic.dev} has no address: there is nothing to route",))
    if config.only_op_mac:
        address = tuple(mac_address(config, nic, link))
        return Plan(address, reported=address)
    return None


def mac_address(config: Chained, nic: Nic, link: Link) -> Iterator[LinkAddress]:
    """The prefix, and the four bytes of the IPv4 address or the last four of the IPv6 address."""
    if config.mac_prefix:
        ip = min(nic.ips, key=lambda address: address.version)
        yield LinkAddress(POD, nic.dev, (config.mac_prefix + ip.packed[-4:]).hex(":"), was=link.mac)


def nic_settings(config: Chained, link: Link, versions: tuple[int, ...]) -> Iterator[Object]:
    """What every NIC of the pod needs to answer for itself."""
    if not link.up:
        yield LinkUp(POD, link.name)  # a route through a link that is down is refused
    if config.tx_queue_len >= 0:
        yield TxQueueLen(POD, link.name, config.tx_queue_len, was=link.tx_queue_len)
    yield setting(POD, link, 4, "rp_filter", config.rp_filter)
    if 6 in versions:
        yield setting(POD, link, 6, "disable_ipv6", 0)
    yield setting(POD, link, 4, "arp_ignore", 1)  # or two NICs on one subnet answer for each other


def policy_routes(config: Chained, nic: Nic, siblings: Iterable[Plan]) -> Iterator[Route]:
    """The further routes on this NIC, for everybody in the pod; its own table has them already."""
    theirs = {obj.dst: obj.dev for plan in siblings for obj in plan.present if _is_in_main(obj)}
    for number, given in enumerate(config.policy_routes):
        if reason := _refused(given.dst, nic, theirs):
            raise InvalidConfig(f'policy_routes[{number}].dst: "{given.dst}" is {reason}')
        yield route_by(nic, given, MAIN)


def _is_in_main(obj: Object) -> TypeGuard[Route]:
    return isinstance(obj, Route) and obj.ns == POD and obj.table == MAIN


def _refused(dst: Network, nic: Nic, theirs: Mapping[Network, str]) -> str:
    """Why there can be no further route to a destination; empty if there can."""
    if theirs.get(dst, nic.dev) != nic.dev:
        return f"a route through {theirs[dst]} already, of another NIC of the pod"
    if dst.version not in nic.versions:
        return f"IPv{dst.version}, of which {nic.dev} has no address"
    if not dst.prefixlen:
        return "a default route; which NIC's is in the main table says default_route_nic"
    return f"the subnet of {nic.dev} itself" if dst in nic.subnets else ""


def outranked(config: Chained, ends: Mapping[Ns, str], facts: Facts) -> Iterator[str]:
    """The kernel takes the higher of a link's rp_filter and that of `all`, which is not ours to change."""
    for ns, dev in ends.items():
        of_all = facts.rp_filter_of_all.get(ns, 0)
        if of_all > config.rp_filter and (ns == POD or config.rp_filter_on_host):
            yield f"rp_filter: {config.rp_filter} on {dev} has no effect: conf.all is {of_all} on the {ns}"


def probing(config: Chained, pod: Attachment, facts: Facts) -> Probing:
    """What to ask the network for the NIC of a call, and what to announce to it."""
    if config.only_op_mac or not (config.ip_conflict or config.detect_gateway):
        return Probing(pod.ifname, tuple(address.ip for address in addresses_of(pod, facts)), {}, None, None)
    nic = nic_of(pod, facts)
    given = pod.previous.addresses_of(pod.ifname, pod.netns) if pod.previous else ()
    routes = pod.previous.routes if pod.previous else ()
    named = [*(ip.gateway for ip in given), *(route.gw for route in routes)]
    gateways = dict.fromkeys(
        ip for ip in named if ip and ip.version in nic.versions and not ip.is_unspecified
    )
    return Probing(
        nic.dev,
        nic.ips,
        {gateway: _asked_from(gateway, nic) for gateway in gateways},
        for_conflict=config.ip_conflict,
        for_gateways=config.detect_gateway,
    )


def _asked_from(gateway: IP, nic: Nic) -> IP | None:
    """The pod's address to ask a gateway from: of its subnet if there is one; none for a link-local one."""
    own = [address for address in nic.addresses if address.version == gateway.version]
    if (gateway.is_link_local and gateway.version == 6) or not own:
        return None
    return next((address.ip for address in own if gateway in address.network), own[0].ip)
