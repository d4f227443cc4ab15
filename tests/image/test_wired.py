"""A pod that the DaemonSet has wired: macvlan on the node, the shim there, the agent in its container."""

from __future__ import annotations

import pytest

from tests.image.site import Site


def test_a_pod_and_its_node_reach_each_other(wired: Site) -> None:
    assert wired.pings("pod1") == []


def test_it_is_the_agent_in_the_container_that_has_answered(wired: Site) -> None:
    assert '"event": "call", "plugin": "veth", "verb": "ADD"' in wired.daemon().said("agent")


def test_its_log_is_on_the_node(wired: Site) -> None:
    assert '"verb": "ADD"' in wired.node.space.run("cat", "/var/log/underlay/veth.log")


@pytest.mark.parametrize("path", ["healthz", "readyz"])
def test_the_kubelet_is_answered_on_the_node_s_loopback_address(wired: Site, path: str) -> None:
    assert wired.asked(path) == 200


def test_a_pod_that_came_after_the_agent_is_not_taken_for_dead(wired: Site) -> None:
    wired.collect_garbage()

    assert wired.pings("pod1") == []


def test_nobody_but_root_may_look_into_the_directory_of_the_socket(wired: Site) -> None:
    assert wired.node.space.run("stat", "--format", "%a %U", "/run/underlay") == "700 root\n"
