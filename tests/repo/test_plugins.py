"""Every plugin is described in the configuration reference, and its plans are tested as text."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.repo.tree import PACKAGE, ROOT, parsed


def plugins() -> list[str]:
    return [path.stem for path in sorted((PACKAGE / "plugins").glob("*.py")) if defines_plugin(path)]


def defines_plugin(path: Path) -> bool:
    """Whether the module gives `PLUGIN` a value, with or without an annotation."""
    for statement in parsed(path).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        if any(isinstance(target, ast.Name) and target.id == "PLUGIN" for target in targets):
            return True
    return False


def test_there_are_plugins() -> None:
    assert plugins()


@pytest.mark.parametrize("plugin", plugins())
def test_the_configuration_reference_has_a_section(plugin: str) -> None:
    reference = (ROOT / "docs/configuration.md").read_text()

    assert re.search(rf"(?m)^##+ `?{plugin}`?\b", reference)


@pytest.mark.parametrize("plugin", plugins())
def test_its_plans_are_tested(plugin: str) -> None:
    assert (ROOT / f"tests/unit/test_{plugin}.py").is_file()
