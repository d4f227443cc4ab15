"""Tells systemd how far the agent is (sd_notify(3)): one datagram, if there is somebody to tell."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

READY, STOPPING = b"READY=1", b"STOPPING=1"
VARIABLE = "NOTIFY_SOCKET"


class Notifier:
    """What NOTIFY_SOCKET names; the variable is taken, so that no plugin that is executed speaks for us."""

    def __init__(self) -> None:
        self._address = os.environ.pop(VARIABLE, "")

    def tell(self, state: bytes) -> None:
        """Nobody to tell, or nobody who listens, is no failure."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]  # one without a place on the disk, unix(7)
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(state, address)
