"""The work tree as git sees it: what is tracked, and what would be with the next `git add`."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/underlay"


@cache
def files() -> tuple[Path, ...]:
    """All files but the ignored and the deleted ones, in order."""
    # A user's clone may be read by root here, which git mistrusts without the setting.
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT)]
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    paths = {ROOT / name for name in listed.split("\0") if name}
    return tuple(sorted(path for path in paths if path.is_file()))


def modules() -> list[Path]:
    """The Python files of the program and of its tests."""
    return [path for path in files() if path.suffix == ".py"]


def product() -> list[Path]:
    """The Python files of the program alone."""
    return [path for path in modules() if path.is_relative_to(PACKAGE)]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def at(path: Path, line: int = 1) -> str:
    """`file:line` as editors take it."""
    return f"{path.relative_to(ROOT)}:{line}"
