"""The alias of a link: a text for people, of up to 255 bytes."""

from __future__ import annotations

from underlay.objects.place import Ns, Request, View, on
from underlay.objects.wire import IFLA_IFALIAS, RTM_NEWLINK, Message, attribute, ifinfo
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class LinkAlias:
    """`dev`, a link of ours, has the alias `alias`. It is never removed: it dies with its link."""

    ns: Ns
    dev: str
    alias: str

    def __str__(self) -> str:
        return on(self.ns, f"ip link set dev {self.dev} alias {self.alias}")

    def add(self, view: View) -> Request:
        body = ifinfo(view.index(self.ns, self.dev)) + attribute(IFLA_IFALIAS, self.alias.encode())
        return Message(RTM_NEWLINK, 0, body)

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        return [(self.ns, self.add(view))]

    def remove(self, view: View) -> Request | None:
        return None

    def found(self, view: View) -> LinkAlias | None:
        link = view.link(self.ns, self.dev)
        return LinkAlias(self.ns, self.dev, link.alias) if link else None

    def yields_to(self, new: LinkAlias) -> bool:
        return True
