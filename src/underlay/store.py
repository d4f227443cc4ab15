"""JSON files in a directory, each written whole or not at all, while the directory is the caller's alone."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

from underlay.cni.errors import IoFailure

UNFINISHED = ".tmp"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class Store:
    """The files of one directory. What can't be read raises one of UNREADABLE."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def load(self, name: str) -> Any:
        with open(os.path.join(self._directory, name), encoding="utf-8") as file:
            return json.load(file)

    def store(self, name: str, value: Any) -> None:
        """IoFailure where it can't be written; what was there before stays then."""
        path = os.path.join(self._directory, name)
        try:
            with open(path + UNFINISHED, "w", encoding="utf-8", opener=_for_root_alone) as file:
                file.write(json.dumps(value))  # unlike dump, in C
            os.rename(path + UNFINISHED, path)
        except OSError as error:
            self.delete(name + UNFINISHED)
            raise IoFailure(f"writing the record {path}: {error.strerror}") from error

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self._directory, name))

    def listed(self) -> list[str]:
        try:
            return sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return []

    def readable(self) -> list[dict[str, Any]]:
        """Every file that holds an object."""
        found = []
        for name in self.listed():
            with suppress(*UNREADABLE):
                found.append(self.load(name))
        return [each for each in found if isinstance(each, dict)]

    def drop_unfinished(self) -> None:
        """Removes what a call that was killed has left half written: it had changed nothing yet."""
        for name in os.listdir(self._directory):
            if name.endswith(UNFINISHED):
                self.delete(name)


def _for_root_alone(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
