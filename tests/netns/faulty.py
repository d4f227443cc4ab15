"""A node whose kernel refuses one object of a call; everything else of it is real."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from tests.netns.world import Inside
from underlay.cni.errors import CniError, KernelError
from underlay.lab.namespace import Netns
from underlay.netlink.facts import NodeKernel
from underlay.netns import open_netns
from underlay.objects import LinkUp, Ns, Object, Request, Route, Sysctl, View, Write
from underlay.plan import Outcome

NO_TYPE = 0x7FF0  # of no message that rtnetlink knows: the answer is EOPNOTSUPP


class Damaged:
    """An object whose request the kernel does not know; everything else is the object's own."""

    def __init__(self, obj: Object) -> None:
        self._obj = obj

    def __getattr__(self, name: str) -> Any:
        return getattr(self._obj, name)

    def __str__(self) -> str:
        return str(self._obj)

    def add(self, view: View) -> Request:
        return damaged(self._obj.add(view))

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        return [(ns, damaged(request)) for ns, request in self._obj.replace(view)]

    def remove(self, view: View) -> Request | None:
        request = self._obj.remove(view)
        return request and damaged(request)


def damaged(request: Request) -> Request:
    assert not isinstance(request, Write)
    return request._replace(type=NO_TYPE)


class Refusing(NodeKernel):
    """The real kernel, which refuses one object; the rest of its batch goes through, as it does in life."""

    def __init__(self, host: int, pod: int | None, node: Faulty) -> None:
        super().__init__(host, pod)
        self.node = node

    def add(self, objects: Sequence[Object]) -> list[Outcome]:
        self.node.ask(objects)
        if not set(objects) & {*self.node.refused}:
            return super().add(objects)
        (refused,) = self.node.refused
        place = objects.index(refused)
        self.node.unmade.add(refused)
        if not isinstance(refused, LinkUp | Sysctl):
            return super().add([*objects[:place], twin(refused), *objects[place + 1 :]])
        # The kernel has no reason to refuse what is so already, so it is said in its place.
        outcomes = super().add(objects[:place]) if place else []
        whole = len(outcomes) == place
        return [*outcomes, KernelError(f"{refused}: Operation not permitted")] if whole else outcomes

    def remove(self, objects: Iterable[Object]) -> list[CniError]:
        every = list(objects)
        self.node.ask([obj for obj in every if self.removes(obj)])
        refused = {*self.node.refused} - self.node.unmade  # to remove what is not there is nothing to refuse
        return super().remove(twin(obj) if obj in refused else obj for obj in every)

    def replace(self, old: Object, new: Object) -> None:
        if isinstance(new, Route):  # settings are put back this way too
            self.node.ask([new])
        super().replace(old, twin(new) if new in self.node.refused else new)

    def removes(self, obj: Object) -> bool:
        try:
            return self.has(obj.ns) and obj.remove(self) is not None
        except CniError:
            return False  # its link is gone


def twin(obj: Object) -> Object:
    return cast(Object, Damaged(obj))


class Faulty(Inside):
    """A node whose kernel can refuse the object number `place` of those that a call asks for."""

    def __init__(self, node: Netns, state: str) -> None:
        super().__init__(node, state)
        self.asked: dict[Object, None] = {}
        self.place = -1
        self.refused: list[Object] = []
        self.unmade: set[Object] = set()

    def ask(self, objects: Iterable[Object]) -> None:
        self.asked.update(dict.fromkeys(objects))
        if not self.refused and 0 <= self.place < len(self.asked):
            self.refused.append([*self.asked][self.place])

    @contextmanager
    def refusing(self, place: int) -> Iterator[list[Object]]:
        """Gives the object that was refused, or none where the calls asked for fewer."""
        self.asked, self.place, refused = {}, place, self.refused
        yield refused
        self.place, self.refused, self.unmade = -1, [], set()

    def refusals(self, call: Callable[[], object]) -> Iterator[tuple[Object, str]]:
        """Refuses each object that a call asks for, one after the other; with the error, "" for none.

        In between the caller does what is to follow. In the end the call has gone through."""
        for place in itertools.count():
            with self.refusing(place) as refused:
                error = refusal(call)
            if not refused:
                assert error == ""
                return
            yield refused[0], error

    @contextmanager
    def kernel(self, path: str) -> Iterator[NodeKernel]:
        pod = open_netns(path) if os.path.exists(path) else None
        kernel = Refusing(self._host, pod, self)
        try:
            yield kernel
        finally:
            kernel.close()
            if pod is not None:
                os.close(pod)


def failure(call: Callable[[], object]) -> CniError | None:
    """With what a call in this process fails, None where it does not."""
    try:
        call()
    except CniError as error:
        return error
    return None


def refusal(call: Callable[[], object]) -> str:
    """The message of that, "" for none."""
    error = failure(call)
    return error.msg if error else ""
