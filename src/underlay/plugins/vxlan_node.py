"""What makes a node a member of a network of `vxlan`: two links, the node's addresses, and the bypass.

The VXLAN device has no address. The node's own macvlan on it is the gateway of its pods: by an
address that no other node has, or, with `anycast`, by the address and MAC that every node has.

The bypass keeps what goes from an address of the network to another one in the network, although a
routing daemon has brought a route to that very address through the underlay: the answer would come
back by the network, and a strict node would not have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_interface

from underlay.cni.errors import InvalidConfig
from underlay.digest import sha256
from underlay.facts import Interface, Underlay
from underlay.objects import (
    HOST,
    IP,
    Address,
    Fdb,
    LinkAlias,
    LinkUp,
    Macvlan,
    Object,
    Route,
    Rule,
    Sysctl,
    Vxlan,
)
from underlay.plan import Plan
from underlay.plugins.vxlan_config import VxlanNetwork

NOBODY = "00:00:00:00:00:00"  # in the FDB: where to send what no entry is for
OVERHEAD = {4: 50, 6: 70}  # bytes of Ethernet, IP, UDP and VXLAN headers (RFC 7348, section 5)
OLDER_PORT = 8472
BYPASS_PRIORITY = 1500
BYPASS_TABLES = 1_000_000_000  # and the VNI
LOOSE = 2  # rp_filter
NOT_AT_ALL = 8  # arp_ignore
NO_LINK_LOCAL = 1  # addr_gen_mode
SHARED_LINK_LOCAL = ip_interface("fe80::1/64")
ANYWHERE = {4: ip_address(0), 6: ip_address(bytes(16))}


def node_plan(network: VxlanNetwork, underlay: Underlay, gateways: Sequence[Interface]) -> Plan:
    """Links first; without gateways, all that needs no address."""
    vxlan = _vxlan(network, underlay)
    return Plan(
        present=(
            *_device(network, vxlan, has_ipv6=bool(underlay.link.settings[6])),
            *_own_link(network, vxlan, underlay),
            *(_addresses(network, gateways) if gateways else ()),
        ),
        notes=tuple(_notes(network)),
    )


def shared_gateways(network: VxlanNetwork) -> tuple[Interface, ...] | None:
    """What every node has as its own address, if they all have one: the one configured, or the first."""
    if network.gateway != "anycast":
        return None
    return tuple(
        ip_interface((subnet.gateway or subnet.network.network_address + 1, subnet.network.prefixlen))
        for subnet in network.subnets
    )


def _vxlan(network: VxlanNetwork, underlay: Underlay) -> Vxlan:
    device = network.device
    return Vxlan(
        dev=network.vx,
        vni=device.vni,
        mac=device.mac or _node_mac(network.vx, underlay),
        mtu=_mtu(network, underlay, OVERHEAD[outer_version(network)]),
        port=device.port,
        # Only a group needs a link to be joined by; without one the device outlives its link.
        underlay=underlay.link.name if device.underlay or device.group else "",
        local=_local(network, underlay),
        group=device.group,
        ttl=device.ttl,
        tos=device.tos,
        learning=device.learning,
        proxy=device.proxy,
        rsc=device.rsc,
        l2miss=device.l2miss,
        l3miss=device.l3miss,
        gbp=device.gbp,
        ageing=device.ageing,
        limit=device.limit,
        port_low=device.port_low,
        port_high=device.port_high,
        tx_queue_len=device.tx_queue_len,
    )


def outer_version(network: VxlanNetwork) -> int:
    device = network.device
    return next((ip.version for ip in (device.local, device.group, *device.peers) if ip), 4)


def _local(network: VxlanNetwork, underlay: Underlay) -> IP | None:
    """The node's own VTEP; a multicast network leaves it to the kernel unless it is configured."""
    device = network.device
    if device.local or device.group:
        return device.local
    version = outer_version(network)
    own = [address.ip for address in underlay.addresses if address.version == version]
    if not own:
        raise InvalidConfig(
            f"{network.where}.peers: {underlay.link.name} has no IPv{version} address to send from",
            "name the node's own in options.srcaddr, or another link in options.vtepdev",
        )
    return next((ip for ip in own if ip in device.peers), own[0])


def _mtu(network: VxlanNetwork, underlay: Underlay, overhead: int) -> int:
    carried = underlay.link.mtu - overhead
    least = 1280 if any(subnet.network.version == 6 for subnet in network.subnets) else 576
    if network.device.mtu > carried:
        raise InvalidConfig(
            f"{network.where}.mtu: {network.device.mtu} is more than {underlay.link.name} carries:"
            f" its MTU is {underlay.link.mtu}, less {overhead} for VXLAN",
            f"give at most {carried}, or raise the MTU of {underlay.link.name} on all nodes",
        )
    if carried < least:
        raise InvalidConfig(
            f"{network.where}.options.vtepdev: {underlay.link.name} has an MTU of {underlay.link.mtu}, which"
            f" leaves {carried} for the network; it needs {least}"
        )
    return network.device.mtu or carried


