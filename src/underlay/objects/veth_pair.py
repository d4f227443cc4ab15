"""The veth pair between a pod and its node."""

from __future__ import annotations

import struct
from typing import ClassVar

from underlay.objects.place import HOST, POD, Ns, Request, View, on
from underlay.objects.wire import (
    CREATE,
    EXCL,
    IFF_UP,
    IFINFO,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    NUMBER,
    RTM_DELLINK,
    RTM_NEWLINK,
    Message,
    attribute,
    ifinfo,
    linkinfo,
    mac_bytes,
    number,
    text,
)
from underlay.values import dataclass

VETH_INFO_PEER = 1
END = struct.Struct(IFINFO.format + "HHIHHIHHI")  # a link's header and three numbers, packed at once


@dataclass(frozen=True, slots=True)
class VethPair:
    """Both ends, made where they belong: nothing is moved or renamed afterwards.

    The MACs say whose pair it is: they are derived from the container id, so an equal pair is ours
    and one of the same name with other MACs is not.
    """

    host_dev: str
    host_mac: str
    pod_dev: str
    pod_mac: str
    mtu: int
    ns: ClassVar[Ns] = HOST

    def __str__(self) -> str:
        return on(
            HOST,
            f"ip link add {self.host_dev} address {self.host_mac} mtu {self.mtu} type veth"
            f" peer name {self.pod_dev} address {self.pod_mac} mtu {self.mtu} netns POD",
        )

    @property
    def links(self) -> tuple[tuple[Ns, str], ...]:
        return ((HOST, self.host_dev), (POD, self.pod_dev))

    @property
    def stands_on(self) -> tuple[Ns, str]:
        return HOST, ""

    def add(self, view: View) -> Request:
        # Chosen here, the indexes need not be learnt: an echo is long to write and to read. The kernel takes
        # that of the peer only beside one of the other end, and never an equal one: then a change of the
        # link's state would wait for up to a second, as for hardware.
        index = view.new_index()
        peer = self._end(index + 1, 0, self.pod_dev, self.pod_mac)  # born up it would have no other end yet
        peer += number(IFLA_NET_NS_FD, view.netns_fd(POD))
        body = self._end(index, IFF_UP, self.host_dev, self.host_mac)
        body += linkinfo("veth", attribute(VETH_INFO_PEER, peer))
        return Message(RTM_NEWLINK, CREATE | EXCL, body)

    def _end(self, index: int, flags: int, dev: str, mac: str) -> bytes:
        mtu = NUMBER.size, IFLA_MTU, self.mtu
        # One queue an end: without these the kernel runs two synchronize_rcu_expedited.
        queues = NUMBER.size, IFLA_NUM_TX_QUEUES, 1, NUMBER.size, IFLA_NUM_RX_QUEUES, 1
        end = END.pack(0, 0, index, flags, flags, *mtu, *queues)
        return end + text(IFLA_IFNAME, dev) + attribute(IFLA_ADDRESS, mac_bytes(mac))

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        """Sets the MTU of a pair that is ours already."""
        return [
            (ns, Message(RTM_NEWLINK, 0, ifinfo(view.index(ns, dev)) + number(IFLA_MTU, self.mtu)))
            for ns, dev in self.links
        ]

    def remove(self, view: View) -> Request | None:
        end = view.link(HOST, self.host_dev)
        if end is None or end.mac != self.host_mac:
            return None  # gone, or another's that only has the name
        return Message(RTM_DELLINK, 0, ifinfo(end.index))

    def found(self, view: View) -> VethPair | None:
        host, pod = view.link(HOST, self.host_dev), view.link(POD, self.pod_dev)
        if host is None and pod is None:
            return None
        if host and pod and host.peer == pod.index and pod.peer == host.index:
            mtu = host.mtu if pod.mtu == self.mtu else pod.mtu
            return VethPair(self.host_dev, host.mac, self.pod_dev, pod.mac, mtu)
        # An end alone, or two strangers: an empty MAC equals none of ours.
        return VethPair(self.host_dev, host.mac if host else "", self.pod_dev, "", (host or pod or self).mtu)

    def yields_to(self, new: VethPair) -> bool:
        return (self.host_mac, self.pod_mac) == (new.host_mac, new.pod_mac)

    def clash(self, old: VethPair | None) -> str:
        ends = f"{self.host_dev} on the node or {self.pod_dev} in the pod"
        return f"there is a link {ends} that is no end of this pod's pair"
