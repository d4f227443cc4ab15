"""Builds floor.c and speaks with it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, cast

from bench.errors import BenchError
from underlay.lab.namespace import Netns

SOURCE = Path(__file__).with_name("floor.c")
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")
# A program of musl-gcc starts in half the time of another, as shim/build says. It knows no headers of Linux.
COMPILERS = (os.environ.get("CC", ""), "musl-gcc", "cc", "gcc", "clang")
INCLUDE = Path("/usr/include")


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
    compilers = [path for name in COMPILERS if name and (path := shutil.which(name))]
    if not compilers:
        raise BenchError(
            "there is no C compiler, and the floor is a C program: install one that is called musl-gcc, cc,"
            " gcc or clang, with the headers of libc and Linux (Debian: gcc libc6-dev), or name yours in CC"
        )
    path = os.path.join(directory, "floor")
    said = ""
    for link, compiler in itertools.product((("-static", "-s"), ()), compilers):
        argv = [compiler, *FLAGS, *link, *_linux_headers(), "-o", path, str(SOURCE)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return path
        said = done.stderr
    raise BenchError(f"{compiler} does not compile {SOURCE.name}:\n{said}")


def _linux_headers() -> Iterator[str]:
    """Looked through after all else; Debian has those of the processor in a directory of their own."""
    for directory in (INCLUDE, *(asm.parent for asm in INCLUDE.glob("*/asm"))):
        yield from ("-idirafter", str(directory))


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
        self._lines.write(str(script))
        self._lines.flush()
        line = self._answers.readline()
        if not line:
            raise BenchError(self._complaints.read().strip() or "floor: it ended and did not say why")
        return Lap(*map(int, line.split()))
