"""An agent of the lab: it answers the calls of plugins, each in the node that asks."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from underlay.install import is_built
from underlay.lab.errors import LabError
from underlay.lab.process import Process

COMMAND = (sys.executable, "-I", "-m", "underlay", "agent")


@dataclass(frozen=True)
class Agent:
    """The value is there also when none is started: then a call finds none, and is answered by itself.

    `socket` is where this process finds it, `options` say the same to the agent.
    """

    process: Process
    socket: str
    options: tuple[str, ...] = ()

    def start(self, within: Sequence[str] = ()) -> None:
        """Starts it, and waits until it answers; it goes on when this process ends."""
        if not is_built():
            raise LabError("no agent can be asked: the shim was not built (no C compiler?)")
        os.makedirs(os.path.dirname(self.socket), mode=0o700, exist_ok=True)
        self.process.start([*COMMAND, *self.options], within)
        self.process.ready(self.answers, "the agent")

    def answers(self) -> bool:
        """Whether one listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            return client.connect_ex(self.socket) == 0
