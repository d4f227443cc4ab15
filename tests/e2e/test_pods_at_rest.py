"""Pods under containerd that nothing happens to: one cluster for all tests."""

from __future__ import annotations

from tests.e2e.site import Site, wrong


def test_every_way_is_right_for_processes_in_containers(at_rest: Site) -> None:
    assert wrong(at_rest.here.measure()) == []


def test_it_is_the_agent_of_the_node_that_answers(at_rest: Site) -> None:
    assert '"event": "call"' in at_rest.first.agent.process.said


def test_the_runtime_tells_the_kubelet_the_addresses_that_the_pod_has(at_rest: Site) -> None:
    pods = at_rest.first.pods

    assert sorted(pods.cri.addresses(pods.find("pod1").id)) == at_rest.addresses("pod1")
