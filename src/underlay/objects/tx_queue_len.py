"""The length of a link's transmit queue."""

from __future__ import annotations

from dataclasses import field

from underlay.objects.place import Ns, Request, View, on
from underlay.objects.wire import IFLA_TXQLEN, RTM_NEWLINK, Message, ifinfo, number
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class TxQueueLen:
    """`dev` queues up to `packets`. `was` is what a link that outlives us gets back, −1 for none."""

    ns: Ns
    dev: str
    packets: int
    was: int = field(default=-1, compare=False)

    def __str__(self) -> str:
        return on(self.ns, f"ip link set dev {self.dev} txqueuelen {self.packets}")

    def add(self, view: View) -> Request:
        return self._set(view, self.packets)

    def _set(self, view: View, packets: int) -> Request:
        return Message(RTM_NEWLINK, 0, ifinfo(view.index(self.ns, self.dev)) + number(IFLA_TXQLEN, packets))

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        return [(self.ns, self.add(view))]

    def remove(self, view: View) -> Request | None:
        if self.was < 0 or self.found(view) != self:
            return None
        return self._set(view, self.was)

    def found(self, view: View) -> TxQueueLen | None:
        link = view.link(self.ns, self.dev)
        return TxQueueLen(self.ns, self.dev, link.tx_queue_len) if link else None

    def yields_to(self, new: TxQueueLen) -> bool:
        return True
