"""Keeps an installation as it has to be: other installers, Cilium and people remove what they do not know.

Each look is one `install`, which changes nothing where all is well; one line of JSON says each change. A
look is due when a directory has changed, and in any case after a while. Between two looks there is a
second at least: two installers that each want a place of their own must not keep a node busy.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

from underlay.install.errors import InstallError
from underlay.install.files import Change
from underlay.install.inotify import Inotify
from underlay.install.installing import Wish, install
from underlay.install.kubeconfig import SERVICE_ACCOUNT
from underlay.install.names import NAMES
from underlay.log import Log
from underlay.signals import Signals

PERIOD = 60.0  # seconds after which a look is due whatever has happened
BREATH = 1.0  # seconds between two looks
REPAIRED = {"installed": "it was removed", "replaced": "it was changed"}


def watch(wish: Wish, log: Log, period: float = PERIOD) -> None:
    """Installs, and repairs until a signal ends it. InstallError where it can't be installed at first."""
    signals, changes = Signals(), Inotify()
    try:
        said = _say(install(wish), frozenset(), log)
        log.event("installed-whole", bin_dir=wish.site.bin_dir)
        while not _ended(signals, changes, period, is_new=changes.watch(_directories(wish))):
            changes.drain()
            said = _say(_repairs(wish), said, log)
    finally:
        changes.close()


def _ended(signals: Signals, changes: Inotify, period: float, *, is_new: bool) -> bool:
    """Waits for a signal that ends it, or for something to look at; what is watched only now may have
    changed before."""
    if signals.wait(BREATH):
        return True
    waiting = select.poll()
    waiting.register(signals, select.POLLIN)
    if changes.fileno() >= 0:
        waiting.register(changes, select.POLLIN)
    waiting.poll(0 if is_new else period * 1000)
    return signals.wait(0)


def _directories(wish: Wish) -> Iterator[str]:
    """Where files are put, and where the token is: a rotated one is another link in its directory."""
    site = wish.site
    names = (os.path.join(site.names_dir, f"{kind}.d") for kind in NAMES)
    for directory in (site.bin_dir, site.conf_dir, *names, os.path.dirname(wish.kubeconfig)):
        if directory:
            yield site.at(f"{directory}/.")
    if wish.kubeconfig:
        yield SERVICE_ACCOUNT


def _repairs(wish: Wish) -> list[Change]:
    """What was repaired, or why that could not be: whoever is stronger now need not be so in a while."""
    try:
        done = install(wish)
    except (InstallError, OSError) as error:
        return [Change("failed", wish.site.bin_dir, str(error))]
    return [
        Change("repaired", change.path, REPAIRED[change.what]) if change.what in REPAIRED else change
        for change in done
    ]


def _say(found: list[Change], said: frozenset[Change], log: Log) -> frozenset[Change]:
    """One line for each; what is in the way, and stays there, is said once."""
    for change in found:
        if change not in said or change.what == "repaired":
            level = "info" if change.what in ("installed", "replaced", "removed") else "warning"
            log.event(change.what.replace(" ", "-"), level, path=change.path, why=change.why)
    return frozenset(found)
