"""Reads what a plugin has to know before it plans: addresses, routes, how the node reaches the pod."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING

from underlay.cni.errors import KernelError
from underlay.cni.plugin import Memory, Topic
from underlay.cni.probing import Patience
from underlay.cni.wish import Way
from underlay.facts import Facts, Interface, OtherNic, Underlay, VxlanLink
from underlay.netlink.kernel import Netlink
from underlay.netlink.late import Background
from underlay.netlink.pool import SocketPool
from underlay.objects import HOST, IP, MAIN, OURS, POD, Ns, Object, Route
from underlay.objects.link import SKIP_STATISTICS, Link, decode_link
from underlay.objects.route import HEADER as ROUTE
from underlay.objects.route import (
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_VIA,
    RTN_UNICAST,
    RTNEXTHOP,
    destination,
    foreign_defaults,
    foreign_routes,
    routes,
    routes_request,
)
from underlay.objects.rule import rules
from underlay.objects.wire import (
    AF_INET,
    AF_INET6,
    DUMP,
    IFINFO,
    IFLA_EXT_MASK,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    Message,
    address,
    attribute,
    attributes,
    family_of,
    i32,
    ifinfo,
    interface,
    number,
    u32,
)
from underlay.plan import Plan

ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_DADFAILED = 0x08
SCOPE_UNIVERSE = 0
RTM_GETNETCONF = 82
RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST = 2, 3, 5
# rtnetlink.h, RTPROT_*: gated, mrt, zebra, bird, dnrouted, xorp, ntk, mrouted, babel, openr, bgp, isis,
# ospf, rip, eigrp; each is the number of what finds routes by speaking with other machines
DAEMONS = frozenset((8, 10, 11, 12, 13, 14, 15, 17, 42, 99, 186, 187, 188, 189, 192))
IFLA_VXLAN_ID, IFLA_VXLAN_PORT = 1, 15
RTM_GETNSID, NETNSA_NSID, NETNSA_FD = 90, 1, 3
NETCONFA_IFINDEX, NETCONFA_RP_FILTER = 1, 3
ALL = -1  # NETCONFA_IFINDEX_ALL
if TYPE_CHECKING:  # who asks the network nothing does not load what asks it
    from underlay import probe

OF_NODE = "settings of the node"  # as what they are kept in a memory
OF_MAIN = "routes of main, IPv"
IPVS = "kube-ipvs0"  # kube-proxy puts every ClusterIP there: no address of the node's own


class NodeKernel(Netlink):
    """A kernel that answers what the verbs ask beyond a plan's own objects.

    With a `memory` it asks again for what is the same from pod to pod only when something has changed.
    """

    def __init__(
        self,
        host: int,
        pod: int | None,
        background: Background | None = None,
        memory: Memory | None = None,
        pool: SocketPool | None = None,
    ) -> None:
        super().__init__(host, pod, background, pool)
        self._memory = memory

    def facts(self, nic: Link, addresses: Sequence[IP], siblings: Sequence[Plan], other: str = "") -> Facts:
        """What a plugin has to know; `addresses` are those that the result gives the NIC."""
        on_nic = _global_addresses(self, POD, nic.index)
        node_addresses, rp_filter = self._settings_of_node()
        pod = dict.fromkeys([*addresses, *(found.ip for found in on_nic)])
        return Facts(
            nic=nic,
            nic_addresses=on_nic,
            node_addresses=node_addresses,
            node_sources={ip: source for ip in pod if (source := _source_toward(self, ip))},
            pod_routes=tuple(foreign_routes(self, POD)),  # no plan asks for ours
            rp_filter_of_all={HOST: rp_filter, POD: _rp_filter_of_all(self, POD)},
            siblings=tuple(siblings),
            other=self.other_nic(other) if other else None,
        )

    def _settings_of_node(self) -> tuple[tuple[IP, ...], int]:
        """The node's global addresses but those of IPVS, and its rp_filter for all links."""
        changes = self._memory.changes(Topic.SETTINGS) if self._memory else 0
        kept = self._memory.recall(OF_NODE, changes) if self._memory else None
        if kept:
            addresses, rp_filter = kept
            return addresses, rp_filter
        ipvs = self.link(HOST, IPVS)
        found = _global_addresses(self, HOST, but=ipvs.index if ipvs else 0)
        settings = tuple(dict.fromkeys(each.ip for each in found)), _rp_filter_of_all(self, HOST)
        if self._memory:
            self._memory.keep(OF_NODE, changes, settings)
        return settings

    def other_nic(self, dev: str) -> OtherNic | None:
        """A NIC of the pod with its end on the node, None where there is no such NIC."""
        link = self.link(POD, dev)
        if link is None:
            return None
        return OtherNic(link, _global_addresses(self, POD, link.index), self._host_end(link))

    def _host_end(self, link: Link) -> Link | None:
        """The other end of a pod's veth, if that is in the namespace that this call has for the host.

        Where it is a port of a bridge, the bridge: that is where the node speaks with the pod.
        """
        if link.kind != "veth" or link.peer_netns != netns_id(self, POD, self.netns_fd(HOST)):
            return None
        end = self.link_at(HOST, link.peer)
        bridge = self.link_at(HOST, end.master) if end and end.master else None
        return bridge if bridge and bridge.kind == "bridge" else end

    def underlay(self, dev: str, toward: Sequence[IP]) -> Underlay | None:
        """The link of the host of that name; for "" the one that leads to the first of `toward` that is
        not the node itself. None where there is none."""
        found = (self.link(HOST, dev),) if dev else (_link_toward(self, ip) for ip in toward)
        link = next(filter(None, found), None)
        return Underlay(link, _global_addresses(self, HOST, link.index)) if link else None

    def vxlan_links(self) -> list[VxlanLink]:
        """Every VXLAN device of the host. Costs a look at each."""
        kind = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"vxlan"))
        wanted = ifinfo() + kind + number(IFLA_EXT_MASK, SKIP_STATISTICS)
        return [_vxlan_link(body) for body in self.dump(HOST, Message(RTM_GETLINK, DUMP, wanted))]

    def holder_of(
        self, ns: Ns, dev: str, addresses: tuple[IP, ...], patience: Patience
    ) -> tuple[IP, str] | None:
        """Who else has one of the addresses: which, and by which MAC; the node's own MACs don't count."""
        ipvs = self.link(HOST, IPVS)
        speaking = {index for index, _ in _addresses(self, HOST, but=ipvs.index if ipvs else 0)}
        own = frozenset(link.mac for index in speaking if (link := self.link_at(HOST, index)))
        from underlay import probe

        found = probe.conflict(
            self._wire(ns, dev), addresses, interval=patience.interval, retries=patience.retries, ignored=own
        )
        return (found.ip, found.mac) if found else None

    def silent_gateways(self, dev: str, gateways: Mapping[IP, IP | None], patience: Patience) -> list[IP]:
        """Those of the gateways that do not answer."""
        from underlay import probe

        return probe.silent_gateways(
            self._wire(POD, dev), gateways, interval=patience.interval, retries=patience.retries
        )

    def announce(self, dev: str, mac: str, addresses: tuple[IP, ...]) -> None:
        """Tells everybody that the addresses are at the NIC's MAC."""
        close = self._close_late if self._background else socket.socket.close
        from underlay import probe

        probe.announce(probe.Speaker(self.netns_fd(POD), dev, close), mac, addresses)

    def _wire(self, ns: Ns, dev: str) -> probe.Wire:
        link = self.link(ns, dev)
        if link is None:
            raise KernelError(f"there is no link {dev} in the {ns} namespace")
        from underlay import probe

        wire = probe.Wire(self.netns_fd(ns), link.index, link.mac)
        return replace(wire, close=self._close_late) if self._background else wire

    def _close_late(self, packets: socket.socket) -> None:
        if self._background:
            self._background(packets.close)

    def main_defaults(self) -> list[Route]:
        """The default routes of the pod's main table that are not ours."""
        return foreign_defaults(self, POD, MAIN)

    def ours(self, ns: Ns) -> frozenset[Object]:
        """Every route and rule of a namespace that carries our protocol number."""
        found: list[Object] = []
        for version in (4, 6):
            found += routes(self, ns, version, proto=OURS)
            found += [rule for rule in rules(self, ns, version) if rule.proto == OURS]
        return frozenset(found)

    def is_table_in_use(self, version: int, table: int) -> bool:
        """Whether a table of the host holds a route of ours; costs the same however many it holds."""
        return self.lists_anything(HOST, routes_request(version, table, OURS))

    def host_routes(self, version: int) -> HostRoutes:
        """The host's main table as it is now: never what was read before."""
        changes = self._memory.changes() if self._memory else 0
        self._forget_all()
        routes = HostRoutes(version, self.dump(HOST, routes_request(version, MAIN)))
        if self._memory:
            self._memory.keep(f"{OF_MAIN} {version}", changes, routes)
        return routes

    def unchanged_routes(self, version: int) -> HostRoutes | None:
        """What was read last, if only claims of this node can have changed since; else None."""
        if self._memory is None:
            return None
        kept: HostRoutes | None = self._memory.recall(f"{OF_MAIN} {version}", self._memory.changes())
        return kept

    def is_own(self, ip: IP) -> bool:
        """Whether the address is one of the node's own; of IPv4 also a broadcast address of a link."""
        if ip.version == 6:  # its local route comes a moment after the address
            wanted = ADDRESS.pack(AF_INET6, 0, 0, 0, 0) + attribute(IFA_ADDRESS, ip.packed)
            return self.get(HOST, Message(RTM_GETADDR, 0, wanted)) is not None
        body = _route_to(self, ip)
        return body is not None and ROUTE.unpack_from(body)[7] in (RTN_LOCAL, RTN_BROADCAST)


