"""`underlay lab`: a cluster on this machine, to see the plugins at work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from underlay.lab import demo as actions
from underlay.lab.errors import LabError
from underlay.lab.lab import Lab
from underlay.lab.runs import SHORT, Run, annotations_of
from underlay.lab.scenario import named
from underlay.lab.scenarios import DEFAULT, SCENARIOS
from underlay.lab.setup import ANSWERS, PROCESS, RUNTIMES, STAND_IN, Setup

INTERRUPTED = 130  # what shells report after Ctrl-C
NAMES = ", ".join(each.name for each in SCENARIOS)
VARIANTS = ", ".join(dict.fromkeys(variant.name for each in SCENARIOS for variant in each.variants))

app = typer.Typer(
    help="A cluster on this machine, in network namespaces: two nodes, an overlay, services, LANs, pods.",
    no_args_is_help=True,
)


Runtime = Annotated[
    str, typer.Option("--runtime", metavar="NAME", help=f"What starts the pods: {', '.join(RUNTIMES)}.")
]
Answer = Annotated[
    str,
    typer.Option("--answer", metavar="WHO", help=f"Who answers plugins' calls: {', '.join(ANSWERS)}."),
]


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
    runtime: Runtime = STAND_IN,
    answer: Answer = PROCESS,
) -> None:
    """Build the cluster and leave it up.

    Example: underlay lab up && ip netns exec ulab-pod1 ping 192.168.10.11
    """
    with reported() as console:
        chosen = named(scenario, SCENARIOS)
        made = chosen.variants[-1] if variant is None else chosen.variant(variant)
        actions.up(Lab(), chosen, made, Setup(runtime, answer), console)
        console.print(
            "`underlay lab test` tests it, `underlay lab run` starts a pod of yours in networks that you"
            " choose, `underlay lab down` takes all down."
        )


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the pod: its namespace is ulab-NAME.")],
    annotate: Annotated[
        list[str],
        typer.Option(
            "--annotate",
            metavar="KEY=VALUE",
            help=f"An annotation; {' and '.join(SHORT)} will do as keys.",
            show_default=False,
        ),
    ] = [],  # noqa: B006  # typer copies it
    node: Annotated[str, typer.Option("--node", metavar="NAME", help="Where to start it.")] = "node1",
) -> None:
    """Start a pod in networks of its own choice, on the lab that is up.

    `underlay lab status` lists the networks. Each is a file in /run/underlay-lab/networks, yours to change.

    Example: underlay lab run --annotate networks=lan-a-router,blue-beside try1
    """
    with reported() as console:
        actions.run(Lab(), Run(name, node, annotations_of(annotate)), console)


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A pod, or another machine of the lab.")],
    command: Annotated[list[str], typer.Argument(metavar="CMD...", help="What to run there.")],
) -> None:
    """Run a command in a pod's container, or where there is none in its network namespace.

    Example: underlay lab exec try1 -- ping -c1 192.168.10.11
    """
    with reported():
        is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        argv = [*actions.entering(Lab(), name, ("--tty",) if is_terminal else ()), *command]
        os.execvp(argv[0], argv)  # noqa: S606  # a shell is what the person may ask for


@app.command("rm")
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A pod that `underlay lab run` has started.")],
) -> None:
    """End a pod that was started by name.

    Example: underlay lab rm try1
    """
    with reported() as console:
        actions.remove(Lab(), name)
        console.print(f"{name} is removed.")


@app.command()
def status() -> None:
    """List the machines of the lab that is up, with their addresses, and the networks for new pods.

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
    answer: Answer = PROCESS,
) -> None:
    """Show what pods reach in each variant of a scenario, and what our plugin changed; take all down.

    Example: underlay lab demo --scenario overlay
    """
    with reported() as console:
        scenarios = SCENARIOS if scenario is None else (named(scenario, SCENARIOS),)
        if not actions.demo(Lab(), scenarios, Setup(answer=answer), console):
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
