"""A call of `vxlan` that is killed at any moment is undone by DEL, by GC or by a repeated ADD.

Meanwhile the pods that are in the network already have all that they had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.netns.killing import moments
from tests.netns.site import VALID, Attached, Site, one_node
from tests.netns.world import Footprint, Inside, World, failures, files
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe, Server
from underlay.lab.namespace import Netns
from underlay.store import UNFINISHED


@pytest.fixture
def site(world: World) -> Site:
    return one_node(world)


@pytest.fixture
def node(site: Site) -> Iterator[Inside]:
    with closing(Inside(site.nodes[0].netns, site.world.state)) as node:
        yield node


@pytest.fixture
def pod(site: Site) -> Attached:
    """The pod whose calls are killed."""
    return site.nic("new")


@pytest.fixture
def living(site: Site, node: Inside) -> Attached:
    """A pod that is in the network already."""
    pod = site.nic("living")
    pod.run("ADD", node)
    return pod


Undo = Callable[[Attached, Attached, Inside], None]


def undo_by_del(pod: Attached, _living: Attached, node: Inside) -> None:
    pod.run("DEL", node)


def undo_by_gc(pod: Attached, living: Attached, node: Inside) -> None:
    records = finished(pod.site)
    pod.run("GC", node, cniVersion="1.1.0", **{VALID: [living.listed(), pod.listed()]})
    assert finished(pod.site) == records
    pod.run("GC", node, cniVersion="1.1.0", **{VALID: [living.listed()]})


def repeat_and_undo(pod: Attached, _living: Attached, node: Inside) -> None:
    pod.run("ADD", node)
    pod.run("CHECK", node)
    pod.run("DEL", node)


def finished(site: Site) -> dict[str, str]:
    """The records but for those that a killed call has left half written."""
    return {path: text for path, text in files(site.world.state).items() if not path.endswith(UNFINISHED)}


def join_with_another_and_undo(pod: Attached, _living: Attached, node: Inside) -> None:
    other = pod.site.nic("other")
    other.run("ADD", node)
    other.run("CHECK", node)
    pod.run("DEL", node)
    other.run("CHECK", node)
    other.run("DEL", node)


def node_of(pod: Attached) -> Netns:
    return pod.site.nodes[0].netns


# DEL comes after each of the moments; what takes longer, after one of so many.
FOR_FIRST = pytest.mark.parametrize(
    ("undo", "step"), [(undo_by_del, 1), (repeat_and_undo, 2), (join_with_another_and_undo, 3)]
)
FOR_FURTHER = pytest.mark.parametrize("undo", [undo_by_gc, repeat_and_undo])


@FOR_FIRST
def test_an_add_of_the_first_pod_that_is_killed_at_any_moment_can_be_undone(
    site: Site, pod: Attached, node: Inside, undo: Undo, step: int
) -> None:
    before = Footprint(site.world, node_of(pod), pod.pod.netns)

    moment = 0
    for moment in moments(lambda: pod.run("ADD", node), step):
        undo(pod, pod, node)
        assert (before.changes(), moment) == ([], moment)

    assert moment > 40


@FOR_FIRST
def test_a_del_of_the_last_pod_that_is_killed_at_any_moment_can_be_finished(
    site: Site, pod: Attached, node: Inside, undo: Undo, step: int
) -> None:
    before = Footprint(site.world, node_of(pod), pod.pod.netns)
    pod.run("ADD", node)

    moment = 0
    for moment in moments(lambda: pod.run("DEL", node), step):
        undo(pod, pod, node)
        assert (before.changes(), moment) == ([], moment)
        pod.run("ADD", node)

    assert moment > 12


@FOR_FURTHER
def test_an_add_of_a_further_pod_that_is_killed_at_any_moment_can_be_undone(
    site: Site, pod: Attached, living: Attached, node: Inside, undo: Undo
) -> None:
    before = Footprint(site.world, node_of(pod), pod.pod.netns, living.pod.netns)

    moment = 0
    for moment in moments(lambda: pod.run("ADD", node)):
        living.run("CHECK", node)
        undo(pod, living, node)
        assert (before.changes(), moment) == ([], moment)

    assert moment > 20
    living.run("CHECK", node)


@FOR_FURTHER
def test_a_del_of_a_further_pod_that_is_killed_at_any_moment_can_be_finished(
    site: Site, pod: Attached, living: Attached, node: Inside, undo: Undo
) -> None:
    before = Footprint(site.world, node_of(pod), pod.pod.netns, living.pod.netns)
    pod.run("ADD", node)

    moment = 0
    for moment in moments(lambda: pod.run("DEL", node)):
        living.run("CHECK", node)
        undo(pod, living, node)
        assert (before.changes(), moment) == ([], moment)
        pod.run("ADD", node)

    assert moment > 8
    assert (
        failures([Probe(node_of(pod), Server(living.pod.netns, living.address(v))) for v in VERSIONS]) == []
    )


def test_an_add_that_is_killed_while_it_changes_the_network_can_be_repeated(
    site: Site, living: Attached, node: Inside
) -> None:
    changed = site.nic("new", network=site.network(site.blue(peers=["10.6.0.11", "10.6.0.13"])))
    again = site.nic("again", network=living.network)
    before = Footprint(site.world, node_of(living), living.pod.netns)

    moment = 0
    for moment in moments(lambda: changed.run("ADD", node)):
        changed.run("ADD", node)
        for each in (living, changed):
            each.run("CHECK", node)
        assert "10.6.0.12" not in node_of(living).run("bridge", "fdb", "show", "dev", "vx_blue")
        changed.run("DEL", node)
        again.run("ADD", node)
        again.run("DEL", node)
        assert (before.changes(), moment) == ([], moment)

    assert moment > 25


def test_each_add_of_another_ipam_plugin_that_is_killed_has_its_del(
    site: Site, node: Inside, tmp_path: Path
) -> None:
    ipam = {"type": "host-local", "subnet": "10.66.0.0/24", "dataDir": str(tmp_path / "ipam")}
    pod = site.nic("new", network=site.network(site.blue(cidr="10.66.0.0/24", ipam=ipam)))
    before = Footprint(site.world, node_of(pod), pod.pod.netns)

    moment = 0
    for moment in moments(lambda: pod.run("ADD", node)):
        pod.run("DEL", node)
        kept = {path.name for path in (tmp_path / "ipam").rglob("10.*")}
        assert (before.changes(), kept, moment) == ([], set(), moment)

    assert moment > 30
