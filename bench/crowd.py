"""Who is measured with many pods at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import NamedTuple, Protocol

from bench.calls import in_process
from bench.contest import FLOOR, OURS, Executed
from bench.floor import Floor, Script, Scripts
from bench.stage import Calls, Stage


class Crowd(Protocol):
    """One way to do the same for many pods, one after another or all at once; the times are in ns."""

    @property
    def name(self) -> str: ...

    def add_one_by_one(self) -> int: ...

    def add_at_once(self) -> int: ...

    def delete(self) -> None: ...


class Burst(NamedTuple):
    """How long `width` ADDs took one by one and at once, in ns, for each repetition."""

    case: str
    width: int
    who: str
    one_by_one: tuple[int, ...]
    at_once: tuple[int, ...]


def bursts(case: str, width: int, crowds: Sequence[Crowd], repetitions: int) -> list[Burst]:
    one_by_one: list[list[int]] = [[] for _ in crowds]
    at_once: list[list[int]] = [[] for _ in crowds]
    for _ in range(repetitions):
        for crowd, alone, together in zip(crowds, one_by_one, at_once, strict=True):
            alone.append(crowd.add_one_by_one())
            crowd.delete()
            together.append(crowd.add_at_once())
            crowd.delete()
    return [
        Burst(case, width, crowd.name, tuple(alone), tuple(together))
        for crowd, alone, together in zip(crowds, one_by_one, at_once, strict=True)
    ]


@dataclass(frozen=True)
class ReplayedCrowd:
    """The floor; at once in a process for each CPU, since the kernel lets in one at a time (rtnl)."""

    floors: Sequence[Floor]
    scripts: Sequence[Scripts]
    name: str = FLOOR

    def add_one_by_one(self) -> int:
        return sum(self.floors[0].run(each.added).kernel for each in self.scripts)

    def add_at_once(self) -> int:
        return self._at_once([each.added for each in self.scripts])

    def delete(self) -> None:
        self._at_once([each.removed for each in self.scripts])

    def _at_once(self, scripts: Sequence[Script]) -> int:
        shares = [scripts[start :: len(self.floors)] for start in range(len(self.floors))]
        for floor, share in zip(self.floors, shares, strict=True):
            floor.begin(share)
        laps = [floor.lap() for floor, share in zip(self.floors, shares, strict=True) for _ in share]
        return max(lap.end for lap in laps) - min(lap.begin for lap in laps)


@dataclass(frozen=True)
class InProcessCrowd:
    """The plugin in this process; at once in a thread for each call, as an agent has them."""

    stage: Stage
    calls: Sequence[Calls]
    name: str = OURS

    def add_one_by_one(self) -> int:
        began = time.monotonic_ns()
        for each in self.calls:
            in_process(self.stage, each, "ADD")
        return time.monotonic_ns() - began

    def add_at_once(self) -> int:
        return self._at_once("ADD")

    def delete(self) -> None:
        self._at_once("DEL")

    def _at_once(self, verb: str) -> int:
        start = Barrier(len(self.calls))

        def span(each: Calls) -> tuple[int, int]:
            start.wait()
            began = time.monotonic_ns()
            in_process(self.stage, each, verb)
            return began, time.monotonic_ns()

        with ThreadPoolExecutor(len(self.calls)) as pool:
            spans = list(pool.map(span, self.calls))
        return max(end for _, end in spans) - min(began for began, _ in spans)


@dataclass(frozen=True)
class ExecutedCrowd:
    """A program for each pod, from its start to its exit."""

    stage: Stage
    programs: Sequence[Executed]

    @property
    def name(self) -> str:
        return self.programs[0].name

    def add_one_by_one(self) -> int:
        return sum(program.add() for program in self.programs)

    def add_at_once(self) -> int:
        with self.stage.node.netns.entered():
            began = time.monotonic_ns()
            running = [(program, program.begin("ADD")) for program in self.programs]
            for program, pid in running:
                program.end("ADD", pid)
            return time.monotonic_ns() - began

    def delete(self) -> None:
        for program in self.programs:
            program.delete()
