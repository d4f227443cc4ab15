"""Settings for every test, and how a run is dealt out to several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import settings

# The same examples in every run: a failure that CI finds is found on any machine.
settings.register_profile("underlay", derandomize=True, deadline=None)
settings.load_profile("underlay")

WITH_RUNTIMES = (
    "tests/e2e/",
    "tests/image/",
)  # these keep some things for the whole machine: one process alone
SECONDS = {"tests/e2e/": 4.0, "tests/image/": 2.5, "tests/netns/": 0.4}  # of one test, about
OTHERWISE = 0.05


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", metavar="K/N", default="1/1", help="the K-th of N parts of all modules")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keeps the modules of this part."""
    part, parts = map(int, config.getoption("--part").split("/"))
    own = _dealt(Counter(map(_module, items)), parts)[part - 1]
    left_out = [item for item in items if _module(item) not in own]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _module(item) in own]


def _dealt(tests: Mapping[str, int], parts: int) -> list[set[str]]:
    """By how many tests a module has: those with runtimes to the last part, then the longest first."""
    dealt: list[set[str]] = [set() for _ in range(parts)]
    taken = [0.0] * parts
    seconds = {module: count * _seconds(module) for module, count in tests.items()}
    for module in sorted(
        seconds, key=lambda each: (not each.startswith(WITH_RUNTIMES), -seconds[each], each)
    ):
        part = parts - 1 if module.startswith(WITH_RUNTIMES) else taken.index(min(taken))
        dealt[part].add(module)
        taken[part] += seconds[module]
    return dealt


def _seconds(module: str) -> float:
    return next((each for folder, each in SECONDS.items() if module.startswith(folder)), OTHERWISE)


def _module(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]
