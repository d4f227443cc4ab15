"""What a node of the lab has besides its network: processes, mounts, /run and /var/lib of its own.

    lab ─┬─ node1: pid and mount namespace, first process `sh` ── containerd, its shims, containers
         └─ node2: the same

A node ends with its first process, whatever runs there, and nothing of it is left: no process, no mount.
That is also how it is rebooted: what it keeps below /var/lib, and in the lab's state directory, stays.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from underlay.lab import cgroups
from underlay.lab.errors import LabError
from underlay.lab.namespace import Netns, run
from underlay.lab.process import Process

UNSHARE = (
    *("unshare", "--mount", "--pid", "--propagation", "private"),
    *("--fork", "--kill-child", "--mount-proc"),
)
RUN = "/run"
# The lab's directory stays where it was when a new /run comes over it. Without -n mount would note things
# on the machine's /run. `wait` reaps whatever the node's first process inherits.
FIRST_PROCESS = """
set -e
for name in /run/netns/*; do umount -l "$name" || :; done 2>/dev/null  # or they stay as long as the node
mount -n -t overlay -o lowerdir=/var/lib,upperdir={node}/lib/upper,workdir={node}/lib/work lib /var/lib
mount -n --bind /run/{lab} {node}/run/{lab}
mount -n --rbind {node}/run /run
touch /run/ready
sleep infinity & wait
"""


@dataclass(frozen=True)
class Space:
    """A node's; `directory` is the node's in the lab's state directory `state`, which is below /run."""

    netns: Netns
    state: str
    directory: str

    def open(self) -> None:
        """Starts the node's first process."""
        if os.path.dirname(self.state) != RUN:
            raise LabError(f"{self.state}: with containerd, the lab's directory must be in {RUN}")
        lab = os.path.basename(self.state)
        shutil.rmtree(self.run_directory, ignore_errors=True)
        for name in ("lib/upper", "lib/work", "run/lock", "run/netns", f"run/{lab}"):
            os.makedirs(os.path.join(self.directory, name), exist_ok=True)
        cgroups.choose(self.directory, self.netns.name)
        script = FIRST_PROCESS.format(node=shlex.quote(self.directory), lab=shlex.quote(lab))
        with self.netns.entered():
            self.process.start(["sh", "-c", script], UNSHARE)
        ready = Path(self.run_directory, "ready")
        self.process.ready(ready.exists, self.netns.name)

    def close(self) -> None:
        """Ends all that runs in it, as pulling the plug does."""
        self.process.end(signal.SIGKILL)
        cgroups.remove(self.directory)

    @property
    def is_open(self) -> bool:
        return self.process.pid is not None

    @property
    def process(self) -> Process:
        return Process(f"{self.directory}/first.process", f"{self.directory}/first.log")

    @property
    def run_directory(self) -> str:
        """The node's /run, as the rest of the machine sees it: its files, not what is mounted there."""
        return os.path.join(self.directory, "run")

    @property
    def cgroup(self) -> str:
        """Below which the cgroups of its containers are."""
        return f"/{cgroups.name(self.directory)}"

    def entering(self) -> list[str]:
        """A command that runs another one in it, with its streams and exit code."""
        return ["nsenter", "--target", str(self.process.pid), "--mount", "--pid", "--net"]

    def run(self, *argv: str) -> str:
        """The standard output of a command in it."""
        return run(*self.entering(), *argv, where=self.netns.name)

    def path(self, path: str) -> str:
        """How the rest of the machine finds a path of its own, mounts and all."""
        return f"/proc/{self.process.pid}/root{path}"

    def results(self) -> list[Path]:
        """What libcni keeps of the attachments of the node's pods, whether it runs or not."""
        return sorted(Path(self.directory, "lib/upper/cni/results").glob("*"))
