"""The command `underlay` and its sub-commands."""

from __future__ import annotations

import typer

from underlay.cli import lab
from underlay.cli.agent import agent
from underlay.cli.explain import diff, explain
from underlay.cli.gc import gc
from underlay.cli.install import install
from underlay.cli.status import status
from underlay.cli.uninstall import uninstall

app = typer.Typer(
    help="CNI plugins that let macvlan and SR-IOV pods reach their node, services and the overlay.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(install)
app.command()(uninstall)
app.command()(status)
app.command()(gc)
app.command()(explain)
app.command()(diff)
app.command()(agent)
app.add_typer(lab.app, name="lab")


def main() -> None:
    """The entry point of the command."""
    app()
