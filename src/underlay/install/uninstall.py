"""Takes off what was installed, and leaves the node as it was: files, then names, then directories.

A runtime whose plugin is gone can't delete its pods: they are Terminating for ever. So nothing is begun
while an attachment lives, unless somebody insists; then each is named, with what it keeps.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from underlay.cni.several.record import Delegation
from underlay.install import conflist
from underlay.install.executables import PYTHON_FILE
from underlay.install.files import ASIDE, Change, found_at
from underlay.install.installing import belongs_to_us
from underlay.install.manifest import FILE as MANIFEST
from underlay.install.manifest import Manifest, read_manifest
from underlay.install.site import Site
from underlay.leftovers.clear import Clearing
from underlay.leftovers.found import Dead, Leftover, leftovers
from underlay.leftovers.look import look
from underlay.log import Log
from underlay.objects import HOST
from underlay.oneshot import HostNode
from underlay.plugins import PLUGINS
from underlay.record import Record
from underlay.values import dataclass

CHANGED = ".changed"  # the ending of a configuration that somebody has changed: a runtime reads it no more
NOT_AS_WRITTEN = "somebody has changed it since it was installed"


@dataclass(frozen=True, slots=True)
class Removal:
    """What becomes of one path: `to` is its new name, "" for none. `is_left` where it stays as it is."""

    path: str
    why: str = ""
    to: str = ""
    came_from: str = ""
    is_left: bool = False

    @property
    def change(self) -> Change:
        if self.is_left:
            return Change("left", self.path, self.why)
        if self.came_from:
            return Change("brought back", self.path, f"it was kept as {os.path.basename(self.came_from)}")
        if self.to:
            return Change("moved aside", self.path, f"{self.why}; it is {os.path.basename(self.to)} now")
        return Change("removed", self.path)


@dataclass(frozen=True, slots=True)
class Uninstallation:
    """All that it would be, decided before anything is done. `attached` are the attachments whose pods are
    there as far as anybody can say, `doubtful` what may be in use. `still_called` are configurations of
    others that name what goes."""

    removals: tuple[Removal, ...]
    directories: tuple[str, ...]
    found: tuple[Leftover, ...]
    attached: tuple[Record | Delegation, ...]
    still_called: tuple[Change, ...]

    @property
    def doubtful(self) -> tuple[Leftover, ...]:
        return tuple(each for each in self.found if each.doubt and not isinstance(each.thing, Dead))

    @property
    def in_use(self) -> tuple[Change, ...]:
        """What keeps it from being done."""
        attached = (Change("attached", str(record), _made_for(record)) for record in self.attached)
        return (
            *attached,
            *(Change("perhaps in use", str(each.thing), each.doubt) for each in self.doubtful),
        )

    @property
    def kept(self) -> tuple[Change, ...]:
        """What pods keep if it is done all the same."""
        why = "its DEL will fail, and it is Terminating until the plugins are there again"
        attached = (Change("kept", str(record), f"{_made_for(record)}; {why}") for record in self.attached)
        return (*attached, *(Change("kept", str(each.thing), each.doubt) for each in self.doubtful))

    @property
    def foretold(self) -> tuple[Change, ...]:
        """What would be done."""
        dead = tuple(each for each in self.found if not each.doubt)
        return (
            *(each.change for each in self.removals),
            *(Change("removed", str(each.thing), each.why) for each in dead),
        )


def uninstallation(site: Site, node: HostNode) -> Uninstallation:
    """Looks at a node, and decides."""
    seen = look(node)
    found = leftovers(seen)
    dead = {each.thing.record.owner for each in found if isinstance(each.thing, Dead) and not each.doubt}
    manifest = read_manifest(site)
    todo = _removals(site, manifest or Manifest(""))
    return Uninstallation(
        removals=todo,
        directories=tuple(reversed(manifest.directories)) if manifest else (),
        found=found,
        attached=tuple(each for each in seen.attachments if each.owner not in dead),
        still_called=tuple(_still_called(site, todo)),
    )


def uninstall(what: Uninstallation, site: Site, node: HostNode, log: Log) -> Iterator[Change]:
    """Does it, the configuration first: from then on a runtime calls us no more. What pods use stays."""
    for removal in what.removals:
        _take_off(removal, site)
        yield removal.change
    for cleared in Clearing(node, log, (site.at(site.bin_dir),)).clear(what.found):
        why = "; ".join(cleared.failures)
        thing = cleared.leftover
        yield Change("failed to remove" if why else "removed", str(thing.thing), why or thing.why)
    yield from _remove_empty(what.directories, site)


def _made_for(record: Record | Delegation) -> str:
    if isinstance(record, Delegation):
        return f"{record.plugin} made its NICs by other plugins"
    made = sum(obj.ns == HOST for obj in record.plan.objects) + len(record.claims)
    return f"{record.plugin} made {made} things for it on the node"


def _removals(site: Site, manifest: Manifest) -> tuple[Removal, ...]:
    own = [os.path.join(site.bin_dir, name) for name in (*PLUGINS, PYTHON_FILE)]
    paths = dict.fromkeys((*reversed(manifest.files), *own))
    files = [removal for path in paths if (removal := _removal(path, manifest, site))]
    record = os.path.join(site.bin_dir, MANIFEST)
    return (*files, *([Removal(record)] if found_at(site.at(record)) else ()))


def _removal(path: str, manifest: Manifest, site: Site) -> Removal | None:
    found = found_at(site.at(path))
    if found is None or belongs_to_us(path, found, manifest):
        if os.path.lexists(site.at(path + ASIDE)):
            return Removal(path, came_from=path + ASIDE)
        return Removal(path) if found else None
    if path not in manifest.files:
        return None  # never ours: somebody else has a plugin of that name
    if os.path.dirname(path) == site.conf_dir and path.endswith(conflist.ENDINGS):
        return Removal(path, NOT_AS_WRITTEN, to=path + CHANGED)
    return Removal(path, NOT_AS_WRITTEN, is_left=True)


def _take_off(removal: Removal, site: Site) -> None:
    """Does it; what is gone already is done."""
    at = site.at(removal.path)
    if removal.is_left:
        return
    if removal.came_from:
        os.rename(site.at(removal.came_from), at)
    elif removal.to:
        os.rename(at, site.at(removal.to))
    elif os.path.lexists(at):
        os.unlink(at)


def _remove_empty(directories: Iterable[str], site: Site) -> Iterator[Change]:
    """Removes those of the directories that nothing is in any more."""
    for directory in directories:
        try:
            os.rmdir(site.at(directory))
        except OSError:
            continue  # somebody else has put something there, or it is gone
        yield Change("removed", directory)


def _still_called(site: Site, removed: Iterable[Removal]) -> Iterator[Change]:
    """Configurations of others that name a plugin that is about to go."""
    going = {os.path.basename(each.path) for each in removed if not (each.came_from or each.is_left)}
    ours = {each.path for each in removed}
    try:
        names = sorted(os.listdir(site.at(site.conf_dir)))
    except FileNotFoundError:
        return
    for name in names:
        path = os.path.join(site.conf_dir, name)
        found = found_at(site.at(path)) if name.endswith(conflist.ENDINGS) and path not in ours else None
        types = conflist.types_in(found.content.decode(errors="replace")) if found else ()
        if missing := [type_ for type_ in types if type_ in going]:
            yield Change("still configured", path, f"it names {', '.join(missing)}")
