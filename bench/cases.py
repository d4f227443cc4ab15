"""What is measured: each plugin alone, as an executable, in a burst, and on a node that is full."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.calls import in_process
from bench.contest import (
    InProcess,
    Replayed,
    Series,
    agent_program,
    floor_program,
    idle_program,
    in_turns,
    plugin_program,
)
from bench.crowd import Burst, ExecutedCrowd, InProcessCrowd, ReplayedCrowd, bursts
from bench.floor import Floor, Scripts
from bench.replay import FIRST_HOST_INDEX
from bench.stage import Calls, Stage
from bench.subjects import SUBJECTS, Subject, Versions, recorded, replayed

IPV4, DUAL = (4,), (4, 6)
BARE_PYTHON = (sys.executable, "-I", "-S", "-c", "pass")


@dataclass
class Bench:
    """The measurements on one stage: `turns` of each contestant, bursts of `width` ADDs.

    `program` is the floor, `floors` are processes of it. `only` picks cases by a part of their title.
    """

    stage: Stage
    program: str
    floors: Sequence[Floor]
    turns: int
    width: int
    only: re.Pattern[str]
    series: list[Series] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._host_indexes = itertools.count(FIRST_HOST_INDEX)
        self._standing = 0  # pods that stay

    def measure(self, levels: Sequence[int]) -> Iterator[str]:
        """All cases on the emptiest node, and each plugin by IPv4 again at each further level of pods.

        `levels` rise. Gives the name of each step before it is taken.
        """
        fewest, *further = levels
        yield from self._fill(fewest)
        for subject in SUBJECTS:
            yield from self._in_turns(f"{subject.name}, IPv4", subject, IPV4)
            yield from self._in_turns(f"{subject.name}, dual stack", subject, DUAL)
            yield from self._executables(f"{subject.name}, executable", subject)
            yield from self._burst(f"{subject.name}, burst", subject)
            yield from self._executed_burst(f"{subject.name}, burst of executables", subject)
        if any(self._is_wanted(f"{subject.name}, IPv4") for subject in SUBJECTS):
            for level in further:
                yield from self._fill(level)
                for subject in SUBJECTS:
                    yield from self._in_turns(f"{subject.name}, IPv4", subject, IPV4)

    def _fill(self, level: int) -> Iterator[str]:
        """Makes it so many pods that stay, each attached by every plugin."""
        if level > self._standing:
            yield f"{level} pods on the node"
            pods = self.stage.pods(level - self._standing)
            self._standing = level
            for subject in SUBJECTS:
                subject.plug(self.stage, pods, IPV4)
                for pod in pods:
                    in_process(self.stage, subject.further_calls(self.stage, pod, IPV4), "ADD")

    def _in_turns(self, title: str, subject: Subject, versions: Versions) -> Iterator[str]:
        if self._is_wanted(title):
            yield title
            with self._calls(subject, versions, 2) as (floor, ours):
                contestants = Replayed(self.floors[0], self._scripts(floor)), InProcess(self.stage, ours)
                self.series += in_turns(title, self._standing, contestants, self.turns)

    def _executables(self, title: str, subject: Subject) -> Iterator[str]:
        if self._is_wanted(title):
            yield title
            with self._calls(subject, IPV4, 3) as (floor, alone, answered):
                contestants = (
                    floor_program(self.stage, self.program, self._scripts(floor)),
                    agent_program(self.stage, answered),
                    idle_program(self.stage, "bare python", BARE_PYTHON),
                    plugin_program(self.stage, alone),
                )
                self.series += in_turns(title, self._standing, contestants, self.turns)

    def _burst(self, title: str, subject: Subject) -> Iterator[str]:
        if self._is_wanted(title):
            yield title
            with self._calls(subject, IPV4, 2 * self.width) as calls:
                floors = [self._scripts(each) for each in calls[: self.width]]
                crowds = (
                    ReplayedCrowd(self.floors, floors),
                    InProcessCrowd(self.stage, calls[self.width :]),
                )
                self.bursts += bursts(title, self.width, crowds, max(1, self.turns // 10))

    def _executed_burst(self, title: str, subject: Subject) -> Iterator[str]:
        if self._is_wanted(title):
            yield title
            with self._calls(subject, IPV4, 2 * self.width) as calls:
                floors = [
                    floor_program(self.stage, self.program, self._scripts(each))
                    for each in calls[: self.width]
                ]
                answered = [agent_program(self.stage, each) for each in calls[self.width :]]
                crowds = ExecutedCrowd(self.stage, floors), ExecutedCrowd(self.stage, answered)
                self.bursts += bursts(title, self.width, crowds, max(1, self.turns // 10))

    def _is_wanted(self, title: str) -> bool:
        return self.only.search(title) is not None

    @contextmanager
    def _calls(self, subject: Subject, versions: Versions, count: int) -> Iterator[list[Calls]]:
        """For as many pods of their own, and one more that stays meanwhile: what all share is there."""
        pods = self.stage.pods(1 + count)
        subject.plug(self.stage, pods, versions)
        first, *others = (subject.calls(self.stage, pod, versions) for pod in pods)
        in_process(self.stage, first, "ADD")
        yield others
        in_process(self.stage, first, "DEL")
        self.stage.remove(pods)

    def _scripts(self, wanted: Calls) -> Scripts:
        """What the plugin does for a pod, for the floor to do; nothing of it is left."""
        in_process(self.stage, wanted, "ADD")
        objects = recorded(self.stage, wanted)
        in_process(self.stage, wanted, "DEL")
        return replayed(self.stage, wanted, objects, next(self._host_indexes))
