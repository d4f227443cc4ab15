"""A link that is up."""

from __future__ import annotations

from underlay.objects.place import Ns, Request, View, on
from underlay.objects.wire import IFF_UP, IFINFO, RTM_NEWLINK, Message, ifinfo
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The link `dev`, up. An object of its own, because a veth's far end cannot be born up."""

    ns: Ns
    dev: str

    def __str__(self) -> str:
        return on(self.ns, f"ip link set dev {self.dev} up")

    def add(self, view: View) -> Request:
        return Message(RTM_NEWLINK, 0, ifinfo(view.index(self.ns, self.dev), IFF_UP))

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        return [(self.ns, self.add(view))]

    def remove(self, view: View) -> Request | None:
        link = view.link(self.ns, self.dev)
        if link is None:
            return None
        return Message(RTM_NEWLINK, 0, IFINFO.pack(0, 0, link.index, 0, IFF_UP))

    def found(self, view: View) -> LinkUp | None:
        link = view.link(self.ns, self.dev)
        return self if link and link.up else None

    def yields_to(self, new: LinkUp) -> bool:
        return True
