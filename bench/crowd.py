"""Many pods at once: executables that are started one after another, and work side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from bench.contest import Case
from bench.programs import Program
from bench.stage import Stage

WARM_UP = 1  # bursts that are not counted


class Burst(NamedTuple):
    """How long `width` ADDs took, from the first start to the last exit, in ns, for each repetition."""

    case: Case
    width: int
    who: str
    times: tuple[int, ...]


def bursts(case: Case, stage: Stage, crowds: Sequence[Sequence[Program]], turns: int) -> list[Burst]:
    """A burst of each crowd, then of each again. A crowd is a program for each pod, all of one name."""
    taken: list[list[int]] = [[] for _ in crowds]
    for turn in range(WARM_UP + turns):
        for crowd, times in zip(crowds, taken, strict=True):
            added = _at_once(stage, "ADD", crowd)
            _at_once(stage, "DEL", crowd)
            if turn >= WARM_UP:
                times.append(added)
    return [
        Burst(case, len(crowd), crowd[0].name, tuple(times))
        for crowd, times in zip(crowds, taken, strict=True)
    ]


def _at_once(stage: Stage, verb: str, crowd: Sequence[Program]) -> int:
    with stage.node.netns.entered():
        began = time.monotonic_ns()
        running = [(program, program.begin(verb)) for program in crowd]
        for program, pid in running:
            program.end(verb, pid)
        taken = time.monotonic_ns() - began
    for program in crowd:
        program.rest()
    return taken
