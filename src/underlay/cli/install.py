"""`underlay install`: put the plugins where a container runtime looks for them."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from underlay.install import install as install_into
from underlay.install import is_built

WITHOUT_SHIM = "the shim was not built (no C compiler?): each call starts Python, and the agent is not asked"


def install(
    bin_dir: Annotated[
        str, typer.Option("--bin-dir", help="The runtime's directory of CNI plugins.")
    ] = "/opt/cni/bin",
) -> None:
    """Put the plugins' executables into a directory, in the place of older ones, also while those run.

    Each hands its calls to the agent (`underlay agent`), and works by itself where none runs.

    Example: underlay install --bin-dir /opt/cni/bin
    """
    console = Console(highlight=False)
    if not is_built():
        console.print(WITHOUT_SHIM, style="yellow", soft_wrap=True)
    try:
        for path in install_into(bin_dir):
            console.print(f"installed {path}", soft_wrap=True)
    except OSError as error:
        problems = Console(stderr=True, highlight=False)
        problems.print(f"[bold red]error:[/] {bin_dir}: {error.strerror}", soft_wrap=True)
        raise typer.Exit(1) from None
