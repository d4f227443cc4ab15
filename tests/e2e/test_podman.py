"""The plugins under podman, which reads conflists itself and calls them a little differently."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.podman import Podman, why_not
from tests.e2e.site import BOTH_WAYS, PREFIX, STATE_DIR, why_no_containers
from underlay.lab.cluster import Cluster
from underlay.lab.containerd.node import ContainerdNode
from underlay.lab.lab import Lab
from underlay.lab.scenarios import veth
from underlay.lab.traces import Traces


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
        if reason := why_not(node):
            pytest.skip(f"podman: {reason}")
        if way == "agent":
            node.start_agent()
        podman = Podman(node, veth.networks(cluster, veth.SCENARIO.variants[-1]))
        podman.load_image()
        yield podman


@BOTH_WAYS
def test_a_container_of_podman_reaches_its_node_and_leaves_nothing(podman: Podman) -> None:
    cluster = podman.node.cluster
    before = Traces(cluster)

    podman.start("one", "lan-a")
    near = podman.run("exec", "one", "ping", "-c1", "-W2", str(cluster.node1.addresses.v4))
    far = podman.run("exec", "one", "ping", "-c1", "-W2", str(cluster.external.addresses.v4))
    podman.remove("one")

    assert [" 0% packet loss" in said for said in (near, far)] == [True, True]
    assert before.left() == []
