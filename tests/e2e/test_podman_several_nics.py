"""Several NICs under podman, which knows no annotations: the configuration names the networks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.e2e.podman import Podman
from underlay.lab.definitions import several_nics, write_ready
from underlay.lab.traces import Traces


@pytest.fixture
def with_three_nics(podman: Podman) -> Podman:
    cluster = podman.node.cluster
    write_ready(cluster)
    network = several_nics(cluster)
    (plugin,) = network["plugins"]
    plugin |= {"defaultNetwork": "lan-a-veth", "networks": ["lan-b-veth", "blue-beside"]}
    return replace(podman, networks={network["name"]: network})


def test_a_container_has_the_nics_that_the_configuration_names_and_leaves_nothing(
    with_three_nics: Podman,
) -> None:
    podman, cluster = with_three_nics, with_three_nics.node.cluster
    before = Traces(cluster)

    podman.start("one", "lab")
    shown = podman.run("exec", "one", "ip", "-4", "-o", "addr")
    near = podman.run("exec", "one", "ping", "-c1", "-W2", str(cluster.node1.addresses.v4))
    podman.remove("one")

    addresses = [line.split()[1:4:2] for line in shown.splitlines()][1:]
    assert [dev for dev, _ in addresses if dev != "veth0"] == ["eth0", "net1", "net2"]
    assert dict(addresses)["net1"].startswith("192.168.20.")
    assert " 0% packet loss" in near
    assert before.left() == []
