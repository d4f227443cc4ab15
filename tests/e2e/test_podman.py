"""The plugins under podman, which reads conflists itself and calls them a little differently."""

from __future__ import annotations

from tests.e2e.podman import Podman
from tests.e2e.site import BOTH_WAYS
from underlay.lab.traces import Traces


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
