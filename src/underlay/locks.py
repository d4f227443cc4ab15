"""Directories as locks: what is being changed is in them, and they exist only while something is.

`flock` locks, so a call in this process, another thread and another process exclude each other, and
the kernel frees what a killed call held.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress

from underlay.cni.errors import IoFailure, TryAgainLater

LOCK_SECONDS = 60.0  # a call that waits longer tells the runtime to come again
POLL_SECONDS = 0.005
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def exclusive(directory: str, root: str) -> Lock:
    """Holds a directory alone, made if need be. On leaving it goes if it is empty, and so do its
    parents down from `root`, which is one of them.

    TryAgainLater names the holder when the lock is not free in time; IoFailure the directory that
    can't be made.
    """
    return Lock(directory, root, fcntl.LOCK_EX)


def shared(directory: str, root: str) -> Lock:
    """Holds a directory together with all others who share it."""
    return Lock(directory, root, fcntl.LOCK_SH)


def shared_around(directory: str) -> Lock:
    """The same for who holds a directory inside that one: it is there, and stays there."""
    return _LockAround(directory, directory, fcntl.LOCK_SH)


class Lock:
    """A directory that is held while the block runs. A generator would cost as much as its system calls."""

    def __init__(self, directory: str, root: str, how: int) -> None:
        self._directory = directory
        self._root = root
        self._how = how
        self._fd = -1

    def __enter__(self) -> None:
        self._fd = _lock(self._directory, self._how)

    def __exit__(self, *_: object) -> None:
        directory = self._directory
        try:
            while directory.startswith(self._root):
                os.rmdir(directory)  # while the lock is still held
                directory = os.path.dirname(directory)
        except OSError:
            pass  # something is in it
        finally:
            os.close(self._fd)


class _LockAround(Lock):
    """It can't be another one by now, nor be empty afterwards, so neither is looked at: 10 µs of an ADD."""

    def __enter__(self) -> None:
        try:
            self._fd = os.open(self._directory, DIRECTORY)
        except OSError as error:
            raise _failure(self._directory, error) from error
        _try_lock(self._fd, self._how, time.monotonic() + LOCK_SECONDS, self._directory)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _lock(directory: str, how: int) -> int:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fd = _opened(directory)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and time.monotonic() < deadline:
                continue  # another call has just removed it
            raise _failure(directory, error) from error
        if _try_lock(fd, how, deadline, directory) and _is_still(directory, fd):
            return fd
        os.close(fd)


def _failure(directory: str, error: OSError) -> IoFailure:
    return IoFailure(f"the state directory {directory}: {error.strerror}")


def _opened(directory: str) -> int:
    """A descriptor of it; it is made where it is missing."""
    try:
        return os.open(directory, DIRECTORY)
    except FileNotFoundError:
        _make(directory)
        return os.open(directory, DIRECTORY)


def _make(directory: str) -> None:
    """Every level for root alone: what DEL follows, nobody else may write."""
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make(os.path.dirname(directory))
        _make(directory)


def _try_lock(fd: int, how: int, deadline: float, directory: str) -> bool:
    while True:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = _holder(fd)
                os.close(fd)
                raise TryAgainLater(
                    f"the lock {directory} was not free for {LOCK_SECONDS:.0f} s", f"it is held by {holder}"
                ) from None
            time.sleep(POLL_SECONDS)  # flock has no timed form


def _is_still(directory: str, fd: int) -> bool:
    """Whether the lock is on what everybody else will open, not on a directory that was removed."""
    try:
        return os.path.samestat(os.stat(directory), os.fstat(fd))
    except FileNotFoundError:
        return False


def _holder(fd: int) -> str:
    inode = f":{os.fstat(fd).st_ino} "
    with suppress(OSError), open("/proc/locks") as locks:
        for line in locks:
            fields = line.split()
            if inode in line and "->" not in fields:
                return _process(fields[4])
    return "a process that is not visible from here"


def _process(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = "a process that has ended"
    return f"process {pid} ({command})"
