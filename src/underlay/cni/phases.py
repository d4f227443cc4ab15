"""How long each part of a call takes, for its line in the log."""

from __future__ import annotations

import time
from enum import StrEnum


class Phase(StrEnum):
    """The parts of a call, in their order."""

    READ = "read"  # the call, the records, what the kernel says
    PLAN = "plan"
    APPLY = "apply"  # the record and the kernel; what the network is asked
    REPLY = "reply"

    __hash__ = str.__hash__  # that of an Enum is a function in Python


class Phases:
    """Measures from when it is made, until it is ended; a call begins by reading."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._phase: Phase | None = Phase.READ
        self._seconds: dict[Phase, float] = {}

    def enter(self, phase: Phase | None) -> None:
        """From now on time counts for that phase; None ends it."""
        now = time.monotonic()
        if self._phase:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now

    @property
    def seconds(self) -> float:
        """How long all phases took."""
        return sum(self._seconds.values())

    @property
    def milliseconds(self) -> dict[str, float]:
        """By phase, of those that there were."""
        return {phase: round(seconds * 1000, 2) for phase, seconds in self._seconds.items()}
