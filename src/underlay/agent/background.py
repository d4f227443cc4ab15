"""Threads for what no call need wait for: what the kernel answers late, sockets that are slow to close."""

from __future__ import annotations

import threading
from collections.abc import Callable

KEPT = 8  # threads that stay when there is nothing to do

Work = Callable[[], None]


class Background:
    """Runs a function in another thread, at once: what one waits for keeps no other waiting.

    Each thread that has nothing to do waits by itself, for a queue that all wait at wakes two of them for
    each work: one to do it, and one to find that it is done.
    """

    def __init__(self) -> None:
        self._waiting: list[_Thread] = []
        self._lock = threading.Lock()

    def __call__(self, work: Work) -> None:
        """RuntimeError where no thread can be made; then it is not run."""
        with self._lock:
            free = self._waiting.pop() if self._waiting else None  # the last that came: it is the warmest
        if free:
            free.give(work)
        else:
            _Thread(work, self._waits).start()

    def _waits(self, thread: _Thread) -> bool:
        """Whether a thread without work is to wait for some."""
        with self._lock:
            if len(self._waiting) >= KEPT:
                return False
            self._waiting.append(thread)
            return True


class _Thread(threading.Thread):
    """Does one work, then another each time that it is given one."""

    def __init__(self, work: Work, waits: Callable[[_Thread], bool]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._waits = waits
        self._given = threading.Lock()
        self._given.acquire()

    def give(self, work: Work) -> None:
        self._work = work
        self._given.release()

    def run(self) -> None:
        self._work()
        while self._waits(self):
            self._given.acquire()
            self._work()
