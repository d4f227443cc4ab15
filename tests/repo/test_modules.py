"""Modules say what they are, stay short, and where a pod waits for them import next to nothing."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.repo.tree import PACKAGE, at, modules, parsed, product

LONGEST_FILE = 400  # lines; style asks for 250
LONGEST_FUNCTION = 60  # lines; style asks for 25
# All else runs while a pod waits for its network, `kube` only where a configuration asks for it.
OFF_THE_HOT_PATH = {"__main__", "cli", "explain", "install", "kube", "lab"}
# Where somebody asks for metrics, or writes a manifest as YAML.
SWITCHED_ON = {"agent/metrics.py", "networks/manifests.py"}
OF_LATER_PYTHONS = {"_sha2"}  # what the standard library of this one does not list


def test_every_module_has_a_docstring() -> None:
    silent = [at(path) for path in modules() if not ast.get_docstring(parsed(path))]

    assert silent == []


def test_no_file_is_too_long() -> None:
    lengths = {at(path): len(path.read_text(encoding="utf-8").splitlines()) for path in product()}

    assert {where: lines for where, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_too_long() -> None:
    long = [
        f"{at(path, node.lineno)} {node.name}"
        for path in product()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    ]

    assert long == []


def test_the_hot_path_imports_only_the_standard_library() -> None:
    foreign = [
        f"{at(path, line)} {name}"
        for path in product()
        if path.relative_to(PACKAGE).with_suffix("").parts[0] not in OFF_THE_HOT_PATH
        if str(path.relative_to(PACKAGE)) not in SWITCHED_ON
        for line, name in imports(path)
        if name not in {*sys.stdlib_module_names, *OF_LATER_PYTHONS, "underlay"}
    ]

    assert foreign == []


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level package of each import, those inside functions too."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.partition(".")[0]
