"""Netlink sockets of one namespace that calls leave for those after them."""

from __future__ import annotations

from underlay.netlink.socket import NetlinkSocket

KEPT = 4  # idle ones: as many calls as compute at once


class SocketPool:
    """For a process that stays: to open a socket in another namespace costs as much as a question.

    Several threads may use it. To be closed.
    """

    def __init__(self) -> None:
        self._idle: list[NetlinkSocket] = []  # its methods are atomic

    def take(self, netns: int) -> NetlinkSocket:
        """One that nobody else has, in the namespace of that descriptor."""
        try:
            return self._idle.pop()
        except IndexError:
            return NetlinkSocket(netns)

    def give(self, used: NetlinkSocket) -> None:
        """Takes one back of which no answer is awaited."""
        if len(self._idle) < KEPT:
            self._idle.append(used)
        else:
            used.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
