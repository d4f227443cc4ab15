"""Brings a node in line with what has to be there, and says what that took. Again and again: nothing more.

The order is that of need: names, the file that leads to Python, executables, the kubeconfig, and last the
configuration, by which a runtime begins to call. `uninstall` goes the other way round.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import field

import underlay
from underlay.install import names
from underlay.install.conflist import Network, conflist_file, refuse_missing_plugins, rivals
from underlay.install.executables import SHIM, executables, is_ours, shims
from underlay.install.files import ASIDE, Change, File, Found, found_at, keep_aside, make_directories, put
from underlay.install.kubeconfig import kubeconfig_file
from underlay.install.manifest import Manifest, read_manifest
from underlay.install.site import Site
from underlay.install.verify import verify
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants on a node. `kubeconfig` is the node's path for one, "" for none; `env` is where
    the address of the Kubernetes API is."""

    site: Site = field(default_factory=Site)
    network: Network | None = None
    kubeconfig: str = ""
    shim: str = SHIM
    env: Mapping[str, str] = field(default_factory=dict)


def wanted(wish: Wish) -> tuple[File, ...]:
    """All files, in the order in which they are put. InstallError where one can't be made."""
    site = wish.site
    others = names.texts_of_others(site.at(path) for path in (site.names_dir, *names.OF_IPROUTE2))
    made = list(names.names_files(site.names_dir, others))
    made += shims(site.bin_dir, wish.shim) if site.root else executables(site.bin_dir, wish.shim)
    if wish.kubeconfig:
        made.append(kubeconfig_file(wish.kubeconfig, wish.env))
    if wish.network:
        made.append(conflist_file(wish.network, site.conf_dir))
    return tuple(made)


def install(wish: Wish) -> list[Change]:
    """Makes it so; what was done, and what is in the way. InstallError or OSError where it can't be."""
    site, files = wish.site, wanted(wish)
    if wish.network:
        ours = {os.path.basename(file.path) for file in files}
        refuse_missing_plugins(wish.network, ours | _executables_in(site), site.bin_dir)
    before = read_manifest(site) or Manifest("")
    todo = [file for file in files if not _is_there(file, site)]
    made = [path for file in todo for path in make_directories(site.at(os.path.dirname(file.path)))]
    made = [path.removeprefix(site.root) for path in made]
    # Known for ours before it is there: whoever comes after a crash finds nothing strange.
    directories = (*before.directories, *made)
    manifest = Manifest(before.version, before.files, directories)
    _write(manifest.with_files(todo), site)
    changes = [change for file in todo for change in _placed(file, before, site)]
    changes += _without_stale(files, before, site)
    _write(Manifest(underlay.__version__, {}, directories).with_files(files), site)
    return [*changes, *(in_the_way(site) if wish.network else ())]


def _is_there(file: File, site: Site) -> bool:
    found = found_at(site.at(file.path))
    return found is not None and found.is_as(file)


def in_the_way(site: Site) -> Iterator[Change]:
    """What keeps our configuration from being the one that a runtime takes."""
    try:
        inside = os.listdir(site.at(site.conf_dir))
    except FileNotFoundError:
        return
    yield from rivals(inside, site.conf_dir)


def _placed(file: File, manifest: Manifest, site: Site) -> Iterator[Change]:
    at = site.at(file.path)
    found = found_at(at)
    is_foreign = found is not None and not belongs_to_us(file.path, found, manifest)

    def check(beside: str) -> None:
        if file.mode & 0o111:
            verify(file, beside, alone=bool(site.root))
        if is_foreign:
            keep_aside(at)

    put(file, at, check)
    if is_foreign:
        yield Change("kept aside", file.path + ASIDE, "it is not ours; uninstall brings it back")
    yield Change("replaced" if found else "installed", file.path)


def belongs_to_us(path: str, found: Found, manifest: Manifest) -> bool:
    """By its content: as an installation has written it, or marked as ours whatever the version."""
    return manifest.knows(path, found) or is_ours(found.content)


def _without_stale(files: tuple[File, ...], before: Manifest, site: Site) -> Iterator[Change]:
    """Removes what an earlier installation has put there, and this one does not want."""
    for path in before.files.keys() - {file.path for file in files}:
        found = found_at(site.at(path))
        if found and belongs_to_us(path, found, before):
            os.unlink(site.at(path))
            yield Change("removed", path, "it is not wanted any more")


def _write(manifest: Manifest, site: Site) -> None:
    file = manifest.encoded(site.bin_dir)
    at = site.at(file.path)
    found = found_at(at)
    if not (found and found.is_as(file)):
        make_directories(os.path.dirname(at))
        put(file, at)


def _executables_in(site: Site) -> set[str]:
    try:
        inside = os.listdir(site.at(site.bin_dir))
    except FileNotFoundError:
        return set()
    return {name for name in inside if os.access(site.at(os.path.join(site.bin_dir, name)), os.X_OK)}
