"""The MAC address of a link that somebody else made."""

from __future__ import annotations

from dataclasses import field

from underlay.objects.place import Ns, Request, View, on
from underlay.objects.wire import IFLA_ADDRESS, RTM_NEWLINK, Message, attribute, ifinfo, mac_bytes
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """`dev` has the address `mac`. `was` is what a link that outlives us gets back."""

    ns: Ns
    dev: str
    mac: str
    was: str = field(default="", compare=False)

    def __str__(self) -> str:
        return on(self.ns, f"ip link set dev {self.dev} address {self.mac}")

    def add(self, view: View) -> Request:
        return self._set(view, self.mac)

    def _set(self, view: View, mac: str) -> Request:
        body = ifinfo(view.index(self.ns, self.dev)) + attribute(IFLA_ADDRESS, mac_bytes(mac))
        return Message(RTM_NEWLINK, 0, body)

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        return [(self.ns, self.add(view))]

    def remove(self, view: View) -> Request | None:
        if not self.was or self.found(view) != self:
            return None  # another plugin's by now, and not ours to change
        return self._set(view, self.was)

    def found(self, view: View) -> LinkAddress | None:
        link = view.link(self.ns, self.dev)
        return LinkAddress(self.ns, self.dev, link.mac) if link else None

    def yields_to(self, new: LinkAddress) -> bool:
        return True
