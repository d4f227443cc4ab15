"""The log is whole lines of JSON whatever happens, and never the reason why a call fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import underlay.log
from underlay.log import Log, LogOptions

SOURCES = Path(underlay.log.__file__).parents[1]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("ascii").splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log" / "veth.log"


def test_an_event_is_one_line_with_time_level_context_and_fields(file: Path) -> None:
    log = Log(LogOptions(file=str(file)), network="lan", ifname="eth0")
    log.event("call", outcome="ok", ms=1.5)

    (line,) = lines(file)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info",
        "event": "call",
        "network": "lan",
        "ifname": "eth0",
        "outcome": "ok",
        "ms": 1.5,
    }


def test_no_value_can_break_a_line(file: Path) -> None:
    Log(LogOptions(file=str(file))).event("odd", text="a\nb\u2028\udcff", path=Path("/x"), keys={("a",): 1})

    (line,) = lines(file)
    assert (line["text"], line["path"], line["keys"]) == ("a\nb\u2028\udcff", "/x", {})


@pytest.mark.parametrize(
    ("threshold", "seen"),
    [
        ("debug", ["debug", "info", "warn", "error"]),
        ("info", ["info", "warn", "error"]),
        ("warning", ["warn", "error"]),
        ("fatal", ["error"]),
    ],
)
def test_events_below_the_level_are_left_out(file: Path, threshold: str, seen: list[str]) -> None:
    log = Log(LogOptions(level=threshold, file=str(file)))
    for level in ("debug", "info", "warning", "panic"):
        log.event("tick", level)

    assert [line["level"] for line in lines(file)] == seen


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "veth.log"
    Log(LogOptions(file=str(file))).event("tick")

    assert len(lines(file)) == 1
    assert file.parent.stat().st_mode & 0o777 == 0o755


def test_nothing_is_made_before_the_first_event(file: Path) -> None:
    Log(LogOptions(file=str(file)), network="lan")

    assert not file.parent.exists()


def unwritable(tmp_path: Path) -> list[str]:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    return [str(tmp_path), str(tmp_path / "file" / "x.log"), str(tmp_path / "fifo"), "/dev/full", "/x\0.log"]


@pytest.mark.parametrize("kind", range(5), ids=["directory", "below a file", "fifo", "full disk", "NUL"])
def test_a_log_that_cannot_be_written_falls_back_to_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: int
) -> None:
    name = unwritable(tmp_path)[kind]
    Log(LogOptions(file=name), network="lan").event("call", outcome="ok")

    out, err = capfd.readouterr()
    line = json.loads(err)
    assert out == ""
    assert (line["event"], line["network"], line["outcome"], line["log_file"]) == ("call", "lan", "ok", name)
    assert line["log_error"]


def test_without_a_file_events_go_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    Log(LogOptions()).event("call")

    assert json.loads(capfd.readouterr().err)["event"] == "call"


def test_a_closed_standard_error_is_no_failure() -> None:
    code = (
        "import os; os.close(2); from underlay.log import *; Log(LogOptions()).event('call'); print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=True)

    assert done.stdout == b"done\n"


def numbered(file: Path) -> list[str]:
    return sorted(each.name for each in file.parent.iterdir())


def full(file: Path, label: str) -> None:
    """Fill the log to just below 1 MB with one line."""
    Log(LogOptions(file=str(file))).event("filler", label=label, text="x" * ((1 << 20) - 200))


def test_a_full_log_is_rotated_and_the_oldest_go(file: Path) -> None:
    options = LogOptions(file=str(file), max_size_mb=1, max_count=2)
    for label in "abcd":
        full(file, label)
        Log(options).event("small", text="y" * 300)

    assert numbered(file) == ["veth.log", "veth.log.1", "veth.log.2"]
    assert [line["event"] for line in lines(file)] == ["small"]
    assert [lines(file.with_name(f"veth.log.{n}"))[-1]["label"] for n in (1, 2)] == ["d", "c"]


def test_without_a_limit_all_rotated_files_are_kept(file: Path) -> None:
    for label in "abc":
        full(file, label)
        Log(LogOptions(file=str(file), max_size_mb=1, max_count=0)).event("small", text="y" * 300)

    assert numbered(file) == ["veth.log", "veth.log.1", "veth.log.2", "veth.log.3"]


def test_a_line_longer_than_a_file_gets_one_of_its_own(file: Path) -> None:
    log = Log(LogOptions(file=str(file), max_size_mb=1))
    log.event("small")
    log.event("huge", text="x" * (2 << 20))
    log.event("small")

    assert [[line["event"] for line in lines(file.with_name(name))] for name in numbered(file)] == [
        ["small"],
        ["huge"],
        ["small"],
    ]


def test_rotated_files_that_are_too_old_go_without_waiting_for_a_rotation(file: Path) -> None:
    file.parent.mkdir()
    for name, days in (("veth.log.1", 1), ("veth.log.2", 6), ("veth.log.10", 60), ("veth.log.old", 60)):
        old = file.with_name(name)
        old.touch()
        os.utime(old, (time.time() - days * 86400,) * 2)
    Log(LogOptions(file=str(file), max_age_days=5)).event("tick")

    assert numbered(file) == ["veth.log", "veth.log.1", "veth.log.old"]


def test_rotated_files_that_are_too_old_are_looked_for_with_the_first_line_of_an_hour(file: Path) -> None:
    log = Log(LogOptions(file=str(file), max_age_days=5))
    log.event("tick")
    old = file.with_name("veth.log.1")
    old.touch()
    os.utime(old, (0, 0))
    an_hour_ago = time.time() - 3600
    os.utime(file, (an_hour_ago, an_hour_ago))
    log.event("tick")

    assert numbered(file) == ["veth.log"]
    assert len(lines(file)) == 2


def test_without_an_age_limit_old_files_are_kept(file: Path) -> None:
    file.parent.mkdir()
    old = file.with_name("veth.log.1")
    old.touch()
    os.utime(old, (0, 0))
    Log(LogOptions(file=str(file), max_age_days=0)).event("tick")

    assert old.exists()


def test_a_log_that_somebody_deletes_is_begun_again(file: Path) -> None:
    log = Log(LogOptions(file=str(file)))
    log.event("one")
    file.unlink()
    log.event("two")

    assert [line["event"] for line in lines(file)] == ["two"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCES)}


WRITER = """
import sys
from underlay.log import Log, LogOptions
log = Log(LogOptions(file=sys.argv[1], max_size_mb=1, max_count=0), writer=int(sys.argv[2]))
sys.stdin.readline()
for number in range(40):
    log.event("tick", number=number, text="x" * 3000)
"""


def test_forty_processes_lose_no_line_while_they_rotate(file: Path) -> None:
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(SOURCES)!r})\n{WRITER}",
    ]
    writers = [
        subprocess.Popen([*command, str(file), str(writer)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for writer in range(40)
    ]
    outcomes: list[bytes] = []
    threads = [
        threading.Thread(target=lambda writer=writer: outcomes.append(writer.communicate(b"go\n")[1]))
        for writer in writers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    files = list(file.parent.iterdir())
    written = sorted((line["writer"], line["number"]) for each in files for line in lines(each))
    assert outcomes == [b""] * 40
    assert written == [(writer, number) for writer in range(40) for number in range(40)]
    assert len(files) == 5  # 1600 lines of 3.1 kB in files of 1 MB
