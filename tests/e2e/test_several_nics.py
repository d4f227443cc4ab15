"""Pods with several NICs under containerd, as annotations ask for: `underlay` is the one configuration."""

from __future__ import annotations

import pytest

from tests.e2e.kinds import Kind
from tests.e2e.site import BOTH_WAYS, Site, wrong
from underlay.lab.cluster import Cluster
from underlay.lab.definitions import several_nics, write_ready
from underlay.lab.pod import Json
from underlay.lab.runtimes import annotations_of
from underlay.lab.scenario import Deployment
from underlay.lab.scenarios import overlay, three_nics, veth, vxlan
from underlay.lab.traces import Traces


def _network(cluster: Cluster) -> Json:
    write_ready(cluster)
    return several_nics(cluster)


TWO_LANS, BESIDE_OVERLAY, THREE_NICS, OWN_NETWORKS = (
    Kind(each.SCENARIO, _network, annotations_of) for each in (veth, overlay, three_nics, vxlan)
)


def kinds(*made: Kind) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", made, ids=str, indirect=True)


@kinds(BESIDE_OVERLAY, THREE_NICS)
@BOTH_WAYS
def test_every_way_is_right_beside_the_overlay(here: Deployment) -> None:
    assert wrong(here.measure()) == []


@kinds(TWO_LANS, OWN_NETWORKS)
def test_every_way_is_right_where_annotations_choose_the_first_nic(here: Deployment) -> None:
    assert wrong(here.measure()) == []


@kinds(THREE_NICS)
def test_a_pod_whose_sandbox_was_killed_gets_all_its_nics_again(here: Deployment, there: Site) -> None:
    there.first.pods.kill("pod1")
    there.renew(there.cluster.node1, "pod1")

    assert wrong(here.measure()) == []


@kinds(THREE_NICS)
def test_after_a_reboot_all_nics_are_made_again_and_then_leave_nothing(there: Site) -> None:
    here, node = there.here, there.cluster.node1
    here.attach(there.kind.scenario.variants[-1])

    there.reboot(node)
    before = Traces(there.cluster)
    there.renew(node, "pod1")

    assert wrong(here.measure()) == []
    here.detach()
    assert [line for line in before.left() if node.netns.name in line] == []
    assert there.taken() == []
