"""The kernel of one call: a host namespace, and a pod's where it is still there.

Implements `plan.Kernel` for any object and `objects.View` for their encoding. It knows no kind of
object itself; what it knows is how requests travel: which can share a datagram, what a refusal means.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from underlay.cni.errors import CniError, KernelError
from underlay.netlink.late import Background, delete_link
from underlay.netlink.pool import SocketPool
from underlay.netlink.socket import NetlinkSocket, Refused
from underlay.netns import entered
from underlay.objects import (
    HOST,
    POD,
    Ns,
    Object,
    Request,
    Route,
    View,
    Write,
    links_of,
    made_in,
    stands_on,
)
from underlay.objects.link import (
    Link,
    decode_link,
    is_new_link,
    is_setting,
    link_by_index,
    link_by_name,
)
from underlay.objects.wire import EXCL, IFINFO, RTM_DELLINK, RTM_NEWLINK, Message, ifinfo
from underlay.plan import Added, Changed, Found, Outcome, gives_way

# What these say of is not there; EAFNOSUPPORT: nothing of IPv6 is, on a kernel without it.
GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
PROC = "/proc/sys/net/"
CHANGES_OF_LINKS = {RTM_NEWLINK, RTM_DELLINK}  # no other request changes what a link says of itself
FIRST_INDEX = 1 << 23  # of those that we choose: the kernel counts from 1, and does not get there
ADDED = Added()
Encode = Callable[[View], Request | None]


class Sent(NamedTuple):
    """What is sent for an object, and the setting of ours or of nobody's that it changes."""

    obj: Object
    request: Message
    old: Object | None


