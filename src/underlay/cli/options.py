"""Options that several commands have."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from underlay.install.errors import InstallError
from underlay.install.site import NAMES_DIR, Site

BinDir = Annotated[
    str, typer.Option("--bin-dir", metavar="DIR", help="The runtime's directory of CNI plugins.")
]
ConfDir = Annotated[
    str, typer.Option("--conf-dir", metavar="DIR", help="The runtime's directory of network configurations.")
]
NamesDir = Annotated[
    str, typer.Option("--names-dir", metavar="DIR", help="Where `ip` reads names of protocols and tables.")
]
HostRoot = Annotated[
    str,
    typer.Option(
        "--host-root",
        metavar="DIR",
        help="In a container: where the node's root directory is mounted. All other paths are the node's.",
        show_default="none",
    ),
]
State = Annotated[
    str, typer.Option("--state", envvar="UNDERLAY_STATE", metavar="DIR", help="Where the records are.")
]
Socket = Annotated[
    str, typer.Option("--socket", envvar="UNDERLAY_SOCKET", metavar="PATH", help="Where the agent listens.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def site_of(bin_dir: str, conf_dir: str, host_root: str, names_dir: str = NAMES_DIR) -> Site:
    """InstallError where a path can't be the node's."""
    if not host_root:
        return Site(os.path.abspath(bin_dir), os.path.abspath(conf_dir), os.path.abspath(names_dir))
    for path in (bin_dir, conf_dir, names_dir):
        if not path.startswith("/"):
            raise InstallError(f"{path} is not absolute: with --host-root all other paths are the node's")
    if not os.path.isdir(host_root):
        raise InstallError(f"--host-root {host_root} is no directory: mount the node's / there")
    root = os.path.abspath(host_root).rstrip("/")
    return Site(os.path.normpath(bin_dir), os.path.normpath(conf_dir), os.path.normpath(names_dir), root)
