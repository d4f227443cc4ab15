"""A copy of all objects of a kind, kept true by a watch in a thread of its own.

    list ──► watch ──► the server ends it after some minutes ──► watch from the last version on
      ▲        ├─────► broken, refused, silent: pause ─────────► watch from the last version on
      │        └─────► 410 Gone, or not to be read: pause ──┐
      └─────────────────────────────────────────────────────┘

Whatever happens, what was known stays known until a list or the watch says otherwise. A thread that
watches blocks in recv(2): it is woken by the server, which sends a bookmark about once a minute, and by
nothing else.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Generic, TypeVar

from underlay.cni.errors import CniError
from underlay.kube.answers import Form, Key, Status
from underlay.kube.backoff import Backoff
from underlay.kube.connection import SECONDS, Connection
from underlay.kube.errors import Refusal, Refused, Unreadable
from underlay.kube.lazy import LazyThread
from underlay.kube.queries import Collection
from underlay.log import Log

LISTING = 30.0  # seconds that a list may take
WATCHING = (300, 600)  # seconds after which the server ends a watch; not all nodes' at once
GRACE = 30.0  # seconds that it may be late
ENDING = 1.0  # seconds to wait for the thread
BRIEF = 1.0  # seconds; a watch that ends sooner would be begun again and again
FROM_MEMORY = "0"  # the version of a first list: whatever the API server has at hand, as kubelets ask
T = TypeVar("T")


class Reflector(Generic[T]):
    """Objects of one kind, from the first question for one of them on until `close`."""

    def __init__(self, kubeconfig: str, collection: Collection, form: Form[T], log: Log) -> None:
        self._kubeconfig = kubeconfig
        self._collection = collection
        self._form = form
        self._log = log
        self._objects: dict[Key, T] = {}  # replaced or changed by one thread, in single steps
        self._version = ""  # from which to watch; "" where a list is needed
        self._first = FROM_MEMORY
        self._failing = ""  # since when, for people
        self._backoff = Backoff()
        self._has_tried = threading.Event()
        self._closing = threading.Event()
        self._connection: Connection | None = None
        self._thread = LazyThread(self._run, "kubernetes-watch")

    def get(self, key: Key) -> T | None:
        """The object as it was last heard of; waits where the first list is still on its way."""
        self._thread.begin()
        self._has_tried.wait(SECONDS)
        return self._objects.get(key)

    def close(self) -> None:
        """Ends the thread, whatever it waits for."""
        self._closing.set()
        if connection := self._connection:
            connection.cut()
        self._thread.join(ENDING)

    @property
    def trouble(self) -> str:
        """What is wrong with the copy, "" for nothing."""
        return self._failing and f"{self._collection.name} have not been watched since {self._failing}"

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._turn()
            except CniError as error:
                if not self._closing.is_set():
                    self._fail(error)

    def _turn(self) -> None:
        if not self._version:
            self._list()
            self._has_tried.set()
        self._watch()

    def _list(self) -> None:
        with self._connected(LISTING) as connection:
            listed = connection.answer(self._collection.listed(self._first), self._form.listed)
        self._objects = listed.objects
        self._version = listed.version
        self._first = ""  # not from memory any more: that of another server may be older than this

    def _watch(self) -> None:
        began = time.monotonic()
        seconds = random.randint(*WATCHING)  # noqa: S311  no secret
        query = self._collection.watched(self._version, seconds)
        with self._connected(SECONDS) as connection, connection.lines(query, seconds + GRACE) as lines:
            self._work()
            for line in lines:
                self._take(line)
                self._backoff.reset()
        if time.monotonic() - began > BRIEF:
            self._backoff.reset()
        else:
            self._closing.wait(self._backoff.pause())

    def _take(self, line: bytes) -> None:
        change = self._form.change(line)
        if isinstance(change, Status):
            raise Refusal(change.code, change)
        if change.key and change.object is None:
            self._objects.pop(change.key, None)
        elif change.key and change.object is not None:
            self._objects[change.key] = change.object
        self._version = change.version

    @contextmanager
    def _connected(self, patience: float) -> Iterator[Connection]:
        with Connection(self._kubeconfig, patience) as connection:
            self._connection = connection
            if self._closing.is_set():
                connection.cut()
            try:
                yield connection
            finally:
                self._connection = None

    def _work(self) -> None:
        if self._failing:
            self._log.event("watch-back", watched=self._collection.name, since=self._failing)
            self._failing = ""

    def _fail(self, error: CniError) -> None:
        """Says so once, and waits before the next attempt."""
        has_expired = isinstance(error, Refused) and error.status == HTTPStatus.GONE
        if has_expired or isinstance(error, Unreadable):
            self._version = ""
        if not has_expired and not self._failing:
            self._failing = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            told = {"msg": error.msg, "details": error.details}
            self._log.event("watch-lost", "warn", watched=self._collection.name, **told)
        self._has_tried.set()
        self._closing.wait(self._backoff.pause())
