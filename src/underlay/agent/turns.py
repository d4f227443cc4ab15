"""Who computes: one call at a time, as long as calls are quick; and whoever waits keeps nobody waiting.

One thread of a Python process runs at a time, whatever there are of processors. Threads that all want to run
take the interpreter from each other at every system call, and each such change costs more than most system
calls do: sixteen calls at once take half as long again as the same calls one after the other.

So a call begins when the one before has ended. One that lasts is taken to wait for something (an answer
to a probe, a lock, another plugin), and gives way: for each that waits, another one may be about to begin.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

QUICK = 0.01  # seconds; a call that waits for nothing takes less


class Turns:
    """At most as many calls are younger than `quick` seconds as are older, and one in any case."""

    def __init__(self, quick: float = QUICK) -> None:
        self._quick = quick
        self._began: dict[int, float] = {}  # by thread, in the order in which they began
        self._changed = threading.Condition()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Waits for a turn, and has it."""
        thread = threading.get_ident()
        with self._changed:
            while left := self._left():
                self._changed.wait(left)
            self._began[thread] = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                del self._began[thread]
                self._changed.notify()

    def _left(self) -> float:
        """In how many seconds another may begin, if none ends before; 0: at once."""
        now = time.monotonic()
        young = [began for began in self._began.values() if now - began < self._quick]
        if len(young) < max(1, len(self._began) - len(young)):
            return 0.0
        return max(young[0] + self._quick - now, 0.001)
