"""Calls at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier


def at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Starts all calls together, in a thread each, and raises the first error."""
    start = Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(run, calls))
