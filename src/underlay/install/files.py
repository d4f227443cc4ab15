"""Files as values, and how one comes into its place: whole or not at all, whoever reads it meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from underlay.values import dataclass

ASIDE = ".before-underlay"  # the ending of what was there before, and is not ours


@dataclass(frozen=True, slots=True)
class File:
    """One file that has to be there. `path` is the node's."""

    path: str
    content: bytes
    mode: int = 0o644

    @property
    def digest(self) -> str:
        return digest_of(self.content)


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is there: its content, and its permissions."""

    content: bytes
    mode: int

    def is_as(self, file: File) -> bool:
        return (self.content, self.mode) == (file.content, file.mode)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was done, or has to be known: `what` is a past participle, `path` the node's."""

    what: str
    path: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.path}" + (f": {self.why}" if self.why else "")


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def found_at(path: str) -> Found | None:
    """What is there; None for nothing. OSError for what can't be read, such as a directory."""
    try:
        with open(path, "rb") as file:
            return Found(file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode))
    except FileNotFoundError:
        return None


def put(file: File, at: str, check: Callable[[str], None] = lambda _: None) -> None:
    """Writes a file beside its place `at`, has it checked there, and renames it.

    A reader finds the old one or the new one, and one that is executed meanwhile is not in the way.
    """
    beside = f"{at}.{os.getpid()}.new"
    try:
        with open(beside, "wb") as opened:
            opened.write(file.content)
            os.fchmod(opened.fileno(), file.mode)
            opened.flush()
            os.fsync(opened.fileno())  # a node that loses power now must not boot with an empty plugin
        check(beside)
        os.rename(beside, at)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def keep_aside(at: str) -> None:
    """Gives a file that is not ours a second name; the first one is not free for a moment."""
    beside = f"{at}{ASIDE}.{os.getpid()}.new"
    os.link(at, beside, follow_symlinks=False)
    os.rename(beside, at + ASIDE)


def make_directories(path: str) -> list[str]:
    """Makes a directory with its parents; returns those that were missing, the outermost first."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        os.mkdir(each, 0o755)
    return missing[::-1]
