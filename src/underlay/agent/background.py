"""Threads for what no call need wait for: what the kernel answers late, sockets that are slow to close."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

KEPT = 8  # threads that stay when there is nothing to do

Work = Callable[[], None]


class Background:
    """Runs a function in another thread, at once: what one waits for keeps no other waiting."""

    def __init__(self) -> None:
        self._due: SimpleQueue[Work] = SimpleQueue()
        self._free = 0  # threads that wait for work, less the work that waits for them
        self._lock = threading.Lock()

    def __call__(self, work: Work) -> None:
        """RuntimeError where no thread can be made; then it is not run."""
        with self._lock:
            if self._free <= 0:
                threading.Thread(target=self._run, daemon=True).start()
                self._free += 1
            self._free -= 1
        self._due.put(work)

    def _run(self) -> None:
        while True:
            self._due.get()()
            with self._lock:
                if self._free >= KEPT:
                    return
                self._free += 1
