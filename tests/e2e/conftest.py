"""A real container runtime, installed by `make build` and started here. Where it can't run, that is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.kinds import VETH, Kind
from tests.e2e.podman import Podman, why_no_podman
from tests.e2e.site import PREFIX, STATE_DIR, Site, why_no_containers, why_not
from underlay.install import is_built
from underlay.lab.cluster import Cluster
from underlay.lab.containerd.node import ContainerdNode
from underlay.lab.lab import Lab
from underlay.lab.scenario import Deployment
from underlay.lab.scenarios import veth
from underlay.lab.traces import Traces


@pytest.fixture
def way(request: pytest.FixtureRequest) -> str:
    """Who answers the plugins' calls: the node's agent, or "process", one for each call."""
    answered_by: str = getattr(request, "param", "agent")
    if answered_by == "agent" and not is_built():
        pytest.skip("the agent: no C compiler has built the shim that asks it")
    return answered_by


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Kind:
    """Pods whose first NIC is macvlan, unless a test has others too."""
    found: Kind = getattr(request, "param", VETH)
    return found


@pytest.fixture
def there(way: str, kind: Kind) -> Iterator[Site]:
    """A cluster whose nodes have containerd, and no pods yet."""
    with site(kind, way) as there:
        yield there


@pytest.fixture
def here(there: Site) -> Iterator[Deployment]:
    """Pods that run. When they have been removed, the nodes are as before, and no address is taken."""
    with deployed(there):
        yield there.here


@pytest.fixture(scope="module")
def at_rest() -> Iterator[Site]:
    """Pods that tests look at and leave alone, with an agent on each node."""
    if not is_built():
        pytest.skip("the agent: no C compiler has built the shim that asks it")
    with site(VETH, "agent") as there, deployed(there):
        yield there


@contextmanager
def site(kind: Kind, way: str) -> Iterator[Site]:
    if reason := why_not():
        pytest.skip(f"containerd: {reason}")
    with Lab(PREFIX, STATE_DIR) as lab:
        lab.reserve()
        there = Site(Cluster(lab), kind, way)
        there.cluster.build()
        for node in there.nodes:
            there.start(node)
        yield there


@contextmanager
def deployed(there: Site) -> Iterator[None]:
    before = Traces(there.cluster)
    there.here.attach(there.kind.scenario.variants[-1])
    yield
    there.here.detach()
    assert [*before.left(), *there.taken()] == []


@pytest.fixture
def podman(way: str) -> Iterator[Podman]:
    """On a node with an empty network, in which it has made nothing yet."""
    if reason := why_no_containers():
        pytest.skip(f"podman: {reason}")
    with Lab(PREFIX, STATE_DIR) as lab:
        lab.reserve()
        cluster = Cluster(lab)
        cluster.build()
        node = ContainerdNode(cluster, cluster.node1)
        if reason := why_no_podman(node):
            pytest.skip(f"podman: {reason}")
        if way == "agent":
            node.start_agent()
        podman = Podman(node, veth.networks(cluster, veth.SCENARIO.variants[-1]))
        podman.load_image()
        yield podman
