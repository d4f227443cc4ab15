"""Annotations that are written some time from now, by one thread.

Nobody waits for them. What the API server does not take now is tried again, ever more seldom and for
some minutes; what is handed in anew for a pod replaces what is due for it. Where the pod is gone, so is
the wish.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from underlay.cni.cluster import PodObject
from underlay.cni.errors import CniError
from underlay.kube.backoff import Backoff
from underlay.kube.connection import Connection
from underlay.kube.direct import ANNOTATING, is_of_no_use, write
from underlay.kube.lazy import LazyThread
from underlay.log import Log

LONGEST = 300.0  # seconds until a wish is given up

Key = tuple[str, str, str]  # of a pod: namespace, name, uid


@dataclass(slots=True)
class Wish:
    """Annotations for a pod, not written yet. Times are those of time.monotonic()."""

    pod: PodObject
    values: dict[str, str]
    until: float
    due: float = 0.0
    has_failed: bool = False
    backoff: Backoff = field(default_factory=Backoff)


class Annotator:
    """Writes annotations, from the first one on until `close`."""

    def __init__(self, kubeconfig: str, log: Log) -> None:
        self._kubeconfig = kubeconfig
        self._log = log
        self._wishes: dict[Key, Wish] = {}
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = LazyThread(self._run, "kubernetes-annotate")

    def close(self) -> None:
        """Ends the thread. What was just handed in is still tried, for as long as a process would."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(ANNOTATING)

    def annotate(self, pod: PodObject, key: str, value: str) -> None:
        """Takes note of an annotation."""
        until = time.monotonic() + LONGEST
        with self._changed:
            wish = self._wishes.setdefault(_key(pod), Wish(pod, {}, until))
            wish.values[key] = value
            wish.until = until
            self._changed.notify()
        self._thread.begin()

    def _run(self) -> None:
        while wish := self._next():
            self._write(wish)

    def _write(self, wish: Wish) -> None:
        """All that is due by now goes over one connection."""
        due: Wish | None = wish
        try:
            with Connection(self._kubeconfig) as connection:
                while due:
                    wish = due
                    write(connection, wish.pod, wish.values)
                    due = self._taken()
        except CniError as error:
            self._fail(wish, error)

    def _next(self) -> Wish | None:
        """Waits for a wish that is due; None when it is to end."""
        with self._changed:
            while not (wish := self._taken()):
                if self._is_closing:
                    return None
                dues = [waiting.due for waiting in self._wishes.values()]
                self._changed.wait(max(0.0, min(dues) - time.monotonic()) if dues else None)
            return wish

    def _taken(self) -> Wish | None:
        """A wish that is due, taken out; None where none is."""
        with self._changed:
            now = time.monotonic()
            due = next((key for key, wish in self._wishes.items() if wish.due <= now), None)
            return self._wishes.pop(due) if due else None

    def _fail(self, wish: Wish, error: CniError) -> None:
        """Puts it back for later, unless that is of no use."""
        if is_of_no_use(error):
            return
        now = time.monotonic()
        if now >= wish.until:
            self._tell("annotation-lost", "error", wish, error)
            return
        if not wish.has_failed:
            self._tell("annotation-late", "warn", wish, error)
        wish.has_failed = True
        wish.due = now + wish.backoff.pause()
        with self._changed:
            newer = self._wishes.setdefault(_key(wish.pod), wish)
            newer.values = {**wish.values, **newer.values}

    def _tell(self, event: str, level: str, wish: Wish, error: CniError) -> None:
        told = {"annotations": list(wish.values), "msg": error.msg, "details": error.details}
        self._log.event(event, level, pod=f"{wish.pod.namespace}/{wish.pod.name}", **told)


def _key(pod: PodObject) -> Key:
    return pod.namespace, pod.name, pod.uid
