"""Where things are on a node: as the node itself names them, and where this process finds them."""

from __future__ import annotations

import errno
import os

from underlay.values import dataclass

BIN_DIR = "/opt/cni/bin"
CONF_DIR = "/etc/cni/net.d"
NAMES_DIR = "/etc/iproute2"
MOST_LINKS = 40  # as the kernel follows


@dataclass(frozen=True, slots=True)
class Site:
    """The directories of a node, as absolute paths that the node knows them by.

    `root` is where this process finds the node's root directory, "" where it has the same: in a container
    that is a directory of the node that is mounted there, and what is written into files stays the node's.
    """

    bin_dir: str = BIN_DIR
    conf_dir: str = CONF_DIR
    names_dir: str = NAMES_DIR
    root: str = ""

    def at(self, path: str) -> str:
        """Where this process finds what the node calls `path`; a link at its end is not followed."""
        if not self.root:
            return path
        directory, name = os.path.split(path)
        return os.path.join(_inside(self.root, directory), name)


def _inside(root: str, path: str) -> str:
    """`path` below `root`, as chroot(2) has it: an absolute link starts at the node's root, not at ours."""
    done, links = "/", 0
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    while todo:
        part = todo.pop()
        if part == "..":
            done = os.path.dirname(done)
            continue
        place = os.path.join(done, part)
        try:
            target = os.readlink(root + place)
        except OSError:  # no link, or not there yet
            done = place
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        done = "/" if target.startswith("/") else done
        todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return root + done.rstrip("/")
