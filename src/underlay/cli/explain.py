"""`underlay explain` and `underlay diff`: plans as commands with reasons, and against what is there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from underlay.cli.options import State
from underlay.cli.reporting import reported
from underlay.cni.errors import InvalidConfig
from underlay.explain.chain import Question, Step, steps
from underlay.explain.difference import Difference, differences, records_of
from underlay.explain.grouping import command
from underlay.explain.text import commands_text
from underlay.oneshot import STATE, OwnNode

Netns = Annotated[
    str,
    typer.Option(
        "--netns",
        metavar="PATH",
        help="The path of the pod's network namespace.",
        show_default="none",
    ),
]


def explain(
    conflist: Annotated[
        str, typer.Argument(metavar="CONFLIST", help="The file of a network's configuration.")
    ],
    ifname: Annotated[str, typer.Option("--ifname", metavar="NIC", help="The NIC in the pod.")] = "eth0",
    netns: Netns = "",
    prev_result: Annotated[
        str,
        typer.Option(
            "--prev-result",
            metavar="FILE",
            help="What the plugins before ours have answered, as JSON.",
            show_default="none",
        ),
    ] = "",
    args: Annotated[
        str,
        typer.Option("--args", metavar="K=V;…", help="CNI_ARGS, such as a pod's name.", show_default="none"),
    ] = "",
    state: State = STATE,
) -> None:
    """Show what ADD would do on this node, as commands of `ip`, each with its reason. Nothing is changed.

    For a pod that is there (--netns), for what the plugins before ours have answered (--prev-result), or for
    addresses that the configuration could give.

    Example: underlay explain /etc/cni/net.d/10-lan.conflist --ifname net1
    """
    with reported() as console:
        question = Question(
            _json(conflist), ifname, netns, _json(prev_result) if prev_result else None, args
        )
        for number, step in enumerate(steps(question, OwnNode(os.path.abspath(state)))):
            _print_step(step, number, console)


def diff(
    pod: Annotated[
        str,
        typer.Argument(
            metavar="[POD]", help="NAMESPACE/NAME, NAME, or the id of its container.", show_default=False
        ),
    ] = "",
    netns: Netns = "",
    everything: Annotated[bool, typer.Option("--all", help="Show also what is there.")] = False,
    state: State = STATE,
) -> None:
    """Hold what was made for a pod against what is there, as CHECK does.

    A line with − is missing; one with + is in its place. The exit code is 1 where anything differs.

    Example: underlay diff default/web-0
    """
    with reported() as console:
        if not pod and not netns:
            raise InvalidConfig("which pod? Give its name, the id of its container, or --netns")
        node = OwnNode(os.path.abspath(state))
        found = list(differences(records_of(pod, netns, node), node))
        for each in found:
            _print_difference(each, console, everything)
        if any(each.missing for each in found):
            raise typer.Exit(1)


def _json(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except ValueError as error:
        raise InvalidConfig(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise InvalidConfig(f"{path}: this is no JSON object")
    return found


def _width(console: Console) -> int | None:
    """A terminal gets lines that fit, anything else a line for each command."""
    return console.width if console.is_terminal else None


def _print_step(step: Step, number: int, console: Console) -> None:
    if number:
        console.print()
    console.print(Text(step.plugin, "bold"))
    for remark in step.remarks:
        _comment(remark, console)
    for group in step.groups:
        console.print()
        console.print(group.heading, style="cyan", soft_wrap=True)
        for why, objects in group.by_reason:
            _comment(why, console)
            console.print(commands_text(map(command, objects), _width(console)), soft_wrap=True)


def _comment(text: str, console: Console) -> None:
    for line in _wrapped(text, console):
        console.print(Text(f"  # {line}", "dim"), soft_wrap=True)


def _wrapped(text: str, console: Console) -> list[str]:
    from textwrap import wrap

    return wrap(text, console.width - 4) if console.is_terminal else [text]


def _print_difference(found: Difference, console: Console, everything: bool) -> None:
    lost, record = len(found.missing), found.record
    verdict = f"{lost} of {found.total} differ" if lost else f"all {found.total} are there"
    whose = f"{record.ifname} of {record.pod or 'a pod'} in {record.network} ({record.plugin})"
    console.print(Text(f"{whose}: {verdict}", "bold red" if lost else "bold"), soft_wrap=True)
    console.print(Text(f"  container {record.container_id}", "dim"), soft_wrap=True)
    if found.is_gone:
        console.print("  its network namespace is gone: underlay gc", soft_wrap=True)
    for group in found.groups:
        lines = list(_lines(found, group.objects, everything))
        if lines:
            console.print()
            console.print(group.heading, style="cyan", soft_wrap=True)
            for line in lines:
                console.print(line, soft_wrap=True)
    console.print()


def _lines(found: Difference, objects: Any, everything: bool) -> Iterator[Text]:
    for obj in objects:
        if obj in found.missing:
            yield Text(f"− {command(obj)}", "red")
            instead = found.missing[obj]
            if instead:
                yield Text(f"+ {command(instead)}", "green")
        elif everything:
            yield Text(f"  {command(obj)}")
