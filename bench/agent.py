"""An agent of the benchmark's own, and what it takes of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import NamedTuple

from bench.errors import BenchError

PATIENCE, POLL, REST = 30, 0.02, 0.0005  # seconds
KIB = 1024
BUSY = "DR"  # waits in the kernel for what ends by itself, or runs


class Taken(NamedTuple):
    """What a process has of the machine: resident memory in bytes, threads, open descriptors."""

    rss: int
    threads: int
    descriptors: int


class Agent:
    """`underlay agent` at a socket, with its log beside that. To be closed."""

    def __init__(self, socket: str, state: str) -> None:
        """Returns when it answers; BenchError where it does not."""
        self.socket = socket
        command = [sys.executable, "-m", "underlay", "agent", "--socket", socket, "--state", state]
        with open(f"{socket}.log", "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(socket):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise BenchError(f"the agent does not start: {' '.join(command)}")
            time.sleep(POLL)

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def rest(self) -> None:
        """Waits until it has done what it leaves for after an answer."""
        rest(self.pid)

    def taken(self) -> Taken:
        """While it rests."""
        self.rest()
        process = f"/proc/{self.pid}"
        with open(f"{process}/status", encoding="ascii", errors="replace") as file:
            status = dict(line.split(":", 1) for line in file)
        rss = int(status["VmRSS"].split()[0]) * KIB
        return Taken(rss, int(status["Threads"]), len(os.listdir(f"{process}/fd")))


def rest(pid: int) -> None:
    """Waits until all threads of a process but this one sleep, such as wait for work.

    One that waits for the kernel to finish a deletion does not sleep: proc(5) calls it D.
    """
    tasks, own = f"/proc/{pid}/task", str(threading.get_native_id())
    deadline = time.monotonic() + PATIENCE
    while any(_state(f"{tasks}/{task}") in BUSY for task in os.listdir(tasks) if task != own):
        if time.monotonic() > deadline:
            raise BenchError(f"process {pid} still works {PATIENCE} s after its last answer")
        time.sleep(REST)


def _state(task: str) -> str:
    """One letter; "" where the thread has ended meanwhile."""
    try:
        with open(f"{task}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(") ")[2][:1]
    except (FileNotFoundError, ProcessLookupError):
        return ""