class Netlink:
    """Works on namespace descriptors that the caller owns; `close` frees its sockets.

    With a `background` to wait there, links are deleted without waiting for the end of it; with a `pool`
    the sockets of the host are left for others.
    """

    def __init__(
        self,
        host: int,
        pod: int | None,
        background: Background | None = None,
        pool: SocketPool | None = None,
    ) -> None:
        self._netns: dict[Ns, int] = {HOST: host} | ({} if pod is None else {POD: pod})
        self._background = background
        self._pool = pool
        self._sockets: dict[Ns, NetlinkSocket] = {}
        self._indexes: dict[tuple[Ns, str], int] = {}
        self._names: dict[tuple[Ns, int], str] = {}
        self._links: dict[tuple[Ns, str], Link | None] = {}
        self._dumps: dict[tuple[Ns, Message], list[bytes]] = {}
        self._grouped: dict[tuple[Ns, Message], dict[Hashable, list[bytes]]] = {}
        self._untouched: set[tuple[Ns, str]] = set()  # links that were made, and no setting of theirs since

    def close(self) -> None:
        for ns, opened in self._sockets.items():
            if self._pool and ns == HOST and opened.is_idle:
                self._pool.give(opened)
            else:
                opened.close()
        self._sockets = {}

    def has(self, ns: Ns) -> bool:
        return ns in self._netns

    def identity(self, ns: Ns) -> str:
        """That of the namespace, as `netns.identity` gives it; "" where there is none."""
        return self._socket(ns).netns_identity(self._netns[ns]) if ns in self._netns else ""

    # As plan.Kernel

    def add(self, objects: Sequence[Object]) -> list[Outcome]:
        """A run is what can share one datagram: sent to one namespace, up to a link that the rest needs."""
        ns = made_in(objects[0])
        outcomes: list[Outcome | None] = []
        batch: list[Sent] = []
        for obj in objects:
            if made_in(obj) != ns:
                break
            try:
                request = obj.add(self)
                old = self._setting(obj, request)
            except CniError as error:
                outcomes.append(error)
                break
            if old is not None and (old == obj or isinstance(request, Write) or not gives_way(old, obj)):
                outcomes.append(Found(old))
                if old != obj:
                    break
                continue
            if isinstance(request, Write):
                if not outcomes:
                    outcomes.append(self._outcome(obj, None, self._write(ns, request)))
                break
            outcomes.append(None)  # known when the batch has been answered
            batch.append(Sent(obj, request, old))
            if is_new_link(request):
                break
        answers = iter(self._make(ns, batch))
        return [next(answers) if outcome is None else outcome for outcome in outcomes]

    def _setting(self, obj: Object, request: Request) -> Object | None:
        """What is there of an object that is changed and not made: a setting.

        One of a link that this call has just made is nobody's, and not looked at.
        """
        if isinstance(request, Message) and (request.flags & EXCL or stands_on(obj) in self._untouched):
            return None
        return obj.found(self)

    def _make(self, ns: Ns, batch: Sequence[Sent]) -> list[Outcome]:
        if not batch:
            return []
        refusals = self._send(ns, [request for _, request, _ in batch])
        if self._untouched:
            self._untouched.difference_update(
                stands_on(obj) for obj, request, _ in batch if not request.flags & EXCL
            )
        obj, request, _ = batch[-1]
        if is_new_link(request):
            refusals[-1] = self._made_link(obj, request, refusals[-1])
        return [
            ADDED if refused is None and old is None else self._outcome(obj, old, refused)
            for (obj, _, old), refused in zip(batch, refusals, strict=True)
        ]

    def _made_link(self, obj: Object, request: Message, refused: Refused | None) -> Refused | None:
        """A new link has the index that was chosen for it; else it is asked for when it is needed."""
        links = links_of(obj)
        chosen = _chosen_indexes(request, links)
        if refused and self._is_taken(chosen, refused):
            chosen = {}
            request = request._replace(body=ifinfo() + request.body[IFINFO.size :])  # the kernel chooses
            (refused,) = self._send(made_in(obj), [request])
        if refused is None:
            self._untouched.update(links)
            for link in links:
                self._indexes.pop(link, None)  # of an earlier link of that name
            self._indexes.update(chosen)
        return refused

    def _is_taken(self, chosen: dict[tuple[Ns, str], int], refused: Refused) -> bool:
        """Whether a new link was to get an index that another one has.

        Before Linux 6.13 it must be free in the namespace too that the request is sent to.
        """
        if refused.errno not in (errno.EEXIST, errno.EBUSY):
            return False
        return any(self.link_at(ns, index) for ns in self._netns for index in chosen.values())

    def _outcome(self, obj: Object, old: Object | None, refused: Refused | None) -> Outcome:
        if refused is None:
            return ADDED if old is None else Changed(old)
        if refused.errno == errno.EEXIST:
            return Found(obj.found(self))
        return _error(obj, refused)

    def replace(self, old: Object, new: Object) -> None:
        for ns, request in new.replace(self):
            refused = (
                self._write(ns, request) if isinstance(request, Write) else self._send(ns, [request])[0]
            )
            if refused and refused.errno != errno.EEXIST:
                raise _error(new, refused)

    def remove(self, objects: Iterable[Object]) -> list[CniError]:
        failures = self._send_each((obj, obj.remove) for obj in objects if obj.ns in self._netns)
        self._untouched.clear()
        return failures

    def restore(self, routes: Iterable[Route]) -> list[CniError]:
        return self._send_each((route, route.restore) for route in routes if route.ns in self._netns)

    def _send_each(self, wanted: Iterable[tuple[Object, Encode]]) -> list[CniError]:
        """Sends what there is to send for each object, a datagram a namespace; returns the real failures."""
        failures: list[CniError] = []
        batches: dict[Ns, list[tuple[Object, Message]]] = {}
        for obj, encode in wanted:
            try:
                request = encode(self)
            except CniError:
                continue  # its link is gone, and it went with the link
            if isinstance(request, Message):
                batches.setdefault(obj.ns, []).append((obj, request))
            elif request:
                failures += _real_failures(obj, self._write(obj.ns, request))
        for ns in sorted(batches, reverse=True):  # the pod first: its objects may need the pair that goes
            objects, messages = zip(*batches[ns], strict=True)
            for obj, refused in zip(objects, self._send_removals(ns, messages), strict=True):
                failures += _real_failures(obj, refused)
        return failures

    def _send_removals(self, ns: Ns, messages: Sequence[Message]) -> list[Refused | None]:
        """In one datagram; but several links in one take many times longer than each alone."""
        if all(message.type != RTM_DELLINK for message in messages):
            return self._send(ns, messages)
        self._indexes.clear()  # a link that is made again has another index
        self._names.clear()
        if self._background is None:
            return self._send(ns, messages)
        refusals: list[Refused | None] = []
        for message in messages:
            if message.type == RTM_DELLINK:
                self._forget_all()
                refusals.append(delete_link(self._netns[ns], message, self._background))
            else:
                refusals += self._send(ns, [message])
        return refusals

    def found(self, obj: Object) -> Object | None:
        return obj.found(self) if obj.ns in self._netns else None

    # As objects.View

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
            link = self.link(ns, dev)
            if link is None:
                raise KernelError(f"there is no link {dev} in the {ns} namespace")
            index = self._indexes[ns, dev] = link.index
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
            netns = self._netns[ns]
            opened = self._pool.take(netns) if self._pool and ns == HOST else NetlinkSocket(netns)
            self._sockets[ns] = opened
        return opened

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
        for message in messages:
            if message.type in CHANGES_OF_LINKS and self._links:
                self._forget_links(ns, message)

    def _forget_links(self, ns: Ns, message: Message) -> None:
        if message.type == RTM_NEWLINK and is_setting(message):
            index = _index_in(message)
            changed = [
                at for at, link in self._links.items() if at[0] == ns and link and link.index == index
            ]
        elif is_new_link(message):
            changed = [at for at, link in self._links.items() if link is None]
        else:
            changed = list(self._links)
        for at in changed:
            del self._links[at]

    def _forget_all(self) -> None:
        self._dumps.clear()
        self._grouped.clear()
        self._links.clear()


def _index_in(request: Message) -> int:
    """The index in a request about a link; 0 where the kernel is to choose it."""
    index: int = IFINFO.unpack_from(request.body)[2]
    return index


def _chosen_indexes(request: Message, links: Sequence[tuple[Ns, str]]) -> dict[tuple[Ns, str], int]:
    """The index of each new link, in turn, where the request has chosen that of the first."""
    first = _index_in(request)
    return {link: first + place for place, link in enumerate(links)} if first else {}


def _real_failures(obj: Object, refused: Refused | None) -> list[CniError]:
    """What is gone when it is to be removed, or there when it is put back, is as it should be."""
    if refused is None or refused.errno == errno.EEXIST or refused.errno in GONE:
        return []
    return [_error(obj, refused)]


def _error(obj: Object, refused: Refused) -> KernelError:
    return KernelError(
        f"{obj}: {refused}", "the kernel refused this; typed in that namespace it says the same"
    )
