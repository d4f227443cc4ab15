"""Who is measured with one pod, and how they take turns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bench.calls import in_process
from bench.errors import BenchError
from bench.floor import Floor, Scripts
from bench.stage import Calls, Stage

FLOOR = "floor"
OURS, AGENT = "in process", "agent"
WARM_UP = 3  # turns that are not counted


class Contestant(Protocol):
    """One way to do the same for a pod of its own. Both verbs give the time that it took, in ns."""

    @property
    def name(self) -> str: ...

    def add(self) -> int: ...

    def delete(self) -> int: ...


class Series(NamedTuple):
    """What was measured of one verb and one contestant: a time for each turn, in ns."""

    case: str
    pods: int  # on the node already
    verb: str
    who: str
    times: tuple[int, ...]


def in_turns(case: str, pods: int, contestants: Sequence[Contestant], turns: int) -> list[Series]:
    """ADD and DEL by each contestant, then by each again: what disturbs the machine disturbs all alike."""
    adds: list[list[int]] = [[] for _ in contestants]
    deletes: list[list[int]] = [[] for _ in contestants]
    for turn in range(WARM_UP + turns):
        for each, added, deleted in zip(contestants, adds, deletes, strict=True):
            times = each.add(), each.delete()
            if turn >= WARM_UP:
                added.append(times[0])
                deleted.append(times[1])
    return [
        Series(case, pods, verb, each.name, tuple(taken))
        for verb, measured in (("ADD", adds), ("DEL", deletes))
        for each, taken in zip(contestants, measured, strict=True)
    ]


@dataclass(frozen=True)
class Replayed:
    """The floor. What the kernel had counts alone: neither opening the namespace nor reading the lines."""

    floor: Floor
    scripts: Scripts
    name: str = FLOOR

    def add(self) -> int:
        return self.floor.run(self.scripts.added).kernel

    def delete(self) -> int:
        return self.floor.run(self.scripts.removed).kernel


@dataclass(frozen=True)
class InProcess:
    """The plugin as an agent runs it: in a process that is there already and has all it imports."""

    stage: Stage
    calls: Calls
    name: str = OURS

    def add(self) -> int:
        return self._timed("ADD")

    def delete(self) -> int:
        return self._timed("DEL")

    def _timed(self, verb: str) -> int:
        began = time.monotonic_ns()
        in_process(self.stage, self.calls, verb)
        return time.monotonic_ns() - began


@dataclass(frozen=True)
class Executed:
    """A program from its start to its exit, in the node's namespace.

    `stdin` names a file for each verb, `environment` gives the variables for one.
    """

    name: str
    stage: Stage
    argv: tuple[str, ...]
    stdin: Mapping[str, str]
    environment: Callable[[str], dict[str, str]]

    def add(self) -> int:
        return self._timed("ADD")

    def delete(self) -> int:
        return self._timed("DEL")

    def _timed(self, verb: str) -> int:
        with self.stage.node.netns.entered():
            began = time.monotonic_ns()
            self.end(verb, self.begin(verb))
            return time.monotonic_ns() - began

    def begin(self, verb: str) -> int:
        """Starts it in the namespace of this thread; its process id."""
        files = [
            (os.POSIX_SPAWN_OPEN, 0, self.stdin[verb], os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, self._answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        ]
        return os.posix_spawn(self.argv[0], self.argv, self.environment(verb), file_actions=files)

    def end(self, verb: str, pid: int) -> None:
        """Waits for its end; BenchError with what it said where it failed."""
        _, status = os.waitpid(pid, 0)
        if status:
            with open(self._answer, encoding="utf-8") as file:
                raise BenchError(f"{' '.join(self.argv)}: {verb}: {file.read() or f'status {status}'}")

    @property
    def _answer(self) -> str:
        return f"{self.stdin['ADD']}.answer" if self.stdin["ADD"] != os.devnull else os.devnull


def floor_program(stage: Stage, program: str, scripts: Scripts) -> Executed:
    """The floor as an executable of its own."""
    pod = os.path.basename(scripts.added.netns)
    stdin = {
        verb: written(stage, f"floor-{verb}-{pod}", str(script).encode())
        for verb, script in (("ADD", scripts.added), ("DEL", scripts.removed))
    }
    return Executed(FLOOR, stage, (program,), stdin, lambda _: {})


def idle_program(stage: Stage, name: str, argv: tuple[str, ...]) -> Executed:
    """A program that does nothing: what starting it costs."""
    return Executed(name, stage, argv, dict.fromkeys(("ADD", "DEL"), os.devnull), lambda _: {})


def plugin_program(stage: Stage, calls: Calls) -> Executed:
    """The plugin's executable, as a container runtime starts it where no agent runs."""
    return _executed("executable", stage, calls, os.path.join(stage.directory, "no-agent.sock"))


def agent_program(stage: Stage, calls: Calls) -> Executed:
    """The same where one does."""
    return _executed(AGENT, stage, calls, stage.agent)


def _executed(name: str, stage: Stage, calls: Calls, agent: str) -> Executed:
    stdin = dict.fromkeys(("ADD", "DEL"), written(stage, f"stdin-{calls.pod.name}", calls.stdin))
    ours = {"UNDERLAY_STATE": stage.state, "UNDERLAY_SOCKET": agent}
    argv = (os.path.join(stage.bin_dir, calls.plugin),)
    return Executed(name, stage, argv, stdin, lambda verb: calls.environment(verb) | ours)


def written(stage: Stage, name: str, content: bytes) -> str:
    """The path of a file of the stage with that content."""
    path = os.path.join(stage.directory, name)
    with open(path, "wb") as file:
        file.write(content)
    return path
