"""`underlay uninstall`: take the plugins off a node."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console

from underlay.cli.options import BinDir, ConfDir, DryRun, HostRoot, State, site_of
from underlay.cli.reporting import reported
from underlay.install.files import Change
from underlay.install.site import BIN_DIR, CONF_DIR
from underlay.install.uninstall import uninstall as uninstall_from
from underlay.install.uninstall import uninstallation
from underlay.log import Log, LogOptions
from underlay.oneshot import STATE, OwnNode

REFUSED = 3  # the exit code where attachments live
ATTACHED = (
    "Nothing was changed: delete these pods first. To insist: --force; with --dry-run it says what stays."
)


def uninstall(
    bin_dir: BinDir = BIN_DIR,
    conf_dir: ConfDir = CONF_DIR,
    host_root: HostRoot = "",
    state: State = STATE,
    dry_run: DryRun = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also while pods are attached: their DEL will fail from then on.")
    ] = False,
) -> None:
    """Take the plugins off this node, and leave it as it was before them.

    Executables, configuration, names, and all that is left over in the kernel; what was kept aside comes
    back. While pods are attached nothing is done, and they are listed (exit code 3): a runtime whose plugin
    is gone leaves them Terminating for ever.

    Example: underlay uninstall --dry-run
    """
    with reported() as console:
        site = site_of(bin_dir, conf_dir, host_root)
        node = OwnNode(os.path.abspath(state))
        what = uninstallation(site, node)
        if what.in_use and not force:
            _say(console, what.in_use, "yellow")
            console.print(ATTACHED, style="bold", soft_wrap=True)
            raise typer.Exit(REFUSED)
        _say(console, what.kept, "yellow")
        _say(console, what.still_called, "yellow")
        if dry_run:
            _say(console, (Change(f"would be {each.what}", each.path, each.why) for each in what.foretold))
            return
        _say(console, uninstall_from(what, site, node, Log(LogOptions(level="error"))))
        if not (what.removals or what.found):
            console.print(f"nothing of ours is in {bin_dir}, nor on this node", soft_wrap=True, markup=False)


def _say(console: Console, changes: Iterable[Change], style: str = "") -> None:
    for change in changes:
        console.print(str(change), soft_wrap=True, markup=False, style=style)
