"""The agent's own look for what nobody owns any more: at its start, and every few minutes.

Multus forwards no GC to its networks, and many a runtime sends none. One thread, which sleeps between two
rounds; a node where all is well costs a round a glance at its records.
"""

from __future__ import annotations

import os
import threading

from underlay import netns
from underlay.agent.calls import Meter
from underlay.agent.hosts import Hosts
from underlay.leftovers.clear import Cleared, Clearing
from underlay.leftovers.found import Dead, leftovers
from underlay.leftovers.look import look
from underlay.log import Log
from underlay.oneshot import HostNode


class Rounds:
    """Over the agent's own node, and over those whose calls it answers."""

    def __init__(self, hosts: Hosts, state: str, bin_dir: str, log: Log, meter: Meter | None) -> None:
        self._hosts = hosts
        self._state = state
        self._path = (bin_dir,)
        self._log = log
        self._meter = meter
        self._never = threading.Event()

    def start(self, seconds: float) -> None:
        """Begins with a round, in a thread that ends with the process."""
        threading.Thread(target=self._run, args=(seconds,), daemon=True).start()

    def _run(self, seconds: float) -> None:
        while True:
            self.go()
            self._never.wait(seconds)

    def go(self) -> None:
        """One round. What goes wrong on a node is logged, and keeps none of the others."""
        descriptors = [os.open(netns.OWN, os.O_RDONLY | os.O_CLOEXEC), *self._hosts.descriptors()]
        done: set[int] = set()
        for fd in descriptors:
            try:
                inode = os.fstat(fd).st_ino
                if inode not in done:
                    done.add(inode)
                    self._look_at(HostNode(fd, self._state))
            except Exception as error:  # noqa: BLE001  the edge of a thread: the next round may do better
                self._log.event("gc-failed", "error", msg=str(error) or repr(error))
            finally:
                os.close(fd)

    def _look_at(self, node: HostNode) -> None:
        for cleared in Clearing(node, self._log, self._path).clear(leftovers(look(node))):
            self._report(cleared)

    def _report(self, cleared: Cleared) -> None:
        leftover = cleared.leftover
        if cleared.failures:
            self._log.event("gc-failed", "error", what=str(leftover.thing), msg="; ".join(cleared.failures))
            return
        self._log.event("gc", what=str(leftover.thing), why=leftover.why)
        if self._meter and isinstance(leftover.thing, Dead):
            self._meter.collected(leftover.thing.record.plugin)
