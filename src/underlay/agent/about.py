"""Who answers at the agent's socket: what `underlay status` asks, and how.

It is a request like any other, in the name of a plugin that none can have.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from underlay.agent.wire import LENGTH
from underlay.netns import OWN
from underlay.values import dataclass

ABOUT = "/about"
PATIENCE = 5.0  # seconds
MOST = 1 << 20  # bytes of an answer


@dataclass(frozen=True, slots=True)
class About:
    """An agent. `since` is in seconds since the epoch; `socket` and `state` are its paths."""

    version: str
    pid: int
    since: int
    socket: str
    state: str

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("version", "pid", "since", "socket", "state")}


def ask(path: str) -> About:
    """The agent at a socket; OSError where nobody answers, ValueError where it is none that knows this."""
    name = ABOUT.encode()
    request = LENGTH.pack(len(name)) + name + LENGTH.pack(0)  # with nothing on its standard input
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        with open(OWN) as own:  # a request has the namespace of who makes it
            socket.send_fds(connection, [LENGTH.pack(len(request)) + request], [own.fileno()])
        answer = b""
        while len(answer) < MOST and (piece := connection.recv(MOST)):
            answer += piece
    return _decoded(answer)


def _decoded(answer: bytes) -> About:
    try:
        (code,), (size,) = LENGTH.unpack_from(answer, 4), LENGTH.unpack_from(answer, 8)
        raw = json.loads(answer[12 : 12 + size])
        if code:
            raise ValueError(raw.get("msg", "it has failed"))
        return About(**raw)
    except (struct.error, TypeError, AttributeError) as error:
        raise ValueError("its answer is none of an agent") from error
