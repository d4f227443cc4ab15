"""The names by which `ip` shows what is ours: `proto underlay` in the place of `proto 201`.

iproute2 reads each *.conf in rt_protos.d and rt_tables.d. Where somebody has named one of our numbers, or
has our name for another one, theirs stays.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from underlay.claims import CLAIM
from underlay.install.files import File
from underlay.objects import OURS
from underlay.plugins.way import HOST_TABLE

REMOTE = 203  # routes that lead to the hosts of other nodes
PROTOCOLS = {OURS: "underlay", CLAIM: "underlay-claim", REMOTE: "underlay-remote"}
TABLES = {HOST_TABLE: "underlay"}
NAMES = {"rt_protos": PROTOCOLS, "rt_tables": TABLES}
FILE = "underlay.conf"
HEADER = "# written by `underlay install`, removed by `underlay uninstall`\n"
LINE = re.compile(r"\s*(0x[0-9a-fA-F]+|\d+)\s+(\S+)")
# Where distributions have what iproute2 brings along; /etc comes before it.
OF_IPROUTE2 = ("/usr/share/iproute2", "/usr/lib/iproute2")


def names_files(names_dir: str, others: Mapping[str, Iterable[str]]) -> tuple[File, ...]:
    """A file for each kind of name that is free. `others` are the texts of the files of others, by kind."""
    files = []
    for kind, names in NAMES.items():
        free = _free(names, others.get(kind, ()))
        if free:
            text = HEADER + "".join(f"{number}\t{name}\n" for number, name in free.items())
            files.append(File(os.path.join(names_dir, f"{kind}.d", FILE), text.encode()))
    return tuple(files)


def _free(names: Mapping[int, str], others: Iterable[str]) -> dict[int, str]:
    taken = [found.groups() for text in others for line in text.splitlines() if (found := LINE.match(line))]
    numbers = {int(number, 16 if number.startswith("0x") else 10) for number, _ in taken}
    words = {word for _, word in taken}
    return {number: name for number, name in names.items() if number not in numbers and name not in words}


def texts_of_others(directories: Iterable[str]) -> dict[str, list[str]]:
    """By kind, the text of each file in these directories that names something, but ours."""
    found = tuple(directories)
    return {kind: [*_texts(kind, found)] for kind in NAMES}


def _texts(kind: str, directories: Iterable[str]) -> Iterator[str]:
    for directory in directories:
        try:
            inside = sorted(os.listdir(os.path.join(directory, f"{kind}.d")))
        except OSError:
            inside = []
        for path in (kind, *(f"{kind}.d/{name}" for name in inside if name.endswith(".conf"))):
            if os.path.basename(path) != FILE:
                yield from _text(os.path.join(directory, path))


def _text(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield file.read()
    except OSError:
        return  # what can't be read names nothing
