"""Says what is being done: a line that turns on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def step(console: Console, what: str) -> Iterator[None]:
    """Shows `what` while the body runs, and how long it took when it is done."""
    begun = time.monotonic()
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield
    console.print(f"{what} … {time.monotonic() - begun:.1f} s", style="dim")
