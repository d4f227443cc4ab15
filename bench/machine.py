"""On what a run was made."""

from __future__ import annotations

import os
import platform

Machine = dict[str, str | int]


def machine() -> Machine:
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count() or 0,
        "cpu": _cpu() or platform.machine(),
        "python": platform.python_version(),
    }


def _cpu() -> str:
    """The name of the processor, "" where the kernel does not tell it so."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
        return next(names, "")
