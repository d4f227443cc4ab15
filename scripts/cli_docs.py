"""Prints docs/cli.md: every command of `underlay` with its help and its options, from the code alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command

from underlay.cli.app import app

HEAD = """\
# The command `underlay`

Made by `make docs` from the code. `underlay --help`, and `--help` behind each command, say the same.
`underlay --install-completion` teaches your shell to complete commands and options.
"""
GENERIC = {"--help", "--install-completion", "--show-completion"}


def page() -> Iterator[str]:
    yield HEAD
    yield from _sections(get_command(app), "underlay")


def _sections(command: Any, path: str) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        if command.name == "lab":
            yield f"## `{path}`\n\n{command.help}\n"
        for name, each in command.commands.items():
            yield from _sections(each, f"{path} {name}")
        return
    level = "##" if path.count(" ") == 1 else "###"
    yield f"{level} `{path}`\n"
    yield _help(command.help or "")
    rows = [row for param in command.params if (row := _row(param))]
    if rows:
        yield "\n".join(["| option | default | |", "|---|---|---|", *rows]) + "\n"


def _help(text: str) -> str:
    """The paragraphs, and the example as something to copy."""
    body, _, example = text.partition("Example: ")
    paragraphs = [" ".join(paragraph.split()) for paragraph in body.strip().split("\n\n")]
    return "\n\n".join([*paragraphs, f"```\n{example.strip()}\n```"]) + "\n"


def _row(param: Any) -> str:
    if isinstance(param, TyperArgument):
        return f"| `{param.metavar}` | | {getattr(param, 'help', '')} |"
    if not isinstance(param, TyperOption) or GENERIC & set(param.opts):
        return ""
    return f"| {_name(param)} | {_default(param)} | {_text(param)} |"


def _name(option: TyperOption) -> str:
    if option.is_flag:
        value = ""
    elif choices := getattr(option.type, "choices", ()):
        value = " " + "\\|".join(str(getattr(choice, "value", choice)) for choice in choices)
    else:
        value = f" {option.metavar}"
    return ", ".join(f"`{name}{value}`" for name in option.opts)


def _default(option: TyperOption) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.show_default, str):
        return option.show_default
    default = getattr(option.default, "value", option.default)
    return f"`{default}`" if option.default not in (None, "") else ""


def _text(option: TyperOption) -> str:
    """`envvar` may be a list, or one name."""
    named = f" Or by `{option.envvar}`." if isinstance(option.envvar, str) else ""
    return f"{option.help}{named}"


if __name__ == "__main__":
    print("\n".join(page()), end="")
