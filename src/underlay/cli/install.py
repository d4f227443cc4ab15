"""`underlay install`: put the plugins where a container runtime looks for them."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.console import Console

from underlay.cli.options import BinDir, ConfDir, HostRoot, NamesDir, site_of
from underlay.cli.reporting import reported
from underlay.install import conflist, is_built
from underlay.install.conflist import Network, network_of, several_nics
from underlay.install.errors import InstallError
from underlay.install.installing import Wish
from underlay.install.installing import install as install_on
from underlay.install.site import BIN_DIR, CONF_DIR, NAMES_DIR

WITHOUT_SHIM = "the shim was not built (no C compiler?): each call starts Python, and the agent is not asked"


def install(
    bin_dir: BinDir = BIN_DIR,
    conf_dir: ConfDir = CONF_DIR,
    names_dir: NamesDir = NAMES_DIR,
    host_root: HostRoot = "",
    network: Annotated[
        str,
        typer.Option(
            "--network",
            metavar="FILE",
            help=f"A conflist to put before all others, as {conflist.FILE}. The word `{conflist.DEFAULT}`:"
            " several NICs for pods that ask for them, beside the network that there is.",
            show_default="none",
        ),
    ] = "",
    kubeconfig: Annotated[
        str,
        typer.Option(
            "--kubeconfig",
            metavar="PATH",
            help="In a pod: write a kubeconfig there, with the token of the pod's service account.",
            show_default="none",
        ),
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, repair what others change, and renew the token.")
    ] = False,
) -> None:
    """Put the plugins on this node, in the place of older ones, also while those run.

    Each executable is asked for VERSION before it gets into its place; one of the same name that is not ours
    is kept aside. What others have configured is left alone. To do it again changes nothing.

    Example: underlay install --network default
    """
    with reported() as console:
        site = site_of(bin_dir, conf_dir, host_root, names_dir)
        path = os.path.abspath(kubeconfig) if kubeconfig else ""
        wish = Wish(site, _network(network, path), path, env=os.environ)
        if not is_built() and not host_root:
            console.print(WITHOUT_SHIM, style="yellow", soft_wrap=True)
        if watch:
            _watch(wish)
        else:
            _install(wish, console)


def _install(wish: Wish, console: Console) -> None:
    changes = install_on(wish)
    for change in changes:
        console.print(str(change), soft_wrap=True, markup=False)
    if not changes:
        console.print(f"everything is in place in {wish.site.bin_dir}", soft_wrap=True, markup=False)


def _watch(wish: Wish) -> None:
    from underlay.install.watch import watch
    from underlay.log import Log, LogOptions

    watch(wish, Log(LogOptions()))


def _network(network: str, kubeconfig: str) -> Network | None:
    if network in ("", conflist.DEFAULT):
        return several_nics(kubeconfig) if network else None
    try:
        with open(network, encoding="utf-8") as file:
            return network_of(file.read(), network)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InstallError(f"--network {network}: {why}") from error
