"""Who computes: one call at a time, as long as calls are quick; and whoever waits keeps nobody waiting.

One thread of a Python process runs at a time, whatever there are of processors. Threads that all want to run
take the interpreter from each other at every system call, and each such change costs more than most system
calls do: sixteen calls at once take half as long again as the same calls one after the other.

So a call begins when the one before has ended. One that lasts is taken to wait for something (an answer
to a probe, a lock, another plugin, the rest of a request), and gives way: for each that waits, another one
may be about to begin.
"""

from __future__ import annotations

import threading
import time

QUICK = 0.01  # seconds; a call that waits for nothing takes less


class Turns:
    """At most as many calls are younger than `quick` seconds as are older, and one in any case.

    It only keeps the books: who uses it from several threads holds a lock, and waits by itself.
    """

    def __init__(self, quick: float = QUICK) -> None:
        self._quick = quick
        self._began: dict[int, float] = {}  # by thread, in the order in which they began

    def begin(self) -> None:
        """This thread has a turn from now on."""
        self._began[threading.get_ident()] = time.monotonic()

    def end(self) -> None:
        """It gives its turn back."""
        del self._began[threading.get_ident()]

    def left(self) -> float:
        """In how many seconds another may begin, if none ends before; 0: at once."""
        if not self._began:
            return 0.0
        now = time.monotonic()
        young = [began for began in self._began.values() if now - began < self._quick]
        if len(young) < max(1, len(self._began) - len(young)):
            return 0.0
        return max(young[0] + self._quick - now, 0.001)
