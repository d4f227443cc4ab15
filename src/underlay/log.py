"""The log: one line of JSON for each event, in a rotating file that many processes write at once.

Runtimes start a process for each call, forty of them when a node boots. So each line is one write to a
file opened for appending, and nothing is kept open between two events. Writers hold the file's `flock`
shared and rotation holds it alone: whoever waited finds that the name now means another file and opens
that one, so no line is lost or split. The `logging` module would cost more than the rest of a call.

A log that cannot be written is never a reason to fail: the line goes to standard error instead.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any

from underlay.values import dataclass

LEVELS = ("debug", "info", "warn", "error")
OLDER_LEVELS = {"warning": "warn", "fatal": "error", "panic": "error"}  # names that the older plugins take

# NONBLOCK: a FIFO that nobody reads is an error at once, and not a call that hangs
FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
HOUR, DAY = 3600, 86400
STDERR = 2
ENCODER = json.JSONEncoder(default=str, skipkeys=True, check_circular=False)  # no event refers to itself


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Where to log what. No `file`: standard error. Rotated files are kept for `max_age_days`, and at
    most `max_count` of them; 0 is no limit. `max_size_mb` (1 MB is 2**20 bytes) is that of one file."""

    level: str = "info"
    file: str = ""
    max_size_mb: int = 100
    max_age_days: int = 5
    max_count: int = 5


class Log:
    """Writes events; `context` (network, container_id, ifname, verb …) is part of every line."""

    def __init__(self, options: LogOptions, **context: Any) -> None:
        self._options = options
        self._context = context
        self._threshold = _rank(options.level)

    def another(self, options: LogOptions, **context: Any) -> Log:
        """The log of another plugin, which is called on the way."""
        return Log(options, **context)

    def event(self, event: str, /, level: str = "info", **fields: Any) -> None:
        """Log one event, a short name with dashes; a disk that refuses the line is no error."""
        if _rank(level) < self._threshold:
            return
        record = {"time": _now(), "level": OLDER_LEVELS.get(level, level), "event": event}
        record |= self._context | fields
        if not self._options.file:
            to_stderr(_line(record))
            return
        try:
            self.write(_line(record))
        except (OSError, ValueError) as error:  # ValueError: a path with a NUL
            to_stderr(_line(record | {"log_file": self._options.file, "log_error": str(error)}))

    def write(self, line: bytes) -> None:
        """Adds a line to the file; OSError or ValueError where that does not take it."""
        has_looked = False
        while True:
            fd = _opened(self._options.file)
            try:
                status = os.fstat(fd)
                is_due = not has_looked and _is_first_of_hour(status) and _has_expired(self._options)
                has_looked = True
                if is_due or _is_full(status, len(line), self._options):
                    _rotate(fd, len(line), self._options)
                    continue
                fcntl.flock(fd, fcntl.LOCK_SH)
                if _is_current(status, self._options.file):
                    os.write(fd, line)
                    return
            finally:
                os.close(fd)  # which drops the lock as well


def _rank(level: str) -> int:
    return LEVELS.index(OLDER_LEVELS.get(level, level))


def _now() -> str:
    """Give the time as RFC 3339 in UTC, with milliseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return f"{_second(seconds)}.{nanoseconds // 10**6:03}Z"


@lru_cache(1)
def _second(seconds: int) -> str:
    """Remembered, for in a burst most calls are of one second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _line(record: dict[str, Any]) -> bytes:
    """Encode in ASCII: no newline, control character or odd byte of a value can break the line."""
    return ENCODER.encode(record).encode("ascii") + b"\n"


def to_stderr(line: bytes) -> None:
    """Where nobody listens there is no third place to say it."""
    with suppress(OSError):
        os.write(STDERR, line)


def _opened(file: str) -> int:
    """A descriptor of the log, for one line."""
    try:
        return os.open(file, FLAGS, 0o640)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(file), 0o755, exist_ok=True)
        return os.open(file, FLAGS, 0o640)


def _is_current(opened: os.stat_result, file: str) -> bool:
    """Say whether the name still means the file that was opened, or was rotated or deleted since."""
    try:
        named = os.stat(file)
    except FileNotFoundError:
        return False
    return os.path.samestat(opened, named)


def _is_first_of_hour(status: os.stat_result) -> bool:
    """Say whether the file is new, or was last written in another hour: then old files are looked for."""
    return status.st_size == 0 or int(status.st_mtime / HOUR) != int(time.time() / HOUR)


def _is_full(status: os.stat_result, more: int, options: LogOptions) -> bool:
    return (
        stat.S_ISREG(status.st_mode)  # /dev/stderr is never full
        and status.st_size > 0  # a line longer than a whole file gets a file of its own
        and status.st_size + more > options.max_size_mb << 20
    )


def _rotate(fd: int, more: int, options: LogOptions) -> None:
    """Shift log.1 to log.2 and so on, then log to log.1; drop what is too old or too many."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    status = os.fstat(fd)
    if not _is_current(status, options.file):
        return  # somebody else has just done it
    is_full = _is_full(status, more, options)
    for number in sorted(_rotated(options.file), reverse=True):
        name = f"{options.file}.{number}"
        if _is_expired(name, options) or (is_full and 0 < options.max_count <= number):
            os.unlink(name)
        elif is_full:
            os.rename(name, f"{options.file}.{number + 1}")
    if is_full:
        os.rename(options.file, f"{options.file}.1")  # last: from here on others may rotate again


def _rotated(file: str) -> list[int]:
    """Give the numbers of the rotated files that exist."""
    directory, name = os.path.split(file)
    names = os.listdir(directory or ".")
    suffixes = [each.removeprefix(f"{name}.") for each in names if each.startswith(f"{name}.")]
    return [int(suffix) for suffix in suffixes if suffix.isascii() and suffix.isdigit()]


def _is_expired(name: str, options: LogOptions) -> bool:
    return 0 < options.max_age_days < (time.time() - os.stat(name).st_mtime) / DAY


def _has_expired(options: LogOptions) -> bool:
    """Look, without the lock, whether a rotated file is too old; what cannot be seen is not."""
    try:
        return any(_is_expired(f"{options.file}.{n}", options) for n in _rotated(options.file))
    except OSError:
        return False
