"""Control groups of the lab's containers: the runtime leaves the parents of those that it has made.

They have no namespace that hides those of another lab, whose nodes may have the same names. So the parent
of each node's has a name that nobody else has, which is in a file beside all else of the node.
"""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path
from secrets import token_hex

from underlay.lab.process import until

ROOT = Path("/sys/fs/cgroup")
FILE = "cgroup"


def choose(directory: str, prefix: str) -> None:
    """Chooses the name for the node that has this directory, unless it has one."""
    file = Path(directory, FILE)
    if not file.exists():
        file.write_text(f"{prefix}-{token_hex(8)}")


def name(directory: str) -> str:
    """The name that was chosen."""
    return Path(directory, FILE).read_text()


def remove(directory: str) -> None:
    """Removes those of the node that has this directory, or of all that have theirs in it.

    Nothing may run in them any more.
    """
    for file in (*Path(directory).glob(FILE), *Path(directory).glob(f"*/{FILE}")):
        for hierarchy in (ROOT, *ROOT.glob("*/")):
            for parent, _, _ in os.walk(hierarchy / file.read_text(), topdown=False):
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
