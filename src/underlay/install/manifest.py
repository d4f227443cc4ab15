"""What an installation has written, and as what: how `uninstall` and the next version know it for ours.

It stands beside the executables. Each file is known by the digest of its content: one that somebody has
changed since is theirs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import field, replace

from underlay.install.files import File, Found, digest_of
from underlay.install.site import Site
from underlay.values import dataclass

FILE = ".underlay-installed.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """`version` is that of the package, `files` are digests by path (two, while one replaces the other),
    `directories` are those that were made, the outermost first; all paths are the node's."""

    version: str
    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    directories: tuple[str, ...] = ()

    def knows(self, path: str, found: Found) -> bool:
        """Whether that file is as we have written it."""
        return digest_of(found.content) in self.files.get(path, ())

    def with_files(self, files: Iterable[File]) -> Manifest:
        """Before they are written: what they replace is still ours, should we be killed between."""
        known = dict(self.files)
        for file in files:
            known[file.path] = tuple(dict.fromkeys((*known.get(file.path, ()), file.digest)))
        return replace(self, files=known)

    def encoded(self, bin_dir: str) -> File:
        raw = {
            "format": FORMAT,
            "version": self.version,
            "files": self.files,
            "directories": self.directories,
        }
        return File(os.path.join(bin_dir, FILE), json.dumps(raw, indent=1).encode() + b"\n")


def read_manifest(site: Site) -> Manifest | None:
    """What stands in the directory of executables; None where nothing does, or nobody can read it."""
    try:
        with open(site.at(os.path.join(site.bin_dir, FILE)), encoding="utf-8") as file:
            raw = json.load(file)
        if raw["format"] != FORMAT:
            return None
        files = {str(path): tuple(map(str, digests)) for path, digests in raw["files"].items()}
        return Manifest(str(raw["version"]), files, tuple(map(str, raw["directories"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
