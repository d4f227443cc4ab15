"""Threads for what no call need wait for: what the kernel answers late, sockets that are slow to close."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

KEPT = 8  # threads that stay when there is nothing to do

Work = Callable[[], None]


class Background:
    """Runs a function in another thread, at once: what one waits for keeps no other waiting."""

    def __init__(self) -> None:
        self._due: deque[Work] = deque()
        self._idle = 0  # threads that wait for work
        self._changed = threading.Condition()

    def __call__(self, work: Work) -> None:
        """RuntimeError where no thread can be made; then it is not run."""
        with self._changed:
            self._due.append(work)
            if self._idle >= len(self._due):
                self._changed.notify()
                return
            try:
                threading.Thread(target=self._run, daemon=True).start()
            except RuntimeError:
                self._due.pop()
                raise

    def _run(self) -> None:
        while work := self._next():
            work()

    def _next(self) -> Work | None:
        """None for a thread that is to end, because enough wait already."""
        with self._changed:
            while not self._due:
                if self._idle >= KEPT:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return self._due.popleft()
