"""How long to wait before another attempt."""

from __future__ import annotations

import random

FIRST = 1.0  # seconds
LONGEST = 30.0


class Backoff:
    """Pauses, each up to twice as long as the one before; at random, so that not all nodes come at once."""

    def __init__(self) -> None:
        self._next = FIRST

    def pause(self) -> float:
        """In seconds: between half of what is due and all of it."""
        pause = self._next * random.uniform(0.5, 1.0)  # noqa: S311  no secret
        self._next = min(2 * self._next, LONGEST)
        return pause

    def reset(self) -> None:
        """After something has worked."""
        self._next = FIRST
