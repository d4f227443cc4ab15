"""The contestants that are executables: from their start to their exit, as a container runtime sees them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.agent import Agent
from bench.errors import BenchError
from bench.floor import Scripts
from bench.stage import Calls, Stage

FLOOR, AGENT, IN_PROCESS, PEER, BARE_PYTHON = "floor", "agent", "in process", "peer", "bare python"
ATTACHING = ("ADD", "DEL")
ASKING = b'{"cniVersion": "1.0.0"}'


@dataclass(frozen=True)
class Program:
    """A program in the node's namespace.

    For each of its verbs `stdin` names a file; `environment` has its variables.
    """

    name: str
    stage: Stage
    argv: tuple[str, ...]
    stdin: Mapping[str, str]
    environment: Mapping[str, Mapping[str, str]]
    agent: Agent | None = None

    def turn(self) -> dict[str, int]:
        return {verb: self._timed(verb) for verb in self.stdin}

    def _timed(self, verb: str) -> int:
        with self.stage.node.netns.entered():
            began = time.monotonic_ns()
            self.end(verb, self.begin(verb))
            taken = time.monotonic_ns() - began
        self.rest()
        return taken

    def rest(self) -> None:
        """What is left to be done after an answer is nobody else's to wait for."""
        if self.agent:
            self.agent.rest()

    def begin(self, verb: str) -> int:
        """Starts it in the namespace of this thread; its process id."""
        files = [
            (os.POSIX_SPAWN_OPEN, 0, self.stdin[verb], os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, self._answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        ]
        return os.posix_spawn(self.argv[0], self.argv, self.environment[verb], file_actions=files)

    def end(self, verb: str, pid: int) -> None:
        """Waits for its end; BenchError with what it said where it failed."""
        _, status = os.waitpid(pid, 0)
        if status:
            with open(self._answer, encoding="utf-8", errors="replace") as file:
                said = file.read().strip() or f"status {os.waitstatus_to_exitcode(status)}"
            raise BenchError(f"{self.name}: {' '.join(self.argv)}: {verb}: {said}")

    @property
    def _answer(self) -> str:
        path = next(iter(self.stdin.values()))
        return path if path == os.devnull else f"{path}.answer"


def floor_program(stage: Stage, program: str, scripts: Scripts) -> Program:
    """The floor as an executable of its own."""
    pod = os.path.basename(scripts.added.netns)
    stdin = {
        verb: _written(stage, f"floor-{verb}-{pod}", str(script).encode())
        for verb, script in zip(ATTACHING, scripts, strict=True)
    }
    return Program(FLOOR, stage, (program,), stdin, {verb: {} for verb in stdin})


def bare_python(stage: Stage) -> Program:
    """The interpreter that does nothing: what starting it costs."""
    argv = (sys.executable, "-I", "-S", "-c", "pass")
    return Program(BARE_PYTHON, stage, argv, {"start": os.devnull}, {"start": {}})


def agent_program(stage: Stage, calls: Calls, agent: Agent) -> Program:
    """Our executable where an agent answers."""
    return replace(_attaching(AGENT, stage, calls, stage.bin_dir, agent.socket), agent=agent)


def in_process_program(stage: Stage, calls: Calls) -> Program:
    """The same where none does."""
    return _attaching(IN_PROCESS, stage, calls, stage.bin_dir, _nobody(stage))


def peer_program(stage: Stage, calls: Calls, directory: str) -> Program:
    """Somebody else's executable of that name."""
    return _attaching(PEER, stage, calls, directory, _nobody(stage))


def spawned(stage: Stage, program: str, verb: str, calls: Calls) -> bytes:
    """One execution of a plugin, ours or not, in the namespace of this thread: what it has printed."""
    stdin = _written(stage, f"stdin-{calls.pod.name}-{calls.ifname}", calls.stdin)
    environment = calls.environment(verb) | _ours(stage, stage.agent.socket)
    once = Program(calls.plugin, stage, (program,), {verb: stdin}, {verb: environment})
    once.end(verb, once.begin(verb))
    with open(f"{stdin}.answer", "rb") as file:
        return file.read()


def version_programs(stage: Stage, plugin: str) -> tuple[Program, Program]:
    """What asks for nothing but the versions: all that is left is getting there and back."""
    stdin = {"VERSION": _written(stage, f"stdin-VERSION-{plugin}", ASKING)}
    argv = (os.path.join(stage.bin_dir, plugin),)

    def asked(name: str, socket: str) -> Program:
        environment = {"VERSION": {"CNI_COMMAND": "VERSION", **_ours(stage, socket)}}
        return Program(name, stage, argv, stdin, environment)

    return asked(AGENT, stage.agent.socket), asked(IN_PROCESS, _nobody(stage))


def _attaching(name: str, stage: Stage, calls: Calls, directory: str, socket: str) -> Program:
    stdin = dict.fromkeys(ATTACHING, _written(stage, f"stdin-{calls.pod.name}", calls.stdin))
    argv = (os.path.join(directory, calls.plugin),)
    environment = {verb: calls.environment(verb) | _ours(stage, socket) for verb in ATTACHING}
    return Program(name, stage, argv, stdin, environment)


def _ours(stage: Stage, socket: str) -> dict[str, str]:
    return {"UNDERLAY_STATE": stage.state, "UNDERLAY_SOCKET": socket}


def _nobody(stage: Stage) -> str:
    """Where no agent is."""
    return os.path.join(stage.directory, "no-agent.sock")


def _written(stage: Stage, name: str, content: bytes) -> str:
    """The path of a file of the stage with that content."""
    path = os.path.join(stage.directory, name)
    with open(path, "wb") as file:
        file.write(content)
    return path
