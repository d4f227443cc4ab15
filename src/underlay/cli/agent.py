"""`underlay agent`: answer the calls of the installed plugins."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape


def agent(
    socket: Annotated[
        str, typer.Option("--socket", envvar="UNDERLAY_SOCKET", metavar="PATH", help="Where to listen.")
    ] = "/run/underlay/agent.sock",
    state: Annotated[
        str, typer.Option("--state", envvar="UNDERLAY_STATE", metavar="DIR", help="Where the records are.")
    ] = "/run/underlay",
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=4096, metavar="N", help="How many calls may run at once.")
    ] = 256,
    metrics: Annotated[
        str,
        typer.Option(
            "--metrics", metavar="ADDR:PORT", help="A loopback address for metrics.", show_default="off"
        ),
    ] = "",
    metrics_on: Annotated[
        str,
        typer.Option(
            "--metrics-on",
            metavar="ADDR:PORT",
            help="Another address for them, which other machines reach.",
            show_default="off",
        ),
    ] = "",
    host_root: Annotated[
        str,
        typer.Option(
            "--host-root",
            metavar="DIR",
            help="In a container: where the node's root directory is.",
            show_default="our own",
        ),
    ] = "",
) -> None:
    """Answer the calls of the installed plugins, several times faster than they can alone.

    Example: underlay agent --metrics 127.0.0.1:9977
    """
    from underlay.agent.errors import AgentError
    from underlay.agent.service import Options, serve

    try:
        root = os.path.abspath(host_root).rstrip("/") if host_root else ""
        options = Options(
            os.path.abspath(socket), os.path.abspath(state), threads, metrics, root, metrics_on=metrics_on
        )
        unfinished = serve(options)
    except (AgentError, OSError) as error:
        problems = Console(stderr=True, highlight=False)
        problems.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None
    if unfinished:
        os._exit(1)  # their threads still run: to tear the interpreter down under them could crash it
