"""What was wrong with the plugins before ours is closed, each by a test that exists or by a reason."""

from __future__ import annotations

import ast
import re

from tests.repo.tree import ROOT, parsed

PAGE = ROOT / "docs/decisions/0011-close-the-defects-of-vxlan-cni.md"
NUMBERS = [*(f"V{number}" for number in range(1, 34)), *(f"R{number}" for number in range(1, 17))]


def closed_by() -> dict[str, str]:
    return dict(re.findall(r"(?m)^\| ([VR]\d+) \|[^|]*\|(.*)\|$", PAGE.read_text(encoding="utf-8")))


def existing_tests() -> set[str]:
    return {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in parsed(path).body
        if isinstance(node, ast.FunctionDef)
    }


def test_every_defect_is_closed() -> None:
    assert list(closed_by()) == NUMBERS
    assert [number for number, reason in closed_by().items() if not reason.strip()] == []


def test_every_test_that_closes_one_exists() -> None:
    named = {name for reason in closed_by().values() for name in re.findall(r"`(test_\w+)`", reason)}

    assert named - existing_tests() == set()
