"""Waits until something changes in some directories (inotify(7)), or a while has passed.

The standard library has no way in, and a package for three system calls would be one more to trust; so it
is ctypes. Instances and watches are few on a node with many pods: where there are none left, the while is
what finds changes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress

IN_NONBLOCK, IN_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
IN_MODIFIED = (
    0x4 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200
)  # attributes, written, moved from and to, made, deleted
IN_GONE = 0x400 | 0x800  # the directory itself deleted, or moved
IN_ONLYDIR = 0x01000000
READ = 1 << 16


class Inotify:
    """Watches directories. To be closed."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watched: set[int] = set()  # descriptors: one that is made again has another
        self._fd: int = self._libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)

    def fileno(self) -> int:
        """To be polled; −1 where the kernel has no instance left."""
        return self._fd

    def watch(self, directories: Iterable[str]) -> bool:
        """Watches those that are there; whether one of them was not watched before."""
        mask = IN_MODIFIED | IN_GONE | IN_ONLYDIR
        paths = map(os.fsencode, directories if self._fd >= 0 else ())
        watched = {self._libc.inotify_add_watch(self._fd, path, mask) for path in paths} - {-1}
        is_new = not watched <= self._watched
        self._watched |= watched
        return is_new

    def drain(self) -> None:
        """Forgets what has changed until now: whoever looks after this sees all of it."""
        with suppress(BlockingIOError):
            while self._fd >= 0 and os.read(self._fd, READ):
                pass

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
