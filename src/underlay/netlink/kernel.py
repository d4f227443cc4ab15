"""The kernel of one call: a host namespace, and a pod's where it is still there.

Implements `plan.Kernel` for any object. It knows no kind of object itself; what it knows is how requests
travel: which can share a datagram, what a refusal means.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from underlay.cni.errors import CniError, KernelError
from underlay.netlink.late import Background, delete_link
from underlay.netlink.namespaces import GONE, Namespaces, index_in
from underlay.netlink.pool import SocketPool
from underlay.netlink.socket import Refused
from underlay.objects import Ns, Object, Request, Route, View, Write, links_of, made_in, stands_on
from underlay.objects.link import brings_up, is_new_link
from underlay.objects.wire import EXCL, IFINFO, RTM_DELLINK, Message, ifinfo
from underlay.plan import ADDED, Changed, Found, Outcome, gives_way

Encode = Callable[[View], Request | None]
# An object, what is sent for it, and the setting of ours or of nobody's that it changes. No NamedTuple:
# that takes six times as long to make, and there is one for each object of a plan.
Sent = tuple[Object, Message, Object | None]


class Netlink(Namespaces):
    """The namespaces of a call, to be changed.

    With a `background` to wait there, links are deleted without waiting for the end of it.
    """

    def __init__(
        self,
        host: int,
        pod: int | None,
        background: Background | None = None,
        pool: SocketPool | None = None,
    ) -> None:
        super().__init__(host, pod, pool)
        self._background = background
        self._untouched: set[tuple[Ns, str]] = set()  # links that were made, and no setting of theirs since
        self._touched: set[tuple[Ns, str]] = set()  # those that will have one when the batch has been sent
        self._born_up: set[tuple[Ns, str]] = set()  # links that were made, and up from the first

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
                if self._born_up and self._is_born_so(obj, request):
                    outcomes.append(ADDED)
                    continue
                is_made = isinstance(request, Message) and request.flags & EXCL
                old = None if is_made else self._setting(obj, request)
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
            batch.append((obj, request, old))
            if is_new_link(request):
                break
        answers = iter(self._make(ns, batch))
        return [next(answers) if outcome is None else outcome for outcome in outcomes]

    def _is_born_so(self, obj: Object, request: Request) -> bool:
        """Whether a request is the first to bring up a link that is up since it was made."""
        link = stands_on(obj)
        if link not in self._born_up or not isinstance(request, Message) or not brings_up(request):
            return False
        self._born_up.remove(link)
        self._touched.add(link)
        return True

    def _setting(self, obj: Object, request: Request) -> Object | None:
        """What is there of an object that is changed and not made: a setting.

        One of a link that this call has just made is nobody's, and not looked at.
        """
        if isinstance(request, Message) and (link := stands_on(obj)) in self._untouched:
            self._touched.add(link)
            return None
        return obj.found(self)

    def _make(self, ns: Ns, batch: Sequence[Sent]) -> list[Outcome]:
        self._untouched -= self._touched
        self._touched.clear()
        if not batch:
            return []
        refusals = self._send(ns, [request for _, request, _ in batch])
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
            if brings_up(request):
                self._born_up.add(links[0])
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
        self._indexes.clear()  # time has passed for who waited meanwhile: a link may be another one by now
        self._untouched.clear()
        self._born_up.clear()
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
                let_go = partial(self._let_go, ns)
                refusals.append(delete_link(self._spare_socket(ns), message, self._background, let_go))
            else:
                refusals += self._send(ns, [message])
        return refusals

    def found(self, obj: Object) -> Object | None:
        return obj.found(self) if obj.ns in self._netns else None


def _chosen_indexes(request: Message, links: Sequence[tuple[Ns, str]]) -> dict[tuple[Ns, str], int]:
    """The index of each new link, in turn, where the request has chosen that of the first."""
    first = index_in(request.body)
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
