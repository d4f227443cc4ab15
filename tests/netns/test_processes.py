"""Processes of the lab: another command finds them by their file, and never one that is not theirs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from underlay.lab.errors import LabError
from underlay.lab.process import Process, end_all

IGNORES_TERM = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
)
SLEEP = ["sleep", "1000"]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    found = Process(str(tmp_path / "one.process"), str(tmp_path / "one.log"))
    yield found
    found.end(signal.SIGKILL)


def test_it_is_found_by_its_file_and_ended(process: Process) -> None:
    process.start(SLEEP)
    again = Process(process.file, process.log)
    pid = again.pid

    again.end()

    assert pid
    assert again.pid is None
    assert not os.path.exists(process.file)


def test_behind_a_command_that_forks_it_is_the_child(process: Process) -> None:
    process.start(SLEEP, within=["unshare", "--pid", "--fork"])

    assert process.pid
    assert Path(f"/proc/{process.pid}/cmdline").read_bytes() == b"sleep\0001000\0"


def test_what_has_taken_the_id_since_is_left_alone(process: Process) -> None:
    process.start(SLEEP)
    pid = process.pid
    assert pid
    Path(process.file).write_text(f"{pid} 1")  # another that began long ago had the id

    assert process.pid is None
    process.end(signal.SIGKILL)

    assert os.path.exists(f"/proc/{pid}")
    os.kill(pid, signal.SIGKILL)


def test_what_ends_before_it_works_is_told_with_what_it_has_said(process: Process) -> None:
    process.start(["sh", "-c", "echo no such network >&2; sleep 0.05; exit 1"])

    with pytest.raises(LabError, match="the daemon has ended: no such network"):
        process.ready(lambda: False, "the daemon")


def test_all_below_a_directory_are_killed(process: Process, tmp_path: Path) -> None:
    process.start([sys.executable, "-c", IGNORES_TERM])
    process.ready(lambda: process.said == "up", "it")

    end_all(str(tmp_path))

    assert process.pid is None
