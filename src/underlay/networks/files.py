"""Files of a directory, read once: a pod that asks for a network must not make the node parse them all."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

from underlay.cni.errors import IoFailure

T = TypeVar("T")
MOST = 1024  # files that are remembered; then all are read again
LARGEST = 1 << 20  # bytes of one


def files_of(directory: str, endings: tuple[str, ...]) -> list[str]:
    """The paths of its files with such an ending, by name; [] where there is no directory."""
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(endings))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise IoFailure(f"reading the directory {directory}: {error.strerror}") from error
    return [os.path.join(directory, name) for name in names if not name.startswith(".")]


class Remembered(Generic[T]):
    """What files hold, as long as they are the same: by path, inode, time and size."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], T]] = {}

    def of(self, path: str, read: Callable[[str, str], T]) -> T:
        """What `read` makes of a path and its text; IoFailure where it can't be read."""
        try:
            found = os.stat(path)
            state = found.st_ino, found.st_mtime_ns, found.st_size
            known = self._known.get(path)
            if known and known[0] == state:
                return known[1]
            if found.st_size > LARGEST:
                raise IoFailure(f"reading {path}: it has more than {LARGEST} bytes")
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except UnicodeDecodeError as error:
            raise IoFailure(f"reading {path}: it is not UTF-8") from error
        except OSError as error:
            raise IoFailure(f"reading {path}: {error.strerror}") from error
        made = read(path, text)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[path] = state, made
        return made
