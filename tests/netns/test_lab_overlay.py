"""The lab's overlay as a plugin: what it makes is what the lab's own pods of the overlay have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.world import failures, state_of
from underlay.lab import overlay_plugin
from underlay.lab.addresses import VERSIONS
from underlay.lab.cluster import Cluster
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.errors import PluginError
from underlay.lab.lab import Lab
from underlay.lab.nics import nics
from underlay.lab.overlay import FIRST_POD
from underlay.lab.pod import Json, Pod


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Lab("olab-", tmp_path / "lab") as lab:
        lab.reserve()
        cluster = Cluster(lab)
        cluster.build()
        yield cluster


@pytest.fixture
def network(cluster: Cluster) -> Json:
    return overlay_plugin.network(cluster.path("overlay"))


@pytest.fixture
def pods(cluster: Cluster) -> list[Pod]:
    made = [cluster.lab.pod(name) for name in ("one", "two")]
    cluster.lab.up(*made)
    return made


def test_its_pods_reach_those_of_the_lab_and_are_reached(
    cluster: Cluster, network: Json, pods: list[Pod]
) -> None:
    results = [cluster.runtime(cluster.node1).add(network, pod) for pod in pods]

    addresses = [[ip["address"].partition("/")[0] for ip in result["ips"]] for result in results]
    assert addresses == [["10.244.11.6", "fd00:244:0:11::6"], ["10.244.11.7", "fd00:244:0:11::7"]]
    for version in VERSIONS:
        pod, other = nics(pods[0].netns)["eth0"][version], cluster.overlay2
        there = Probe(pods[0].netns, Server(other.netns, other.addresses.of(version)))
        back = Probe(other.netns, Server(pods[0].netns, pod))
        assert failures([there, back]) == []


def test_del_leaves_the_node_as_it_was_with_a_namespace_and_without_and_twice(
    cluster: Cluster, network: Json, pods: list[Pod]
) -> None:
    runtime, before = cluster.runtime(cluster.node1), state_of(cluster.node1.netns)
    for pod in pods:
        runtime.add(network, pod)

    cluster.lab.remove(pods[0])
    for pod in (*pods, *pods):
        runtime.delete(network, pod)

    assert state_of(cluster.node1.netns).splitlines() == before.splitlines()
    assert [names for _, _, names in os.walk(cluster.path("overlay")) if names] == []


def test_a_pod_that_the_lab_has_made_itself_keeps_its_address(
    cluster: Cluster, network: Json, pods: list[Pod]
) -> None:
    made = cluster.lab.overlay_pod("three", cluster.node1, FIRST_POD)
    cluster.lab.up(made)
    before = state_of(cluster.node1.netns), nics(made.netns)

    result = cluster.runtime(cluster.node1).add(network, pods[0])
    cluster.runtime(cluster.node1).delete(network, pods[0])

    assert result["ips"][0]["address"] == "10.244.11.7/32"
    assert (state_of(cluster.node1.netns), nics(made.netns)) == before


def test_another_nic_than_eth0_is_refused(cluster: Cluster, network: Json, pods: list[Pod]) -> None:
    with pytest.raises(PluginError, match="net1: the overlay is for a pod's own NIC, eth0"):
        cluster.runtime(cluster.node1).add(network, pods[0], "net1")
