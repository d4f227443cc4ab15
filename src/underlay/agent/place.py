"""Where the agent's socket is: a path in a directory for root alone, that one agent at a time has.

Who holds the `flock` of the file beside it has the path. So what an agent that was killed has left is
told from one that works, without a guess; and two that start at once can't both win.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from underlay.agent.errors import AgentError
from underlay.values import dataclass

LOCK = ".lock"
BACKLOG = 4096  # calls that wait for a thread; net.core.somaxconn may allow less
LONGEST = 107  # bytes of a path, unix(7)


@dataclass(frozen=True, slots=True)
class Place:
    """A path with the socket that listens there. `status` is what the path was when that was bound."""

    path: str
    listener: socket.socket
    status: os.stat_result

    def is_ours(self) -> bool:
        """Whether clients still find this socket there: it may have been removed, or replaced."""
        return _is_at(self.path, self.status)


@contextmanager
def listening(path: str) -> Iterator[Place]:
    """A socket that listens at an absolute path; on leaving, the path is free again.

    AgentError where another agent has it, where something else is there, and where the directory
    is not for root alone.
    """
    if len(os.fsencode(path)) > LONGEST:
        raise AgentError(f"{path}: the path of a socket has {LONGEST} bytes at most")
    lock = _locked(path)
    try:
        _make_room(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(path)
            place = Place(path, listener, os.lstat(path))
            try:
                os.chmod(path, 0o600)
                listener.listen(BACKLOG)
                yield place
            finally:
                if place.is_ours():
                    os.unlink(path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path + LOCK)  # while it is held: who waits for it sees that it has gone
        os.close(lock)


def _locked(path: str) -> int:
    """A descriptor that holds the lock beside the path, with this process's id in it."""
    while True:
        _make_directory(os.path.dirname(path))
        try:
            fd = os.open(path + LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            continue  # a call has just removed the directory, in which nothing was
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 20).decode(errors="replace").strip()
            os.close(fd)
            raise AgentError(
                f"{path}: another agent has it, process {holder or 'unknown'}; stop that, or give this one"
                " another --socket"
            ) from None
        if _is_at(path + LOCK, os.fstat(fd)):
            os.truncate(fd, 0)
            os.write(fd, b"%d\n" % os.getpid())
            return fd
        os.close(fd)  # the agent that has just ended took it away


def _make_directory(directory: str) -> None:
    """For root alone: who may write there could put a socket of its own in the place of ours."""
    os.makedirs(directory, 0o700, exist_ok=True)
    status = os.stat(directory)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise AgentError(
            f"{directory}: the directory of the socket is open to others than root"
            f" (owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}): it has to be of mode 0700"
        )


def _make_room(path: str) -> None:
    """Removes the socket that an agent has left that was killed."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise AgentError(f"{path} is there and is no socket: move it away, or give another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        try:
            client.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            raise AgentError(f"{path} is another program's: {error.strerror}") from error
        else:
            raise AgentError(f"{path}: another program answers there; stop it, or give another --socket")


def _is_at(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), status)
    except FileNotFoundError:
        return False