def _device(network: VxlanNetwork, vxlan: Vxlan, *, has_ipv6: bool) -> Iterator[Object]:
    """The VXLAN device. It has no address and answers for none: only the links on it do."""
    yield vxlan
    yield from _alias(network, vxlan.dev)
    yield Sysctl(HOST, 4, vxlan.dev, "arp_ignore", NOT_AT_ALL)
    if has_ipv6:
        yield Sysctl(HOST, 6, vxlan.dev, "addr_gen_mode", NO_LINK_LOCAL)
    for peer in network.device.peers:
        if peer != vxlan.local:
            yield Fdb(HOST, vxlan.dev, NOBODY, peer)
    yield LinkUp(HOST, vxlan.dev)


def _own_link(network: VxlanNetwork, vxlan: Vxlan, underlay: Underlay) -> Iterator[Object]:
    """The node's own link: the gateway of its pods."""
    is_shared = network.gateway == "anycast"
    mac = _shared_mac(network) if is_shared else _node_mac(network.mv, underlay)
    yield Macvlan(HOST, network.mv, vxlan.dev, mac, vxlan.mtu)
    yield from _alias(network, network.mv)
    # What comes from a pod elsewhere may have gone there through the underlay.
    yield Sysctl(HOST, 4, network.mv, "rp_filter", LOOSE)
    yield Sysctl(HOST, 4, network.mv, "forwarding", 1)
    yield Sysctl(HOST, 4, network.mv, "send_redirects", 0)
    yield Sysctl(HOST, 4, network.mv, "arp_notify", 1)
    if any(subnet.network.version == 6 for subnet in network.subnets):
        yield Sysctl(HOST, 6, network.mv, "disable_ipv6", 0)
        if is_shared:
            yield Sysctl(HOST, 6, network.mv, "addr_gen_mode", NO_LINK_LOCAL)
    if is_shared:
        # Frames from the same MAC on other nodes are dropped: nobody but this node answers its pods.
        yield Fdb(HOST, vxlan.dev, mac, vxlan.local or ANYWHERE[outer_version(network)])
    yield LinkUp(HOST, network.mv)


def _alias(network: VxlanNetwork, dev: str) -> Iterator[Object]:
    """The whole name, where it is too long for a link's."""
    if network.name not in dev:
        yield LinkAlias(HOST, dev, network.name)


def _addresses(network: VxlanNetwork, gateways: Sequence[Interface]) -> Iterator[Object]:
    for gateway in gateways:
        yield Address(HOST, network.mv, gateway, nodad=gateway.version == 6)
    if network.gateway == "anycast" and any(gateway.version == 6 for gateway in gateways):
        yield Address(HOST, network.mv, SHARED_LINK_LOCAL, nodad=True)
    if network.bypass:
        table = BYPASS_TABLES + network.device.vni
        subnets = [subnet.network for subnet in network.subnets]
        yield from (Route(HOST, subnet, network.mv, table=table) for subnet in subnets)
        yield from (Rule(HOST, s.version, table, BYPASS_PRIORITY, src=s, dst=s) for s in subnets)


def _notes(network: VxlanNetwork) -> Iterator[str]:
    device = network.device
    if not device.is_port_given:
        yield (
            f"{network.where}: UDP port {device.port} is used. vxlan-cni had {OLDER_PORT} where no port was"
            f' configured, and nodes with different ports do not hear each other: configure "port"'
        )


def _node_mac(dev: str, underlay: Underlay) -> str:
    """One that no other node has: made from the name, and from what the node is known by."""
    return mac_of(f"{dev} {underlay.known_by}")


def _shared_mac(network: VxlanNetwork) -> str:
    """The gateway's on every node."""
    return mac_of(f"gateway of {network.device.vni}")


def is_of_a_network(dev: str, mac: str, underlays: Iterable[Underlay]) -> bool:
    """Whether a VXLAN device is one that we have made on a node with these links: by its MAC, which is
    derived. One whose MAC was configured is not known again."""
    return dev.startswith("vx_") and any(mac == _node_mac(dev, underlay) for underlay in underlays)


def mac_of(text: str) -> str:
    """A locally administered address. Set on creation, so that systemd-udevd leaves it alone."""
    return (b"\x02" + sha256(text.encode()).digest()[:5]).hex(":")
