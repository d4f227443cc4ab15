"""Builds floor.c and speaks with it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, cast

from bench.errors import BenchError
from underlay.lab.namespace import Netns

SOURCE = Path(__file__).with_name("floor.c")
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")
COMPILERS = (os.environ.get("CC", ""), "cc", "gcc", "clang")


@dataclass(frozen=True)
class Script:
    """What floor.c is to do for one pod: lines as floor.c describes them."""

    netns: str  # a path
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in (f"netns {self.netns}", *self.lines, "run"))


class Scripts(NamedTuple):
    """An ADD and its DEL."""

    added: Script
    removed: Script


class Lap(NamedTuple):
    """One run of a script: begin and end on the monotonic clock, and how long the kernel had, in ns."""

    begin: int
    end: int
    kernel: int
    messages: int


def build(directory: str) -> str:
    """Compiles floor.c into a directory; returns the path of the program. Static where it can be."""
    compiler = next((path for name in COMPILERS if name and (path := shutil.which(name))), None)
    if compiler is None:
        raise BenchError(
            "there is no C compiler, and the floor is a C program: install one that is called cc, gcc or"
            " clang, with the headers of libc and Linux (Debian: gcc libc6-dev), or name yours in CC"
        )
    path = os.path.join(directory, "floor")
    said = ""
    for link in (("-static",), ()):
        argv = [compiler, *FLAGS, *link, "-o", path, str(SOURCE)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return path
        said = done.stderr
    raise BenchError(f"{compiler} does not compile {SOURCE.name}:\n{said}")


class Floor:
    """floor.c as a process that stays, in the namespace of a node. To be closed."""

    def __init__(self, program: str, node: Netns) -> None:
        with node.entered():
            self._process = subprocess.Popen(
                [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        self._lines = cast(IO[str], self._process.stdin)
        self._answers = cast(IO[str], self._process.stdout)
        self._complaints = cast(IO[str], self._process.stderr)

    def close(self) -> None:
        for stream in (self._lines, self._answers, self._complaints):
            stream.close()
        self._process.wait()  # its input has ended

    def run(self, script: Script) -> Lap:
        """Has it carry out one script; BenchError with what the kernel refused."""
        self.begin([script])
        return self.lap()

    def begin(self, scripts: Sequence[Script]) -> None:
        """Has it carry out all scripts, one after another; `lap` gives the time of each."""
        self._lines.write("".join(map(str, scripts)))
        self._lines.flush()

    def lap(self) -> Lap:
        """The next result; BenchError with what the kernel refused."""
        line = self._answers.readline()
        if not line:
            raise BenchError(self._complaints.read().strip() or "floor: it ended and did not say why")
        return Lap(*map(int, line.split()))
