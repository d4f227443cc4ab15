"""A macvlan in bridge mode (linux/drivers/net/macvlan.c)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from underlay.objects.place import HOST, POD, Ns, Request, View, on
from underlay.objects.wire import (
    CREATE,
    EXCL,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_LINK,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    RTM_DELLINK,
    RTM_NEWLINK,
    Message,
    attribute,
    attributes,
    ifinfo,
    linkinfo,
    mac_bytes,
    number,
    text,
    u32,
)
from underlay.values import dataclass

KIND = "macvlan"
IFLA_MACVLAN_MODE, BRIDGE = 1, 4


@dataclass(frozen=True, slots=True)
class Macvlan:
    """A link on `lower`, a link of the node; `mtu` is in bytes, at most that of `lower`.

    It is made where it belongs, down, with the name and the MAC that it keeps: nobody on the node sees
    it, and nothing is moved or renamed. The MAC says whose it is, so there must be one.
    """

    ns: Ns
    dev: str
    lower: str
    mac: str
    mtu: int
    made_in: ClassVar[Ns] = HOST  # where `lower` is

    def __post_init__(self) -> None:
        if not self.mac:
            raise ValueError(f"a macvlan without a MAC: {self.dev}")

    def __str__(self) -> str:
        netns = " netns POD" if self.ns == POD else ""
        place = f"{self.dev}{netns} link {self.lower} address {self.mac} mtu {self.mtu}"
        return on(HOST, f"ip link add {place} type {KIND} mode bridge")

    @property
    def links(self) -> tuple[tuple[Ns, str], ...]:
        return ((self.ns, self.dev),)

    @property
    def stands_on(self) -> tuple[Ns, str]:
        return HOST, self.lower

    def add(self, view: View) -> Request:
        body = text(IFLA_IFNAME, self.dev) + attribute(IFLA_ADDRESS, mac_bytes(self.mac))
        body += number(IFLA_MTU, self.mtu) + number(IFLA_LINK, view.index(HOST, self.lower))
        body += linkinfo(KIND, number(IFLA_MACVLAN_MODE, BRIDGE))
        if self.ns != HOST:
            body += number(IFLA_NET_NS_FD, view.netns_fd(self.ns))
        # The index is chosen here. Without one, a kernel before Linux 6.13 looks for a link of that name in
        # the namespace that the request comes from, where the node's eth0 is, and finds that it exists. And
        # an index that is known need not be asked for: the echo of a link in another namespace goes to the
        # port of that number there, to a socket that has asked for nothing.
        return Message(RTM_NEWLINK, CREATE | EXCL, ifinfo(view.new_index()) + body)

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        """Sets the MTU of one that is ours already."""
        index = view.index(self.ns, self.dev)
        return [(self.ns, Message(RTM_NEWLINK, 0, ifinfo(index) + number(IFLA_MTU, self.mtu)))]

    def remove(self, view: View) -> Request | None:
        link = view.link(self.ns, self.dev)
        if link is None or link.kind != KIND or link.mac != self.mac:
            return None  # gone, or another's that only has the name
        return Message(RTM_DELLINK, 0, ifinfo(link.index))

    def found(self, view: View) -> Macvlan | None:
        """The macvlan of that name; None too for a link that is no macvlan in bridge mode."""
        link = view.link(self.ns, self.dev)
        if link is None or link.kind != KIND:
            return None
        if u32(attributes(link.data)[IFLA_MACVLAN_MODE]) != BRIDGE:
            return None
        return Macvlan(self.ns, self.dev, view.dev(HOST, link.peer), link.mac, link.mtu)

    def yields_to(self, new: Macvlan) -> bool:
        return replace(self, mtu=new.mtu) == new

    def clash(self, old: Macvlan | None) -> str:
        if old:
            return f"there is: {old}"
        return f"there is another link {self.dev} {'on the node' if self.ns == HOST else 'in the pod'}"
