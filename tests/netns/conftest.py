"""Fixtures on a real kernel. What a test leaves in the network is taken down with its namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.netns.agents import Agent
from tests.netns.kube_api.certificates import Certificates
from tests.netns.world import World
from underlay.install import install, is_built

REFERENCE_PLUGINS = ("/usr/lib/cni", "/opt/cni/bin")
# Their executables answer both ways: in a process for each call, and through the agent.
BOTH_WAYS = {
    f"test_{name}"
    for name in (
        "bad_calls",
        "concurrency",
        "leftovers",
        "overlays",
        "protocol",
        "remembered",
        "router",
        "several_nics",
        "shared_features",
        "survivors",
        "underlay",
        "underlay_api",
        "underlay_default_route",
        "underlay_gc",
        "veth",
        "vxlan",
        "vxlan_concurrency",
        "vxlan_traffic",
    )
}
NO_AGENT = "/nonexistent/agent.sock"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2] in BOTH_WAYS and "way" in metafunc.fixturenames:
        metafunc.parametrize("way", ["process", "agent"], indirect=True)


@pytest.fixture(scope="session")
def bin_dirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    ours = tmp_path_factory.mktemp("bin")
    install(str(ours))
    return (str(ours), *REFERENCE_PLUGINS)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of the API servers of tests."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    """How executables answer: "process", or "agent" where the shim is built."""
    answered_by: str = getattr(request, "param", "process")
    if answered_by == "agent" and not is_built():
        pytest.skip("the agent: no C compiler has built the shim that asks it")
    return answered_by


@pytest.fixture
def world(bin_dirs: tuple[str, ...], tmp_path: Path, way: str) -> Iterator[World]:
    world = World(bin_dirs, str(tmp_path), environment={"UNDERLAY_SOCKET": NO_AGENT})
    if way == "process":
        yield world
        world.down()
        return
    with closing(Agent(world.state)) as agent:
        agent.start()
        world.environment["UNDERLAY_SOCKET"] = agent.socket
        yield world
        world.down()
