"""What is measured: one call, many subnets, many calls at once, an old agent, a node that is full."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bench import several
from bench.calls import in_process
from bench.contest import Case, Contestant, Function, Replayed, Series, in_turns
from bench.crowd import Burst, bursts
from bench.floor import Floor, Scripts
from bench.health import Look, looks
from bench.programs import (
    Program,
    agent_program,
    bare_python,
    floor_program,
    in_process_program,
    peer_program,
    version_programs,
)
from bench.replay import FIRST_HOST_INDEX, scripts
from bench.stage import Stage
from bench.subjects import DUAL, IPV4, SUBJECTS, Subject, Versions, Veth, hijacking, stand
from underlay.lab.pod import Pod

ONE_CALL, SUBNETS, STARTS = "One call", "Hijacked subnets", "Process start"
PODS, AT_ONCE, WITHIN = "Pods on the node", "At once", "Without a process"
SEVERAL = "Several NICs"
Make = Callable[[Subject, Pod, Versions], Program]


@dataclass(frozen=True)
class Options:
    """`turns` of each contestant; `levels` of pods that are on the node, which rise; `widths` of bursts;
    numbers of `subnets`; how many ADDs and DELs an agent lives through (`life`); `only` picks cases by a
    part of their title; `peer` is a directory with other executables, or ""."""

    turns: int
    levels: Sequence[int]
    widths: Sequence[int]
    subnets: Sequence[int]
    life: int
    only: re.Pattern[str]
    peer: str = ""


@dataclass
class Measured:
    """What has been measured so far."""

    series: list[Series] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    health: list[Look] = field(default_factory=list)


@dataclass
class Bench:
    """The measurements on one stage. `program` is the floor, `floor` a process of it that stays."""

    stage: Stage
    program: str
    floor: Floor
    options: Options
    measured: Measured

    def __post_init__(self) -> None:
        self._host_indexes = itertools.count(FIRST_HOST_INDEX)
        self._standing = 0  # pods that stay

    def measure(self) -> Iterator[str]:
        """All cases, those with the fullest node last. Gives the name of each step before it is taken."""
        for subject in SUBJECTS:
            yield from self._one_call(f"{subject.name}, IPv4", subject, IPV4)
            yield from self._one_call(f"{subject.name}, dual stack", subject, DUAL)
        for count in self.options.subnets:
            yield from self._side_by_side(Case(SUBNETS, f"veth, {count} subnets"), hijacking(count))
        yield from self._several("underlay, two NICs")
        yield from self._process_start("veth, process start", Veth())
        for subject in SUBJECTS:
            yield from self._within(f"{subject.name}, no process", subject)
        for subject in SUBJECTS:
            yield from self._at_once(f"{subject.name}, at once", subject)
        yield from self._health("agent, health")
        yield from self._on_full_node(
            [(f"{subject.name}, pods on the node", subject) for subject in SUBJECTS]
        )

    def _is_wanted(self, title: str) -> bool:
        return self.options.only.search(title) is not None

    def _one_call(self, title: str, subject: Subject, versions: Versions) -> Iterator[str]:
        if self._is_wanted(title):
            yield title
            with self._pods(subject, versions, len(self._makers(subject)) + 1) as (pod, *pods):
                crowds = self._crowds(subject, versions, pods)
                alone = in_process_program(self.stage, subject.calls(pod, versions))
                contestants = [*itertools.chain(*crowds), alone, bare_python(self.stage)]
                self._take_turns(Case(ONE_CALL, title), contestants)

    def _side_by_side(self, case: Case, subject: Subject) -> Iterator[str]:
        if self._is_wanted(case.title):
            yield case.title + (f" ({case.pods})" if case.pods else "")
            with self._pods(subject, IPV4, len(self._makers(subject))) as pods:
                self._take_turns(case, [*itertools.chain(*self._crowds(subject, IPV4, pods))])

    def _several(self, title: str) -> Iterator[str]:
        if self._is_wanted(title):
            yield title
            with self._pods(Veth(), IPV4, 0):
                pods = self.stage.pods(several.PODS_OF_CASE)
                self._take_turns(Case(SEVERAL, title), several.contestants(self.stage, pods))
                self.stage.remove(pods)

    def _process_start(self, title: str, subject: Subject) -> Iterator[str]:
        if self._is_wanted(title):
            yield title
            with self._pods(subject, IPV4, 1) as (pod,):
                whole = in_process_program(self.stage, subject.calls(pod, IPV4))
                programs = bare_python(self.stage), *version_programs(self.stage, subject.name), whole
                self._take_turns(Case(STARTS, title), programs)

    def _within(self, title: str, subject: Subject) -> Iterator[str]:
        if self._is_wanted(title):
            yield title
            with self._pods(subject, IPV4, 2) as (ours, other):
                function = Function(self.stage, subject.calls(ours, IPV4))
                kernel = Replayed(self.floor, self._scripts(subject, other, IPV4))
                self._take_turns(Case(WITHIN, title), (kernel, function))

    def _at_once(self, title: str, subject: Subject) -> Iterator[str]:
        if self._is_wanted(title):
            count = max(self.options.widths) * len(self._makers(subject))
            yield f"{title}: {count} pods"
            with self._pods(subject, IPV4, count) as pods:
                crowds = self._crowds(subject, IPV4, pods)
                for width in self.options.widths:
                    yield f"{title} ({width})"
                    turns = max(1, self.options.turns // 5, self.options.turns // width)
                    of_width = [crowd[:width] for crowd in crowds]
                    self.measured.bursts += bursts(Case(AT_ONCE, title), self.stage, of_width, turns)

    def _health(self, title: str) -> Iterator[str]:
        if self._is_wanted(title):
            yield title
            with ExitStack() as left:
                pods = [left.enter_context(self._pods(subject, DUAL, 1))[0] for subject in SUBJECTS]
                calls = [each.steady_calls(pod, DUAL) for each, pod in zip(SUBJECTS, pods, strict=True)]
                self.measured.health += looks(self.stage, calls, self.options.life)

    def _on_full_node(self, cases: Sequence[tuple[str, Subject]]) -> Iterator[str]:
        if any(self._is_wanted(title) for title, _ in cases):
            for level in self.options.levels:
                if level > self._standing:
                    yield f"{level} pods on the node"
                    stand(self.stage, self.stage.pods(level - self._standing))
                    self._standing = level
                for title, subject in cases:
                    yield from self._side_by_side(Case(PODS, title, level), subject)

    def _take_turns(self, case: Case, contestants: Sequence[Contestant]) -> None:
        self.measured.series += in_turns(case, contestants, self.options.turns)

    @contextmanager
    def _pods(self, subject: Subject, versions: Versions, count: int) -> Iterator[list[Pod]]:
        """So many pods for a plugin, and one that it has attached meanwhile: what all share is there."""
        first, *others = pods = self.stage.pods(1 + count)
        subject.plug(self.stage, pods, versions)
        in_process(self.stage, subject.calls(first, versions), "ADD")
        yield others
        in_process(self.stage, subject.calls(first, versions), "DEL")
        self.stage.remove(pods)

    def _crowds(self, subject: Subject, versions: Versions, pods: Sequence[Pod]) -> list[list[Program]]:
        """The floor's, the agent's, and the peer's: a program for each of its share of the pods."""
        makers = self._makers(subject)
        return [
            [make(subject, pod, versions) for pod in pods[place :: len(makers)]]
            for place, make in enumerate(makers)
        ]

    def _makers(self, subject: Subject) -> tuple[Make, ...]:
        peer = self.options.peer
        has_it = bool(peer) and os.access(os.path.join(peer, subject.name), os.X_OK)
        return (self._floor, self._agent, self._peer) if has_it else (self._floor, self._agent)

    def _floor(self, subject: Subject, pod: Pod, versions: Versions) -> Program:
        return floor_program(self.stage, self.program, self._scripts(subject, pod, versions))

    def _agent(self, subject: Subject, pod: Pod, versions: Versions) -> Program:
        return agent_program(self.stage, subject.calls(pod, versions), self.stage.agent)

    def _peer(self, subject: Subject, pod: Pod, versions: Versions) -> Program:
        return peer_program(self.stage, subject.calls(pod, versions), self.options.peer)

    def _scripts(self, subject: Subject, pod: Pod, versions: Versions) -> Scripts:
        """What the plugin does for a pod, for the floor to do; nothing of it is left."""
        return scripts(self.stage, subject.steady_calls(pod, versions), next(self._host_indexes))
