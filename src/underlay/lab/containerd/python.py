"""Our own program in a container: it has no Python, so it sees the node's, and what that is linked to."""

from __future__ import annotations

import os
import sys

from underlay.install.executables import PACKAGE
from underlay.lab.containerd.cri import Mount

SYSTEM = ("/usr", "/lib", "/lib64")
BEGIN = """
import sys
sys.path.insert(0, sys.argv[1])
from underlay.lab.inside import main
main(sys.argv[2])
"""


def mounts() -> list[Mount]:
    """What the container has to see."""
    package = os.path.dirname(PACKAGE)
    system = [Mount(os.path.realpath(path), path) for path in SYSTEM if os.path.isdir(path)]
    own = {os.path.realpath(path): path for path in (sys.base_prefix, package) if path not in SYSTEM}
    return [*system, *(Mount(source, target) for source, target in own.items())]


def command() -> list[str]:
    """What runs `lab.inside` there; its task is the next argument."""
    return [os.path.realpath(sys.executable), "-IS", "-c", BEGIN, os.path.dirname(PACKAGE)]
