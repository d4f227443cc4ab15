"""Processes that outlive the command which starts them: another command finds and ends them.

Each has a file with its id and the time of its start, by which a later process of the same id is told
from it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from underlay.lab.errors import LabError

PATIENCE = 30.0  # seconds for a process to begin its work, or to end
PAUSE = 0.01  # seconds
FILE = ".process"  # how the name of a process's file ends
STATE, PARENT, STARTED = 0, 1, 19  # fields of /proc/PID/stat behind the name, proc(5)


@dataclass(frozen=True)
class Process:
    """The value may exist before the process does, and after. `log` takes what it prints."""

    file: str
    log: str

    def start(self, command: Sequence[str], within: Sequence[str] = ()) -> None:
        """Starts it in this thread's network namespace, and where no Ctrl-C of ours reaches it.

        `within` is a command that forks, as `unshare` and `nsenter` do: its child is what counts then.
        """
        # The shell ends at once, so that init inherits the process and no zombie is left to us.
        quoted = shlex.join([*within, *command])
        begin = f"setsid {quoted} </dev/null >>{shlex.quote(self.log)} 2>&1 & echo $!"
        begun = int(subprocess.run(["sh", "-c", begin], stdout=subprocess.PIPE, check=True).stdout)
        if not within:
            return self._note(begun)
        until(lambda: _children(begun) or not _stat(begun), f"{command[0]} does not begin")
        return self._note(*_children(begun))

    def _note(self, pid: int = 0) -> None:
        """Writes down which process it is."""
        started = _stat(pid)
        if not started:
            raise LabError(f"it has ended at once: {self.said}")
        with open(f"{self.file}.new", "w", encoding="ascii") as file:
            file.write(f"{pid} {started[STARTED]}")
        os.replace(f"{self.file}.new", self.file)

    @property
    def pid(self) -> int | None:
        """None where it has ended, or was never started."""
        try:
            with open(self.file, encoding="ascii") as file:
                pid, started = file.read().split()
        except FileNotFoundError:
            return None
        now = _stat(int(pid))
        return int(pid) if now and now[STARTED] == started and now[STATE] != "Z" else None

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Sends the signal, if it still runs, and waits for the end."""
        if pid := self.pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            until(lambda: self.pid is None, f"process {pid} does not end")
        with suppress(FileNotFoundError):
            os.unlink(self.file)

    @property
    def said(self) -> str:
        """The end of what it has printed."""
        with suppress(OSError), open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()[-2000:].strip() or "nothing"
        return "nothing"

    def ready(self, condition: Callable[[], object], what: str) -> None:
        """Waits until it works; LabError with what it said where it ends before."""
        until(lambda: condition() or self.pid is None, f"{what} does not begin")
        if self.pid is None:
            raise LabError(f"{what} has ended: {self.said}")


def end_all(directory: str) -> None:
    """Kills every process that has its file somewhere below the directory."""
    for parent, _, names in os.walk(directory):
        for name in names:
            if name.endswith(FILE):
                Process(os.path.join(parent, name), os.devnull).end(signal.SIGKILL)


def until(condition: Callable[[], object], otherwise: str) -> None:
    """Waits for it; LabError after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{otherwise} ({PATIENCE:.0f} s)")
        time.sleep(PAUSE)


def _stat(pid: int) -> list[str]:
    """The fields behind the name, which may hold anything; none where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _children(parent: int) -> list[int]:
    every = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in every if _stat(pid)[PARENT : PARENT + 1] == [str(parent)]]
