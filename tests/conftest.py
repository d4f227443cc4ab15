"""Settings for every test, and how a run is dealt out to several processes."""

from __future__ import annotations

import pytest
from hypothesis import settings

# The same examples in every run: a failure that CI finds is found on any machine.
settings.register_profile("underlay", derandomize=True, deadline=None)
settings.load_profile("underlay")

WITH_RUNTIMES = "tests/e2e/"  # container runtimes keep some things for the whole machine: one process alone


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", metavar="K/N", default="1/1", help="the K-th of N parts of all modules")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the modules of this part: dealt out by turns, those with container runtimes to the last part."""
    part, parts = map(int, config.getoption("--part").split("/"))
    modules = sorted({_module(item) for item in items})
    others = [module for module in modules if not module.startswith(WITH_RUNTIMES)]
    own = {module for place, module in enumerate(others) if place % parts == part - 1}
    if part == parts:
        own |= {*modules} - {*others}
    left_out = [item for item in items if _module(item) not in own]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _module(item) in own]


def _module(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]
