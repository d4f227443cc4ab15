"""The host namespaces that calls came from lately, each with what is remembered of it.

A watch is a socket in its namespace, and keeps that alive: a node of a lab that is taken down would stay.
So a host that has not called for a while is forgotten; its next call takes as long as its first.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

from underlay import netns
from underlay.netlink.pool import SocketPool
from underlay.netlink.watch import Watch
from underlay.values import dataclass

FORGOTTEN = 60.0  # seconds after its last call


@dataclass(slots=True)
class Host:
    """A host namespace. While this is kept, no other one can have its inode."""

    identity: str
    watch: Watch
    pool: SocketPool
    users: int = 0  # calls that run
    used: float = 0.0  # when the last one ended, time.monotonic()


class Hosts:
    """For all threads of the agent. `patience` is how long a host is remembered after its last call."""

    def __init__(self, patience: float = FORGOTTEN) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._hosts: dict[tuple[int, int], Host] = {}
        self._is_due = False

    def taken(self, fd: int) -> Host:
        """The host whose namespace a descriptor is of, for one call, which gives it back."""
        status = os.fstat(fd)
        place = status.st_dev, status.st_ino
        with self._lock:
            host = self._hosts.get(place)
            if host is None:
                host = self._hosts[place] = Host(netns.identity(fd), Watch(fd), SocketPool())
            host.users += 1
        return host

    def give_back(self, host: Host) -> None:
        """Once for each time that it was taken."""
        with self._lock:
            host.users -= 1
            host.used = time.monotonic()
            self._look_later()

    def descriptors(self) -> list[int]:
        """One of each host's namespace; the caller closes them."""
        with self._lock:
            return [host.watch.netns() for host in self._hosts.values()]

    def _look_later(self) -> None:
        """A look is due while a host is known: an agent without calls is woken once or twice, then never."""
        if self._is_due or not self._hosts:
            return
        timer = threading.Timer(self._patience, self._forget)
        timer.daemon = True
        with suppress(RuntimeError):  # no room for another thread: the next call sees to it
            timer.start()
            self._is_due = True

    def _forget(self) -> None:
        with self._lock:
            now = time.monotonic()
            for place, host in list(self._hosts.items()):
                if not host.users and now - host.used >= self._patience:
                    del self._hosts[place]
                    host.watch.close()
                    host.pool.close()
            self._is_due = False
            self._look_later()
