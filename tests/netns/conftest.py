"""Fixtures on a real kernel. What a test leaves in the network is taken down with its namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.world import World
from underlay.install import install

REFERENCE_PLUGINS = ("/usr/lib/cni", "/opt/cni/bin")


@pytest.fixture(scope="session")
def bin_dirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    ours = tmp_path_factory.mktemp("bin")
    install(str(ours))
    return (str(ours), *REFERENCE_PLUGINS)


@pytest.fixture
def world(bin_dirs: tuple[str, ...], tmp_path: Path) -> Iterator[World]:
    world = World(bin_dirs, str(tmp_path))
    yield world
    world.down()