class HostRoutes:
    """The routes to single addresses of a dump, as `cni.claim.HostRoutes` says.

    Of thousands of routes a claim asks about two: here they are told apart, and read when asked for.
    """

    def __init__(self, version: int, bodies: Sequence[bytes]) -> None:
        self.has_daemon = not DAEMONS.isdisjoint({body[5] for body in bodies})
        self._bodies: dict[int, list[bytes]] = {}
        family, bits = family_of(version), 32 if version == 4 else 128
        for body in bodies:
            if body[1] == bits and body[0] == family:
                self._bodies.setdefault(int.from_bytes(destination(body), "big"), []).append(body)

    @property
    def numbers(self) -> Set[int]:
        return self._bodies.keys()

    def ways(self, ip: IP) -> list[Way]:
        return [way for body in self._bodies.get(int(ip), ()) for way in _ways(body)]


def _ways(body: bytes) -> Iterator[Way]:
    """The next hops of a route; of one that leads nowhere, a way without link."""
    proto = body[5]
    attrs = attributes(body, ROUTE.size)
    hops = attrs.get(RTA_MULTIPATH)
    if hops is None:
        yield Way(proto, u32(attrs[RTA_OIF]) if RTA_OIF in attrs else 0, _gateway(attrs))
        return
    start = 0
    while start + RTNEXTHOP.size <= len(hops):
        size, _, _, link = RTNEXTHOP.unpack_from(hops, start)
        yield Way(proto, link, _gateway(attributes(hops[start : start + size], RTNEXTHOP.size)))
        start += max((size + 3) & ~3, RTNEXTHOP.size)


