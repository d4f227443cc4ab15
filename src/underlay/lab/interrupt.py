"""Ends a command on the first signal, and lets it clean up in peace."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turns the first of these signals into KeyboardInterrupt; from then on they are ignored.

    So nothing cuts short the clean-up that follows, nor a command that it starts: a process inherits what
    is ignored.
    """
    former = {number: signal.signal(number, _end) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def ignore() -> None:
    """From here to the end of `interruptible` no signal is heard."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(_number: int, _frame: FrameType | None) -> None:
    ignore()
    raise KeyboardInterrupt
