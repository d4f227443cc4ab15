"""Network namespaces: open one, work in it for a moment, tell one from another.

`setns` moves the calling *thread* only. What is opened inside (a netlink socket, a directory under
/proc/sys/net) stays bound to that namespace after the thread has left, so nothing but opening is
ever done inside, and no code depends on "the current namespace".
"""

from __future__ import annotations

import os
import socket
import struct
from _thread import _local as local  # `threading` takes longer to load than all of this
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703  # ioctl_ns(2)
SIOCGSKNS = 0x894C  # Linux 4.10
SO_NETNS_COOKIE = 71  # socket(7), Linux 5.14
OWN = "/proc/thread-self/ns/net"
_thread = local()  # `home`: a descriptor of the namespace of a thread that has settled


def open_netns(path: str) -> int:
    """A descriptor of the network namespace at `path`; OSError where there is none.

    The caller closes it: a descriptor that stays open pins the namespace.
    """
    # A path that is a FIFO must not make a call wait for a writer.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not is_netns(fd):
        os.close(fd)
        raise FileNotFoundError(2, "not a network namespace", path)
    return fd


def is_netns(fd: int) -> bool:
    """Whether a descriptor is of a network namespace; the mount of one that is gone is an ordinary file."""
    import fcntl

    try:
        return fcntl.ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """Puts this thread into the namespace of `fd`, and back, whatever happens inside."""
    home: int | None = getattr(_thread, "home", None)
    own = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC) if home is None else home
    try:
        if home is None and is_same(fd, own):  # the node's, where a call mostly is: two system calls less
            yield
            return
        _setns(fd)
        try:
            yield
        finally:
            _setns(own)
    finally:
        if home is None:
            os.close(own)


def settle(own: int) -> None:
    """Says that this thread is in the namespace of that descriptor whenever nobody has entered another one,
    so that it need not be looked up. The descriptor outlives the thread."""
    _thread.home = own


def netns_of(opened: socket.socket) -> int:
    """A descriptor of the namespace that a socket is in; the caller closes it."""
    import fcntl

    return fcntl.ioctl(opened, SIOCGSKNS)


def new_netns() -> int:
    """A descriptor of a namespace made for the caller, which is gone when the descriptor is closed."""
    own = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _unshare()
        try:
            return os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _setns(own)
    finally:
        os.close(own)


def is_same(fd: int, other: int) -> bool:
    """Whether two descriptors are of one namespace."""
    one, two = os.fstat(fd), os.fstat(other)
    return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)


def identity(fd: int) -> str:
    """A name for the namespace that no later one gets: its cookie, or its inode before Linux 5.14."""
    with entered(fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return identity_by(probe, fd)


def identity_by(opened: socket.socket, fd: int) -> str:
    """The same for who has a socket in that namespace already, of whatever kind."""
    try:
        raw = opened.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    except OSError:
        return f"inode-{os.fstat(fd).st_ino}"
    return str(struct.unpack("=Q", raw)[0])


def _setns(fd: int) -> None:
    if hasattr(os, "setns"):
        os.setns(fd, CLONE_NEWNET)
    elif _libc().setns(fd, CLONE_NEWNET):
        raise _libc_error("setns")


def _unshare() -> None:
    if hasattr(os, "unshare"):
        os.unshare(CLONE_NEWNET)
    elif _libc().unshare(CLONE_NEWNET):
        raise _libc_error("unshare")


@cache
def _libc() -> Any:
    """For Python 3.11, whose os module has neither; ctypes is slow to load, so only there.

    Loaded once: each time makes a class of its own.
    """
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _libc_error(name: str) -> OSError:
    """Why a call of libc has failed just now."""
    import ctypes

    error = ctypes.get_errno()
    return OSError(error, f"{name}: {os.strerror(error)}")
