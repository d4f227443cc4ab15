"""The namespaces of one call: what is asked of them, remembered until something is sent that changes it.

Implements `objects.View`. It knows no kind of object but links, by whose names the others are written.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Hashable, Sequence

from underlay.cni.errors import KernelError
from underlay.netlink.pool import SocketPool
from underlay.netlink.socket import NetlinkSocket, Refused
from underlay.netns import entered
from underlay.objects import HOST, POD, Ns, Write
from underlay.objects.link import (
    Link,
    decode_link,
    is_new_link,
    is_setting,
    link_by_index,
    link_by_name,
)
from underlay.objects.wire import IFINFO, RTM_DELLINK, RTM_NEWLINK, Message

# What these say of is not there; EAFNOSUPPORT: nothing of IPv6 is, on a kernel without it.
GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
PROC = "/proc/sys/net/"
CHANGES_OF_LINKS = {RTM_NEWLINK, RTM_DELLINK}  # no other request changes what a link says of itself
FIRST_INDEX = 1 << 23  # of those that we choose: the kernel counts from 1, and does not get there


class Namespaces:
    """Works on namespace descriptors that the caller owns; `close` frees its sockets.

    With a `pool` the sockets of the host are left for others.
    """

    def __init__(self, host: int, pod: int | None, pool: SocketPool | None) -> None:
        self._netns: dict[Ns, int] = {HOST: host} | ({} if pod is None else {POD: pod})
        self._pool = pool
        self._sockets: dict[Ns, NetlinkSocket] = {}
        self._indexes: dict[tuple[Ns, str], int] = {}
        self._names: dict[tuple[Ns, int], str] = {}
        self._links: dict[tuple[Ns, str], Link | None] = {}
        self._dumps: dict[tuple[Ns, Message], list[bytes]] = {}
        self._grouped: dict[tuple[Ns, Message], dict[Hashable, list[bytes]]] = {}

    def close(self) -> None:
        for ns, opened in self._sockets.items():
            self._let_go(ns, opened)
        self._sockets = {}

    def has(self, ns: Ns) -> bool:
        return ns in self._netns

    def identity(self, ns: Ns) -> str:
        """That of the namespace, as `netns.identity` gives it; "" where there is none."""
        return self._socket(ns).netns_identity(self._netns[ns]) if ns in self._netns else ""

    def link(self, ns: Ns, dev: str) -> Link | None:
        at = ns, dev
        if at not in self._links:
            self._links[at] = self._get_link(ns, link_by_name(dev))  # `dev` may be another name of it
        return self._links[at]

    def _get_link(self, ns: Ns, request: Message) -> Link | None:
        if ns not in self._netns:
            return None
        body = self._socket(ns).ask(request)
        if body is None:
            return None
        link = decode_link(body)
        at = ns, link.name
        self._links[at] = link
        self._indexes[at] = link.index
        self._names[ns, link.index] = link.name
        return link

    def link_at(self, ns: Ns, index: int) -> Link | None:
        """The link of that index."""
        return self._get_link(ns, link_by_index(index))

    def index(self, ns: Ns, dev: str) -> int:
        index = self._indexes.get((ns, dev))
        if index is None:
            # Not by `link`: there is no need to read all that the link says of itself.
            body = self._socket(ns).ask(link_by_name(dev)) if ns in self._netns else None
            if body is None:
                raise KernelError(f"there is no link {dev} in the {ns} namespace")
            index = self._indexes[ns, dev] = index_in(body)
        return index

    def dev(self, ns: Ns, index: int) -> str:
        name = self._names.get((ns, index))
        if name is None:
            link = self.link_at(ns, index)
            name = self._names[ns, index] = link.name if link else ""
        return name

    def new_index(self) -> int:
        """One that is most probably free, as the next is, and no earlier link had."""
        return FIRST_INDEX + 2 * int.from_bytes(os.urandom(3), "big")

    def netns_fd(self, ns: Ns) -> int:
        return self._netns[ns]

    def dump(self, ns: Ns, request: Message) -> list[bytes]:
        if ns not in self._netns:
            return []
        if (ns, request) not in self._dumps:
            answer = self._socket(ns).dump(request)
            if isinstance(answer, Refused):
                if answer.errno not in GONE:  # a table that does not exist has no routes
                    raise KernelError(f"reading the {ns} namespace: {answer}")
                answer = []
            self._dumps[ns, request] = answer
        return self._dumps[ns, request]

    def grouped(
        self, ns: Ns, request: Message, place: Callable[[bytes], Hashable]
    ) -> dict[Hashable, list[bytes]]:
        if (ns, request) not in self._grouped:
            groups: dict[Hashable, list[bytes]] = {}
            for body in self.dump(ns, request):
                groups.setdefault(place(body), []).append(body)
            self._grouped[ns, request] = groups
        return self._grouped[ns, request]

    def lists_anything(self, ns: Ns, request: Message) -> bool:
        """Whether a dump has an entry. Only its first piece is read, on a socket of its own."""
        asked = NetlinkSocket(self._netns[ns])
        try:
            return asked.has_first(request)
        finally:
            asked.close()

    def get(self, ns: Ns, request: Message) -> bytes | None:
        """The answer to a request for one thing, None where the kernel has none."""
        return self._socket(ns).ask(request)

    def sysctl(self, ns: Ns, path: str) -> str | None:
        if ns not in self._netns:
            return None
        try:
            with entered(self._netns[ns]), open(PROC + path) as file:
                return file.read().strip()
        except OSError:
            return None

    def _socket(self, ns: Ns) -> NetlinkSocket:
        opened = self._sockets.get(ns)
        if opened is None:
            opened = self._sockets[ns] = self._another_socket(ns)
        return opened

    def _spare_socket(self, ns: Ns) -> NetlinkSocket:
        """One to be given away: that of this call, which rarely has more to ask in that namespace then."""
        if ns in self._sockets and self._sockets[ns].is_idle:
            return self._sockets.pop(ns)
        return self._another_socket(ns)

    def _another_socket(self, ns: Ns) -> NetlinkSocket:
        netns = self._netns[ns]
        return self._pool.take(netns) if self._pool and ns == HOST else NetlinkSocket(netns)

    def _let_go(self, ns: Ns, opened: NetlinkSocket) -> None:
        if self._pool and ns == HOST and opened.is_idle:
            self._pool.give(opened)
        else:
            opened.close()

    def _send(self, ns: Ns, messages: Sequence[Message]) -> list[Refused | None]:
        self._forget(ns, messages)
        return self._socket(ns).transact(messages)

    def _write(self, ns: Ns, request: Write) -> Refused | None:
        self._forget_all()
        try:
            with entered(self._netns[ns]), open(PROC + request.path, "w") as file:
                file.write(request.value)
        except OSError as error:
            return Refused(error.errno or errno.EIO, f"writing {PROC}{request.path}")
        return None

    def _forget(self, ns: Ns, messages: Sequence[Message]) -> None:
        """What was read before a change says nothing about the time after it."""
        self._dumps.clear()
        self._grouped.clear()
        changes = [message for message in messages if message.type in CHANGES_OF_LINKS]
        if not changes or not self._links:
            return
        others = [change for change in changes if change.type == RTM_DELLINK or not is_setting(change)]
        if not all(map(is_new_link, others)):
            self._links.clear()
            return
        changed = {(ns, index_in(change.body)) for change in changes}
        self._links = {
            at: link
            for at, link in self._links.items()
            if (not others if link is None else (at[0], link.index) not in changed)
        }

    def _forget_all(self) -> None:
        self._dumps.clear()
        self._grouped.clear()
        self._links.clear()


def index_in(body: bytes) -> int:
    """The index in a message about a link; 0 in a request where the kernel is to choose it."""
    index: int = IFINFO.unpack_from(body)[2]
    return index
