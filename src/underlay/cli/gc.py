"""`underlay gc`: take away what nobody owns any more."""

from __future__ import annotations

import os

import typer
from rich.console import Console

from underlay.cli.options import BinDir, DryRun, State
from underlay.cli.reporting import reported
from underlay.install.site import BIN_DIR
from underlay.leftovers.clear import Cleared, Clearing
from underlay.leftovers.found import Leftover, leftovers
from underlay.leftovers.look import look
from underlay.log import Log, LogOptions
from underlay.oneshot import STATE, OwnNode


def gc(state: State = STATE, bin_dir: BinDir = BIN_DIR, dry_run: DryRun = False) -> None:
    """Take away what nobody owns any more: what was made for pods that are gone, and what is on no record.

    Only what is provably dead goes; what may be in use is named, and stays. The agent does the same when it
    starts, and every few minutes.

    Example: underlay gc --dry-run
    """
    with reported() as console:
        node = OwnNode(os.path.abspath(state))
        found = leftovers(look(node))
        for leftover in found:
            if dry_run or leftover.doubt:
                _say(console, "left" if leftover.doubt else "would remove", leftover)
        cleared = (
            []
            if dry_run
            else Clearing(node, Log(LogOptions(level="error")), (os.path.abspath(bin_dir),)).clear(found)
        )
        for each in cleared:
            _say_cleared(console, each)
        if not found:
            console.print("nothing is left over")
        if any(each.failures for each in cleared):
            raise typer.Exit(1)


def _say_cleared(console: Console, cleared: Cleared) -> None:
    _say(console, "failed" if cleared.failures else "removed", cleared.leftover)
    for failure in cleared.failures:
        console.print(f"  {failure}", soft_wrap=True, markup=False, style="red")


def _say(console: Console, what: str, leftover: Leftover) -> None:
    console.print(f"{what}: {leftover}", soft_wrap=True, markup=False)
