"""JSON files in a directory, each written whole or not at all, while the directory is the caller's alone."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from underlay.cni.errors import IoFailure

UNFINISHED = ".tmp"
PIECE = 1 << 16  # bytes of a file that are read at once
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
ENCODER = json.JSONEncoder(check_circular=False)  # a third faster, and nothing in a file refers to itself


class Store:
    """The files of one directory. What can't be read raises one of UNREADABLE.

    Nobody else writes there meanwhile: the directory is listed once.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        try:
            self._files = set(os.listdir(directory))
        except FileNotFoundError:
            self._files = set()

    def load(self, name: str) -> Any:
        return json.loads(read(f"{self.directory}/{name}").decode())

    def store(self, name: str, value: Any) -> None:
        self.store_text(name, ENCODER.encode(value))

    def store_text(self, name: str, text: str) -> None:
        """IoFailure where it can't be written; what was there before stays then."""
        path = f"{self.directory}/{name}"
        try:
            write(path + UNFINISHED, text.encode())
            os.rename(path + UNFINISHED, path)
        except OSError as error:
            with suppress(FileNotFoundError):
                os.unlink(path + UNFINISHED)
            raise IoFailure(f"writing the record {path}: {error.strerror}") from error
        self._files.add(name)

    def delete(self, name: str) -> None:
        if name in self._files:
            with suppress(FileNotFoundError):
                os.unlink(f"{self.directory}/{name}")
            self._files.discard(name)

    def has(self, name: str) -> bool:
        return name in self._files

    def listed(self) -> list[str]:
        return sorted(self._files)

    def readable(self) -> list[dict[str, Any]]:
        """Every file that holds an object."""
        found = []
        for name in self.listed():
            with suppress(*UNREADABLE):
                found.append(self.load(name))
        return [each for each in found if isinstance(each, dict)]

    def drop_unfinished(self) -> None:
        """Removes what a call that was killed has left half written: it had changed nothing yet."""
        for name in self.listed():
            if name.endswith(UNFINISHED):
                self.delete(name)


def read(path: str) -> bytes:
    """The whole file. `open` would take more than twice as long, for its buffer and its codec."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = [os.read(fd, PIECE)]
        while len(pieces[-1]) == PIECE:
            pieces.append(os.read(fd, PIECE))
    finally:
        os.close(fd)
    return b"".join(pieces)


def write(path: str, text: bytes) -> None:
    """A new file for root alone."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while text:
            text = text[os.write(fd, text) :]
    finally:
        os.close(fd)
