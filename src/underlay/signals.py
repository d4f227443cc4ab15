"""The signals that end a process that stays.

No signal is blocked or ignored, though threads would ask for that: what a program that is executed inherits
is a mask and what is ignored, but not a handler. So each signal has a handler that does nothing, and Python
writes its number to a pipe that the main thread reads. Nothing else wakes a process that has nothing to do.
"""

from __future__ import annotations

import os
import select
import signal

ENDING = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """The signals that a daemon gets. Made in the main thread, and once in a process."""

    def __init__(self) -> None:
        self._pipe, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        for number in (*ENDING, signal.SIGHUP):  # a terminal that closes ends no daemon
            signal.signal(number, lambda *_: None)

    def fileno(self) -> int:
        """To be polled together with others."""
        return self._pipe

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the process is to end, at the latest after that time; None: returns when it is.

        From then on another such signal ends it at once.
        """
        waiting = select.poll()
        waiting.register(self._pipe, select.POLLIN)
        while waiting.poll(None if seconds is None else seconds * 1000):
            if os.read(self._pipe, 1)[0] in ENDING:
                for number in ENDING:
                    signal.signal(number, signal.SIG_DFL)
                return True
        return False
