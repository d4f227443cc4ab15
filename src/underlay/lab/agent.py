"""An agent for the lab: it answers the calls of the plugins of all nodes, each in the node that asks."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass

from underlay.install import is_built
from underlay.lab.errors import LabError
from underlay.lab.process import Process


@dataclass(frozen=True)
class Agent:
    """Where it is, also when none is started: then a call finds none, and is answered in its own process.

    `records` is where the plugins of the lab keep theirs.
    """

    directory: str
    records: str

    @property
    def socket(self) -> str:
        return os.path.join(self.directory, "agent.sock")

    @property
    def process(self) -> Process:
        return Process(os.path.join(self.directory, "agent.pid"), os.path.join(self.directory, "agent.log"))

    @property
    def command(self) -> list[str]:
        """How it is started."""
        agent = [sys.executable, "-I", "-m", "underlay", "agent"]
        return [*agent, "--socket", self.socket, "--state", self.records]

    def start(self) -> None:
        """Starts it, and waits until it answers; it goes on when this process ends."""
        if not is_built():
            raise LabError("no agent can be asked: the shim was not built (no C compiler?)")
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self.process.start(self.command, environment={})
        self.process.ready(self.answers, "the agent")

    def answers(self) -> bool:
        """Whether one listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            return client.connect_ex(self.socket) == 0
