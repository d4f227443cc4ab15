"""Control groups of the lab's containers: the runtime leaves the parents of those that it has made."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

from underlay.lab.process import until

ROOT = Path("/sys/fs/cgroup")


def remove(prefix: str) -> None:
    """Removes all whose name begins so, of the one hierarchy or of each, once nothing runs in them."""
    for hierarchy in (ROOT, *ROOT.glob("*/")):
        for found in hierarchy.glob(f"{prefix}*/"):
            for parent, _, _ in os.walk(found, topdown=False):
                until(partial(_is_removed, parent), f"{parent} is still in use")


def _is_removed(group: str) -> bool:
    """A process that has ended is in its group until who waits for it has asked for its end."""
    try:
        os.rmdir(group)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
