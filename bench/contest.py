"""Who is measured with one pod, and how they take turns."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple, Protocol

from bench.agent import rest
from bench.calls import in_process
from bench.floor import Floor, Scripts
from bench.stage import Calls, Stage

WARM_UP = 2  # turns that are not counted; never more than those that are


class Contestant(Protocol):
    """One way to do the same, for a pod of its own where there is one."""

    @property
    def name(self) -> str: ...

    def turn(self) -> dict[str, int]:
        """What it does in a turn, and how long each took, in ns: `{"ADD": …, "DEL": …}`."""


class Case(NamedTuple):
    """What is measured: under which heading it is shown, and with how many pods that are on the node."""

    topic: str
    title: str
    pods: int = 0


class Series(NamedTuple):
    """What was measured of one verb and one contestant: a time for each turn, in ns."""

    case: Case
    verb: str
    who: str
    times: tuple[int, ...]


def in_turns(case: Case, contestants: Sequence[Contestant], turns: int) -> list[Series]:
    """A turn of each contestant, then of each again: what disturbs the machine disturbs all alike.

    In the opposite order every other time, so that none always comes after the same other one.
    """
    taken: dict[tuple[str, str], list[int]] = {}
    uncounted = min(WARM_UP, turns)
    for turn in range(uncounted + turns):
        for each in contestants if turn % 2 else reversed(contestants):
            for verb, time_taken in each.turn().items():
                times = taken.setdefault((verb, each.name), [])
                times += [time_taken] if turn >= uncounted else []
    order = {each.name: place for place, each in enumerate(contestants)}
    rows = sorted(taken.items(), key=lambda row: (row[0][0], order[row[0][1]]))
    return [Series(case, verb, who, tuple(times)) for (verb, who), times in rows]


@dataclass(frozen=True)
class Replayed:
    """What the kernel alone takes: neither opening the namespace nor reading lines counts."""

    floor: Floor
    scripts: Scripts
    name: str = "kernel"

    def turn(self) -> dict[str, int]:
        return {
            "ADD": self.floor.run(self.scripts.added).kernel,
            "DEL": self.floor.run(self.scripts.removed).kernel,
        }


@dataclass(frozen=True)
class Function:
    """The plugin in a process that is there already and has all it imports."""

    stage: Stage
    calls: Calls
    name: str = "function"

    def turn(self) -> dict[str, int]:
        return {verb: self._timed(verb) for verb in ("ADD", "DEL")}

    def _timed(self, verb: str) -> int:
        began = time.monotonic_ns()
        in_process(self.stage, self.calls, verb)
        taken = time.monotonic_ns() - began
        rest(os.getpid())
        return taken


Medians = dict[tuple[Case, str, str], float]


def medians(series: Sequence[Series]) -> Medians:
    """By case, verb and contestant, in ns."""
    return {(each.case, each.verb, each.who): median(each.times) for each in series}
