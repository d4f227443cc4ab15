"""Where kernel objects stand: the two namespaces of a call, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import StrEnum
from typing import NamedTuple, Protocol

from underlay.objects.link import Link
from underlay.objects.wire import Message

OURS = 201  # the routing protocol number `underlay`: on every route, rule and neighbour that we make
MAIN = 254  # the table that `ip route` shows


class Ns(StrEnum):
    """A namespace of a call, by its part in it."""

    HOST = "host"
    POD = "pod"

    __hash__ = str.__hash__  # that of Enum is written in Python, and each look at a link's index asks for it


HOST, POD = Ns.HOST, Ns.POD


class Write(NamedTuple):
    """A request of the kernel that goes through a file: its path below /proc/sys/net, and the value."""

    path: str
    value: str


Request = Message | Write


class View(Protocol):
    """What an object may ask of the kernel, to be encoded and to be found again."""

    def link(self, ns: Ns, dev: str) -> Link | None:
        """The link of that name, None where there is none (or no such namespace any more)."""

    def index(self, ns: Ns, dev: str) -> int:
        """The link's index; KernelError where there is none."""

    def dev(self, ns: Ns, index: int) -> str:
        """The name of the link with that index, "" where there is none."""

    def new_index(self) -> int:
        """An index for a link that is about to be made, and the next for its other end; where one of them
        is taken, the kernel chooses others."""

    def netns_fd(self, ns: Ns) -> int:
        """A descriptor of the namespace itself."""

    def dump(self, ns: Ns, request: Message) -> list[bytes]:
        """What the kernel lists for `request`, a body each; [] where the namespace is gone."""

    def grouped(
        self, ns: Ns, request: Message, place: Callable[[bytes], Hashable]
    ) -> dict[Hashable, list[bytes]]:
        """The same by place, so that looking for each of a thousand objects reads the list once."""

    def sysctl(self, ns: Ns, path: str) -> str | None:
        """The value of a file below /proc/sys/net, None where there is none."""


class Placed(Protocol):
    """Any kernel object, as far as where it stands goes."""

    @property
    def ns(self) -> Ns: ...


def links_of(obj: Placed) -> tuple[tuple[Ns, str], ...]:
    """The links that come with an object and go with it, by namespace and name; none for most kinds.

    A kind that makes links has them as `links`: first the one that its request describes. Where that
    has an index chosen by us, the second gets the next.
    """
    links: tuple[tuple[Ns, str], ...] = getattr(obj, "links", ())
    return links


def stands_on(obj: Placed) -> tuple[Ns, str]:
    """The link that takes the object along when it goes; its name is "" where no single one does."""
    link: tuple[Ns, str] = getattr(obj, "stands_on", None) or (obj.ns, getattr(obj, "dev", ""))
    return link


def made_in(obj: Placed) -> Ns:
    """Where the request is sent that makes an object: its own namespace, unless its kind says otherwise."""
    ns: Ns = getattr(obj, "made_in", obj.ns)
    return ns


def on(ns: Ns, command: str) -> str:
    """A line of a plan: the namespace, then the command that a person would type there."""
    return f"{ns + ':':5} {command}"


def ip_command(version: int) -> str:
    return "ip" if version == 4 else "ip -6"
