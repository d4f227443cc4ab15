"""The command: what it says of itself is whole, and the page about it is current."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from tests.repo.tree import ROOT
from underlay.cli.app import app


def commands() -> Iterator[tuple[str, Any]]:
    def below(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(command, TyperGroup):
            for name, each in command.commands.items():
                yield from below(each, f"{path} {name}")
        else:
            yield path, command

    return below(get_command(app), "underlay")


EVERY = dict(commands())


def test_the_page_about_the_command_is_current() -> None:
    argv = [sys.executable, str(ROOT / "scripts/cli_docs.py")]
    made = subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    assert (ROOT / "docs/cli.md").read_text(encoding="utf-8") == made, "make docs writes it anew"


@pytest.mark.parametrize("path", EVERY)
def test_each_command_says_what_it_does_and_shows_an_example_of_itself(path: str) -> None:
    text = EVERY[path].help or ""

    body, _, example = text.partition("Example: ")
    assert body.strip().endswith(".")
    assert example.startswith(path)


@pytest.mark.parametrize("path", EVERY)
def test_each_example_names_options_that_there_are(path: str) -> None:
    example = (EVERY[path].help or "").partition("Example: ")[2]
    example = example.partition("&&")[0].partition(" -- ")[0]
    known = {name for param in EVERY[path].params for name in param.opts}

    assert {word for word in example.split() if word.startswith("-")} - known == set()


@pytest.mark.parametrize("path", EVERY)
def test_each_option_has_a_help_that_ends(path: str) -> None:
    texts = [getattr(param, "help", "") or "" for param in EVERY[path].params]

    assert [text for text in texts if not text.endswith(".")] == []


def test_shells_can_complete() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("underlay")],
        env={"_UNDERLAY_COMPLETE": "complete_bash", "COMP_WORDS": "underlay un", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == ["uninstall"]
