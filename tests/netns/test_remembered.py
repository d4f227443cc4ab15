"""What an agent remembers of its node from call to call is never stale, and forgets nothing that changed.

Each change comes between two calls, and the second pod is attached as if there had been no first.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.netns.agents import until
from tests.netns.world import LAN_A, World, address, seen
from underlay.lab.addresses import VERSIONS
from underlay.lab.pod import Pod
from underlay.lab.topology import Node


@pytest.fixture
def first(world: World) -> Pod:
    return world.pod("first")


@pytest.fixture
def node(world: World, first: Pod) -> Node:
    """A node with a pod, so that whoever answers has looked at it."""
    world.lan(LAN_A)
    node = world.node()
    world.runtime(node).add(world.network(), first)
    return node


@pytest.mark.parametrize("version", VERSIONS)
def test_a_new_address_of_the_node_is_reached_by_the_next_pod(
    world: World, node: Node, version: int
) -> None:
    added = {4: "10.99.0.7", 6: "fd00:99::7"}[version]
    node.netns.ip(f"addr add {added}/{32 if version == 4 else 128} dev docker0")
    pod = world.pod()

    world.runtime(node).add(world.network(), pod)

    route = pod.netns.run("ip", "route", "get", added)
    assert "dev veth0" in route


def test_an_address_that_the_node_has_lost_is_none_of_the_next_pod(world: World, node: Node) -> None:
    node.netns.ip("addr del 172.17.0.1/16 dev docker0")
    pod = world.pod()

    world.runtime(node).add(world.network(), pod)

    assert "172.17.0.1" not in pod.netns.run("ip", "route", "show", "table", "all")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_rule_that_somebody_has_removed_is_put_back(world: World, node: Node, version: int) -> None:
    family = f"-{version}"
    node.netns.run("ip", family, "rule", "del", "priority", "1000")
    pod = world.pod()

    result = world.runtime(node).add(world.network(), pod)

    assert "lookup 500" in node.netns.run("ip", family, "rule", "show", "priority", "1000")
    assert seen(node.netns, pod.netns, address(result, version)) is not None


def test_the_rules_come_back_with_the_next_pod_after_the_last(world: World, node: Node, first: Pod) -> None:
    runtime, network, pod = world.runtime(node), world.network(), world.pod()
    runtime.delete(network, first)
    assert "lookup 500" not in node.netns.run("ip", "rule")

    runtime.add(network, pod)

    assert "lookup 500" in node.netns.run("ip", "rule")


def test_rp_filter_of_all_links_is_looked_at_again(world: World, node: Node) -> None:
    node.netns.sysctl({"ipv4/conf/all/rp_filter": 2})
    pod = world.pod()
    log = Path(world.directory, "strict.log")
    network = world.network(rp_filter={"value": 1}, log_options={"log_file": str(log)})

    world.runtime(node).add(network, pod)

    until(lambda: log.exists() and "has no effect: conf.all is 2 on the host" in log.read_text())
