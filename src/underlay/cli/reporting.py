"""How a command speaks: what it did on standard output, what is wrong as one line on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from underlay.cni.errors import CniError
from underlay.install.errors import InstallError


@contextmanager
def reported() -> Iterator[Console]:
    """A console for the body, and errors in words instead of a traceback."""
    try:
        yield Console(highlight=False)
    except (InstallError, CniError, OSError) as error:
        problems = Console(stderr=True, highlight=False)
        problems.print("[bold red]error:[/] ", end="")
        problems.print(_words(error), soft_wrap=True, markup=False)
        raise typer.Exit(1) from None


def _words(error: Exception) -> str:
    if isinstance(error, CniError) and error.details:
        return f"{error.msg} ({error.details})"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
