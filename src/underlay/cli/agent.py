"""`underlay agent`: answer the calls of the installed plugins."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from underlay.cli.options import BinDir, Socket, State
from underlay.install.site import BIN_DIR
from underlay.oneshot import SOCKET, STATE

Metrics = Annotated[
    str,
    typer.Option(
        "--metrics", metavar="ADDR:PORT", help="A loopback address for metrics.", show_default="off"
    ),
]
MetricsOn = Annotated[
    str,
    typer.Option(
        "--metrics-on",
        metavar="ADDR:PORT",
        help="Another address for them, which other machines reach.",
        show_default="off",
    ),
]


def agent(
    socket: Socket = SOCKET,
    state: State = STATE,
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=4096, metavar="N", help="How many calls may run at once.")
    ] = 256,
    bin_dir: BinDir = BIN_DIR,
    gc_seconds: Annotated[
        int,
        typer.Option(
            "--gc-seconds",
            min=0,
            metavar="SECONDS",
            help="How often to look for what nobody owns any more, as `underlay gc` does; 0: never.",
        ),
    ] = 300,
    metrics: Metrics = "",
    metrics_on: MetricsOn = "",
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
        options = Options(
            socket=os.path.abspath(socket),
            state=os.path.abspath(state),
            threads=threads,
            metrics=metrics,
            host_root=os.path.abspath(host_root).rstrip("/") if host_root else "",
            gc_seconds=gc_seconds,
            bin_dir=os.path.abspath(bin_dir),
            metrics_on=metrics_on,
        )
        unfinished = serve(options)
    except (AgentError, OSError) as error:
        problems = Console(stderr=True, highlight=False)
        problems.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None
    if unfinished:
        os._exit(1)  # their threads still run: to tear the interpreter down under them could crash it
