"""A thread that begins when there is something for it to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress


class LazyThread:
    """Runs `work` once, from the first `begin` on. It does not keep the process from ending."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._thread = threading.Thread(target=work, name=name, daemon=True)
        self._lock = threading.Lock()
        self._has_begun = False

    def begin(self) -> None:
        """Begins, if it has not. Where there is no room for another thread, the next call tries again."""
        if self._has_begun:
            return
        with self._lock, suppress(RuntimeError):
            if not self._has_begun:
                self._thread.start()
                self._has_begun = True

    def join(self, seconds: float) -> None:
        """Waits for its end, no longer than that."""
        with self._lock:
            if self._has_begun:
                self._thread.join(seconds)