def _gateway(attrs: Mapping[int, bytes]) -> IP | None:
    if RTA_GATEWAY in attrs:
        return address(attrs[RTA_GATEWAY])
    return address(attrs[RTA_VIA][2:]) if RTA_VIA in attrs else None


def _global_addresses(kernel: Netlink, ns: Ns, index: int = 0, but: int = 0) -> tuple[Interface, ...]:
    """The global addresses of a namespace, or of the link `index`, without those of the link `but`."""
    return tuple(address for _, address in _addresses(kernel, ns, index, but))


def _addresses(kernel: Netlink, ns: Ns, index: int = 0, but: int = 0) -> Iterator[tuple[int, Interface]]:
    """The same, each with the index of its link."""
    for body in kernel.dump(ns, Message(RTM_GETADDR, DUMP, ADDRESS.pack(0, 0, 0, 0, index))):
        _, length, flags, scope, on = ADDRESS.unpack_from(body)
        if scope != SCOPE_UNIVERSE or on == but or index not in (0, on):
            continue  # before its attributes are read: every link of the node has a link-local address
        attrs = attributes(body, ADDRESS.size)
        flags = u32(attrs[IFA_FLAGS]) if IFA_FLAGS in attrs else flags
        if not flags & IFA_F_DADFAILED:
            own = attrs.get(IFA_LOCAL) or attrs[IFA_ADDRESS]
            yield on, interface(own, length)


def _route_to(kernel: Netlink, ip: IP) -> bytes | None:
    """`ip route get`: how the node reaches an address; None where it has no way there."""
    header = ROUTE.pack(family_of(ip.version), ip.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    return kernel.get(HOST, Message(RTM_GETROUTE, 0, header + attribute(RTA_DST, ip.packed)))


def _source_toward(kernel: Netlink, ip: IP) -> IP | None:
    """The address that the node would speak from; None where it has no way there."""
    body = _route_to(kernel, ip)
    source = attributes(body, ROUTE.size).get(RTA_PREFSRC) if body else None
    return address(source) if source else None


def _vxlan_link(body: bytes) -> VxlanLink:
    info = attributes(attributes(body, IFINFO.size)[IFLA_LINKINFO])
    data = attributes(info[IFLA_INFO_DATA])
    port = int.from_bytes(data[IFLA_VXLAN_PORT], "big")
    return VxlanLink(decode_link(body).name, u32(data[IFLA_VXLAN_ID]), port)


def _link_toward(kernel: NodeKernel, ip: IP) -> Link | None:
    """By which link the node reaches an address; None where it has no way there, or is there itself."""
    body = _route_to(kernel, ip)
    if not body or ROUTE.unpack_from(body)[7] not in (RTN_UNICAST, RTN_MULTICAST):
        return None
    index = attributes(body, ROUTE.size).get(RTA_OIF)
    return kernel.link_at(HOST, u32(index)) if index else None


def netns_id(kernel: Netlink, ns: Ns, fd: int) -> int | None:
    """By which number `ns` knows the namespace of a descriptor (RTM_GETNSID); None where it does not."""
    body = kernel.get(ns, Message(RTM_GETNSID, 0, bytes(4) + number(NETNSA_FD, fd)))
    found = attributes(body, 4).get(NETNSA_NSID) if body else None
    return i32(found) if found else None


def _rp_filter_of_all(kernel: Netlink, ns: Ns) -> int:
    request = struct.pack("=Bxxx", AF_INET) + number(NETCONFA_IFINDEX, ALL)
    body = kernel.get(ns, Message(RTM_GETNETCONF, 0, request))
    found = attributes(body, 4).get(NETCONFA_RP_FILTER) if body else None
    return u32(found) if found else 0
