"""JSON files in a directory, each written whole or not at all, while the directory is the caller's alone."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from underlay.cni.errors import IoFailure

UNFINISHED = ".tmp"
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
        with open(os.path.join(self.directory, name), encoding="utf-8") as file:
            return json.load(file)

    def store(self, name: str, value: Any) -> None:
        """IoFailure where it can't be written; what was there before stays then."""
        path = os.path.join(self.directory, name)
        text = ENCODER.encode(value).encode()
        try:
            with open(path + UNFINISHED, "wb", opener=_for_root_alone) as file:
                file.write(text)
            os.rename(path + UNFINISHED, path)
        except OSError as error:
            with suppress(FileNotFoundError):
                os.unlink(path + UNFINISHED)
            raise IoFailure(f"writing the record {path}: {error.strerror}") from error
        self._files.add(name)

    def delete(self, name: str) -> None:
        if name in self._files:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.directory, name))
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


def _for_root_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
