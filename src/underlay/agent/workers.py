"""The threads of the agent: each accepts a connection, answers it, and goes on to the next.

There is no thread that hands out work, and hardly a queue but the socket's own backlog: who accepts answers,
which is the shortest way. In a burst one thread goes from call to call, and nobody is woken for any of
them. Another one watches it: it takes over when a call lasts, for then that waits for something.

    the first    accept, answer, accept, answer, accept, answer ───── waits for an answer to a probe ──── …
    the second        accept, which is too early ── QUICK seconds ── … ────── QUICK ────► answer, accept, …

There may be many threads, because what makes a call last is waiting: for an answer to a probe, for a claim
to spread, for a lock. A thread that waits costs some 50 kB and no time. Were there as few of them as there
are processors, a few such calls would keep every other pod of the node from starting.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from underlay import netns
from underlay.agent.turns import QUICK, Turns

ACCEPTING = 2  # threads that accept when there is nothing to do: what they work with is still in the caches
PARKED = 14  # threads that wait behind them: the next burst finds them
PAUSE = 0.5  # seconds until the next try, where the kernel has no room for another connection


class Workers:
    """At most `most` threads that answer the connections of a listener, each one at a time.

    `answer` closes the connection and never raises; where it takes `quick` seconds, another call begins.
    """

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[socket.socket], None],
        most: int,
        quick: float = QUICK,
    ) -> None:
        self._listener = listener
        self._answer = answer
        self._most = most
        self._own = os.open(netns.OWN, os.O_RDONLY | os.O_CLOEXEC)  # where all threads are
        self._turns = Turns(quick)
        self._due: deque[socket.socket] = deque()  # accepted before their call may begin
        self._threads = 0
        self._idle = 0  # of the threads: they accept, or wait until what is due may begin
        self._parked: list[threading.Lock] = []  # what each of those waits for that do not even accept
        self._stopping = False
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)

    def start(self) -> None:
        """Begins to accept."""
        with self._lock:
            self._provide()

    def stop(self, patience: float) -> int:
        """Accepts nothing more; how many calls still run after so many seconds."""
        with self._lock:
            self._stopping = True
            while self._due:
                self._due.pop().close()  # unread: the shim makes the call in its own process
            self._changed.notify_all()
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes all who accept
            while self._parked:
                self._idle += 1
                self._parked.pop().release()
            self._changed.wait_for(lambda: not self._threads, patience)
            return self._threads

    def _work(self) -> None:
        netns.settle(self._own)
        client = self._awaited()
        while client:
            self._answer(client)
            client = self._next()

    def _next(self) -> socket.socket | None:
        """After a call: the next that may begin; None for a thread that is to end."""
        with self._lock:
            self._turns.end()
            if self._due and not self._turns.left():
                return self._begun()
        return self._awaited() if self._rests() else None

    def _awaited(self) -> socket.socket | None:
        """The same for an idle thread."""
        while True:
            with self._lock:
                while self._due:
                    left = self._turns.left()
                    if not left:
                        self._idle -= 1
                        return self._begun()
                    self._changed.wait(left)  # and nobody accepts meanwhile, but who has ended a call
            client = self._accepted()
            with self._lock:
                if client is None or self._stopping:
                    self._idle -= 1
                    self._leave()
                    if client:
                        client.close()  # unread, as those that were due
                    return None
                self._due.append(client)

    def _begun(self) -> socket.socket:
        client = self._due.popleft()
        self._turns.begin()
        self._provide()
        return client

    def _accepted(self) -> socket.socket | None:
        """The next connection, None where there is to be none."""
        while True:
            try:
                return self._listener.accept()[0]
            except OSError:
                with self._lock:
                    if self._stopping:
                        return None
                    self._changed.wait(PAUSE)  # for descriptors or memory: calls that end free some

    def _rests(self) -> bool:
        """Whether the thread goes on to accept, at once or when it is needed."""
        with self._lock:
            enough = 1 if self._due else ACCEPTING  # while a call is due, one who waits for its turn will do
            if self._stopping or (self._idle >= enough and len(self._parked) >= PARKED):
                self._leave()
                return False
            if self._idle < enough:
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
