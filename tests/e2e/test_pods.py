"""Pods under containerd: every way from processes in their containers, and whatever happens to them.

Each test ends with the removal of its pods, and nothing of them may be left on the nodes: conftest.py.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.kinds import SCARCE, VETH, VXLAN
from tests.e2e.site import BOTH_WAYS, PREFIX, STATE_DIR, Site, running, wrong
from underlay.lab.lab import Lab
from underlay.lab.namespace import named
from underlay.lab.scenario import Deployment
from underlay.lab.traces import Traces


@pytest.mark.parametrize(
    ("kind", "way"),
    [(VETH, "process"), (VXLAN, "process"), (VXLAN, "agent"), (SCARCE, "agent")],
    ids=str,
    indirect=True,
)  # and of VETH with an agent in test_pods_at_rest.py
def test_every_way_is_right_for_processes_in_containers(here: Deployment) -> None:
    assert wrong(here.measure()) == []


def test_a_container_that_is_started_again_finds_the_network_of_its_pod(
    here: Deployment, there: Site
) -> None:
    before = here.end("pod1", "eth0")

    there.first.pods.restart_container("pod1")

    assert here.end("pod1", "eth0") == before
    assert wrong(here.measure()) == []


@BOTH_WAYS
def test_a_pod_whose_sandbox_was_killed_gets_another_with_all_ways(here: Deployment, there: Site) -> None:
    there.first.pods.kill("pod1")
    there.renew(there.cluster.node1, "pod1")

    assert wrong(here.measure()) == []
    assert [lease for lease in there.taken() if "results" not in lease] == there.addresses("pod1", "pod2")


def test_pods_go_on_while_containerd_is_away_and_are_its_own_when_it_is_back(
    here: Deployment, there: Site
) -> None:
    node, before = there.first, here.end("pod1", "eth0")

    node.containerd.stop(signal.SIGKILL)
    pinged = node.node.netns.run("ping", "-c1", "-W2", str(before.addresses.v4))
    node.containerd.start()

    assert "1 received" in pinged
    assert here.end("pod1", "eth0") == before
    assert wrong(here.measure()) == []


@pytest.mark.parametrize(
    ("kind", "way"), [(VETH, "process"), (VETH, "agent"), (VXLAN, "agent")], ids=str, indirect=True
)
def test_after_a_reboot_pods_get_all_ways_again_and_then_leave_nothing(there: Site) -> None:
    here, node = there.here, there.cluster.node1
    here.attach(there.kind.scenario.variants[-1])

    there.reboot(node)
    before = Traces(there.cluster)
    there.renew(node, *there.pods_on(node))

    assert wrong(here.measure()) == []
    here.detach()
    assert [line for line in before.left() if node.netns.name in line] == []
    assert there.taken() == []


def test_a_lab_that_is_taken_down_with_pods_in_it_leaves_nothing_on_the_machine(there: Site) -> None:
    there.here.attach(there.kind.scenario.variants[-1])
    mounts, cgroup = Path("/proc/self/mountinfo").read_text(), there.first.space.cgroup.lstrip("/")
    assert running(STATE_DIR)
    assert list(Path("/sys/fs/cgroup").rglob(cgroup))

    Lab(PREFIX, STATE_DIR).down()

    assert running(STATE_DIR) == []
    assert named(PREFIX) == []
    assert [line for line in mounts.splitlines() if STATE_DIR in line] == []
    assert list(Path("/sys/fs/cgroup").rglob(cgroup)) == []
    assert not os.path.exists(STATE_DIR)


def test_a_node_of_another_lab_that_has_the_same_name_comes_and_goes(here: Deployment, there: Site) -> None:
    """Labs may run at once in namespaces of their own, but control groups are the machine's."""
    other = replace(there.first.space, directory=f"{STATE_DIR}/another")

    other.open()
    other.close()

    assert wrong(here.measure()) == []
