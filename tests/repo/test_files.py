"""Tracked files hold everywhere: no address of a registry, no path of the machine they were written on."""

from __future__ import annotations

import re

import pytest

from tests.repo.tree import ROOT, at, files

# In brackets, so that this file does not name what it looks for.
REGISTRIES = r"py[p]i\.o|pythonhos[t]ed|npm[j]s\.|deb\.deb[i]an|archive\.ubun[t]u"
THIS_MACHINE = r"(?<![\w.*}-])/(?:wor[k]|far[m]|roo[t]|home/\w+|opt/whee[l]s|opt/py[p]i[\w-]*)/"
REQUIREMENT = r"[a-z0-9.-]+==\S+(?: ; [^\\]+)?(?: --hash=sha256:[0-9a-f]{64})+"


def test_no_file_names_a_registry_or_this_machine() -> None:
    unwanted = re.compile(f"{REGISTRIES}|{THIS_MACHINE}")
    named = [
        f"{at(path, number)} {found[0]}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if (found := unwanted.search(line))
    ]

    assert named == []


@pytest.mark.parametrize("name", ["runtime.txt", "dev.txt"])
def test_every_requirement_is_pinned_and_hashed_and_nothing_else_is_there(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    lines = re.sub(r"\\\n *", "", re.sub(r"(?m)^ *#.*\n", "", text)).splitlines()

    assert lines
    assert [line for line in lines if not re.fullmatch(REQUIREMENT, line)] == []


def test_development_runs_what_is_shipped() -> None:
    runtime, dev = (
        set(re.findall(r"(?m)^[a-z0-9.-]+==\S+", (ROOT / "requirements" / name).read_text()))
        for name in ("runtime.txt", "dev.txt")
    )

    assert runtime <= dev


def test_the_changelog_has_a_place_for_what_comes_next() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()
