"""`underlay status`: what there is of us on this node, and what is wrong."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from textwrap import wrap
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from underlay.agent.about import About
from underlay.cli.options import BinDir, ConfDir, HostRoot, Socket, State, site_of
from underlay.cli.reporting import reported
from underlay.install.site import BIN_DIR, CONF_DIR
from underlay.oneshot import SOCKET, STATE, OwnNode
from underlay.status.facts import NodeFacts
from underlay.status.findings import Finding, Level, findings
from underlay.status.read import read
from underlay.status.view import age_text, as_json, is_wrong, networks, nics

WIDE = 80  # columns from which there is room for the plugin, which the table of networks has too
MARKS = {Level.WRONG: ("✗", "bold red"), Level.RISK: ("!", "yellow"), Level.UNKNOWN: ("?", "yellow")}


class Output(StrEnum):
    """How it is printed."""

    TABLE = "table"
    JSON = "json"


def status(
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.TABLE,
    bin_dir: BinDir = BIN_DIR,
    conf_dir: ConfDir = CONF_DIR,
    host_root: HostRoot = "",
    state: State = STATE,
    socket: Socket = SOCKET,
) -> None:
    """Show what there is of us on this node: agent, executables, networks, pods, and what is left over.

    Then what is wrong (✗), what may become so (!), and what could not be known (?), each with what to do.
    The exit code is 1 when something is wrong.

    Example: underlay status -o json
    """
    with reported() as console:
        site = site_of(bin_dir, conf_dir, host_root)
        facts = read(OwnNode(os.path.abspath(state)), site, os.path.abspath(socket))
        found = findings(facts)
        if output is Output.JSON:
            print(json.dumps(as_json(facts, found), indent=2))
        else:
            _print(facts, found, console)
        if is_wrong(found):
            raise typer.Exit(1)


def _print(facts: NodeFacts, found: tuple[Finding, ...], console: Console) -> None:
    console.print(_head(facts))
    if facts.attached:
        console.print(_networks(facts))
        console.print(_attachments(facts, console.width))
    else:
        console.print("\nNo pod is attached.")
    console.print()
    for finding in found:
        _print_finding(finding, console)
    if not found:
        console.print("✓ All is well.", style="green")


def _head(facts: NodeFacts) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("agent", _agent(facts))
    installed = facts.installed
    names = [name for name, state in installed.executables.items() if state == "ours"]
    version = installed.version or ("of an unknown version" if names else "nothing")
    grid.add_row("installed", f"{version}, in {installed.bin_dir}: {', '.join(names) or 'none of ours'}")
    return grid


def _agent(facts: NodeFacts) -> str:
    agent = facts.agent
    if not isinstance(agent, About):
        return f"none answers at {facts.socket}"
    return f"{agent.version}, process {agent.pid}, for {age_text(facts.now - agent.since)}, {agent.socket}"


def _networks(facts: NodeFacts) -> Table:
    table = _table("network", "plugin", "pods", "the node there")
    table.columns[2].justify = "right"
    for each in networks(facts):
        table.add_row(each.name, each.plugin, str(each.pods), "\n".join(each.node))
    return table


def _attachments(facts: NodeFacts, width: int) -> Table:
    is_wide = width >= WIDE
    table = _table("pod", "NIC", "network", *(["plugin"] if is_wide else []), "addresses", "age")
    for column in table.columns[1:]:
        column.no_wrap = True  # names of pods are what can be long
    last = ""
    for nic in nics(facts):
        pod = "" if nic.pod == last else nic.pod
        last = nic.pod
        name = Text(nic.ifname) if nic.is_whole else Text(f"{nic.ifname} ✗", "red")
        plugin = [nic.plugin] if is_wide else []
        table.add_row(pod, name, nic.network, *plugin, "\n".join(nic.addresses), age_text(nic.age))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print_finding(finding: Finding, console: Console) -> None:
    mark, style = MARKS[finding.level]
    for number, line in enumerate(_lines(finding.what, console)):
        console.print(Text.assemble((" " if number else mark, style), " ", line), soft_wrap=True)
    for line in _lines(finding.remedy, console):
        console.print(Text(f"  {line}", "dim"), soft_wrap=True)


def _lines(text: str, console: Console) -> list[str]:
    """Wrapped for a terminal; what a program reads has a line for each."""
    return wrap(text, console.width - 2) if console.is_terminal else [text]
