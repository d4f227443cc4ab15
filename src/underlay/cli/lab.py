"""`underlay lab`: a cluster on this machine, to see the plugins at work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from underlay.lab import demo as actions
from underlay.lab.errors import LabError
from underlay.lab.lab import Lab
from underlay.lab.scenario import named
from underlay.lab.scenarios import DEFAULT, SCENARIOS

INTERRUPTED = 130  # what shells report after Ctrl-C
NAMES = ", ".join(each.name for each in SCENARIOS)
VARIANTS = ", ".join(dict.fromkeys(variant.name for each in SCENARIOS for variant in each.variants))

app = typer.Typer(
    help="A cluster on this machine, in network namespaces: two nodes, an overlay, services, LANs, pods.",
    no_args_is_help=True,
)


@app.command()
def up(
    scenario: Annotated[
        str, typer.Option("--scenario", metavar="NAME", help=f"What to put on it: {NAMES}.")
    ] = DEFAULT.name,
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant", metavar="NAME", help=f"How to make its pods: {VARIANTS}.", show_default=False
        ),
    ] = None,
) -> None:
    """Build the cluster and leave it up.

    Example: underlay lab up && ip netns exec ulab-pod1 ping 192.168.10.11
    """
    with reported() as console:
        chosen = named(scenario, SCENARIOS)
        actions.up(
            Lab(), chosen, chosen.variants[-1] if variant is None else chosen.variant(variant), console
        )
        console.print("`underlay lab test` tests it, `underlay lab down` takes it down.")


@app.command()
def status() -> None:
    """List the machines of the lab that is up, with their addresses.

    Example: underlay lab status
    """
    with reported() as console:
        actions.show(Lab(), console)


@app.command()
def test() -> None:
    """Test every way in the lab that is up; exit 1 when one is not as it must be.

    Example: underlay lab test
    """
    with reported() as console:
        if not actions.test(Lab(), console):
            raise typer.Exit(1)


@app.command()
def down() -> None:
    """Take the lab down, also one that was left behind by a crash.

    Example: underlay lab down
    """
    with reported() as console:
        removed = Lab().down()
        console.print(f"{len(removed)} namespaces are removed." if removed else "No lab was up.")


@app.command()
def demo(
    scenario: Annotated[
        str | None,
        typer.Option("--scenario", metavar="NAME", help=f"One instead of all: {NAMES}.", show_default=False),
    ] = None,
) -> None:
    """Show what pods reach in each variant of a scenario, and what our plugin changed; take all down.

    Example: underlay lab demo --scenario overlay
    """
    with reported() as console:
        scenarios = SCENARIOS if scenario is None else (named(scenario, SCENARIOS),)
        if not actions.demo(Lab(), scenarios, console):
            raise typer.Exit(1)


@contextmanager
def reported() -> Iterator[Console]:
    """A console for the body, and errors in words instead of a traceback."""
    problems = Console(stderr=True, highlight=False)
    try:
        if os.geteuid():
            raise LabError("the lab makes network namespaces, and that takes root: try it with sudo")
        yield Console(highlight=False)
    except KeyboardInterrupt:
        problems.print("Interrupted.")
        raise typer.Exit(INTERRUPTED) from None
    except (LabError, OSError) as error:
        problems.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None
