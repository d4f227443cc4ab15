"""Control groups of the lab's containers: the runtime leaves the parents of those that it has made."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def remove(prefix: str) -> None:
    """Removes all whose name begins so, of the one hierarchy or of each, once nothing runs in them."""
    for hierarchy in (ROOT, *ROOT.glob("*/")):
        for found in hierarchy.glob(f"{prefix}*/"):
            for parent, _, _ in os.walk(found, topdown=False):
                os.rmdir(parent)
