"""The command `underlay` as a person calls it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import underlay as package
from underlay.lab.namespace import Netns

PACKAGE_DIR = os.path.dirname(os.path.dirname(package.__file__))


def underlay(
    *args: str, node: Netns | None = None, cwd: str | Path = "/", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What it prints, where standard output is no terminal, on a node or in our own namespace."""
    with node.entered() if node else nullcontext():
        return subprocess.run(
            [sys.executable, "-m", "underlay", *args],
            env={**os.environ, "PYTHONPATH": PACKAGE_DIR, **(env or {})},
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )
