"""The threads of the agent: each accepts a connection, answers it, and accepts the next.

There is no thread that hands out work, and no queue but the socket's own backlog: who accepts answers,
which is the shortest way. One thread at least accepts, until there are as many as there may be.

That limit is generous, because what makes a call last is waiting: for an answer to a probe, for a claim to
spread, for a lock. A thread that waits costs some 50 kB and no time. Were there as few of them as there
are processors, a few such calls would keep every other pod of the node from starting.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from underlay import netns

ACCEPTING = 2  # threads that accept when there is nothing to do: what they work with is still in the caches
PARKED = 14  # threads that wait behind them: the next burst finds them
PAUSE = 0.5  # seconds until the next try, where the kernel has no room for another connection


class Workers:
    """At most `most` threads that answer the connections of a listener, each one at a time.

    `answer` closes the connection and never raises.
    """

    def __init__(self, listener: socket.socket, answer: Callable[[socket.socket], None], most: int) -> None:
        self._listener = listener
        self._answer = answer
        self._most = most
        self._own = os.open(netns.OWN, os.O_RDONLY | os.O_CLOEXEC)  # where all threads are
        self._threads = 0
        self._idle = 0  # of the threads: they accept
        self._parked: list[threading.Lock] = []  # what each of those waits for that do not even accept
        self._stopping = False
        self._changed = threading.Condition()

    def start(self) -> None:
        """Begins to accept."""
        with self._changed:
            self._provide()

    def stop(self, patience: float) -> int:
        """Accepts nothing more; how many calls still run after so many seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes all who accept
            while self._parked:
                self._idle += 1
                self._parked.pop().release()
            self._changed.wait_for(lambda: not self._threads, patience)
            return self._threads

    def _work(self) -> None:
        netns.settle(self._own)
        while client := self._next():
            self._answer(client)
            if not self._rests():
                return

    def _next(self) -> socket.socket | None:
        """The next connection; None for a thread that is to end."""
        client = self._accepted()
        with self._changed:
            self._idle -= 1
            if self._stopping or client is None:
                self._leave()
                if client:
                    client.close()  # unread: the shim makes the call in its own process
                return None
            self._provide()
        return client

    def _accepted(self) -> socket.socket | None:
        while True:
            try:
                return self._listener.accept()[0]
            except OSError:
                with self._changed:
                    if self._stopping:
                        return None
                    self._changed.wait(PAUSE)  # for descriptors or memory: calls that end free some

    def _rests(self) -> bool:
        """Whether the thread goes on to accept, at once or when it is needed."""
        with self._changed:
            if self._stopping or (self._idle >= ACCEPTING and len(self._parked) >= PARKED):
                self._leave()
                return False
            if self._idle < ACCEPTING:
                self._idle += 1
                return True
            needed = threading.Lock()
            needed.acquire()
            self._parked.append(needed)
        needed.acquire()  # until who wakes it has counted it as idle
        return True

    def _leave(self) -> None:
        self._threads -= 1
        self._changed.notify_all()

    def _provide(self) -> None:
        """Sees to it that a thread accepts, unless there are as many as there may be: then calls wait."""
        if self._idle:
            return
        if self._parked:
            self._idle += 1
            self._parked.pop().release()  # the last that came: it is the warmest
            return
        if self._threads == self._most:
            return
        with suppress(RuntimeError):  # no room for another thread: the next that is free accepts
            threading.Thread(target=self._work, daemon=True).start()
            self._threads += 1
            self._idle += 1
