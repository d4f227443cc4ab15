"""What fails in `vxlan` leaves no trace: the kernel refuses each object in turn, a disk is full."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.netns.disk import disk, resize
from tests.netns.faulty import Faulty, refusal
from tests.netns.site import VALID, Attached, Site, one_node
from tests.netns.world import Footprint, Inside, World, files
from underlay.cni.errors import IoFailure
from underlay.lab.errors import PluginError
from underlay.objects import Fdb, Macvlan, Vxlan


@pytest.fixture
def site(world: World) -> Site:
    return one_node(world)


@pytest.fixture
def node(site: Site) -> Iterator[Faulty]:
    with closing(Faulty(site.nodes[0].netns, site.world.state)) as node:
        yield node


FIRST, FURTHER = "first pod", "further pod"


@pytest.fixture(params=[FIRST, FURTHER])
def living(request: pytest.FixtureRequest, site: Site, node: Faulty) -> list[Attached]:
    """The pods that are in the network already."""
    if request.param == FIRST:
        return []
    pod = site.nic("living")
    pod.run("ADD", node)
    return [pod]


def footprint(site: Site, *pods: Attached) -> Footprint:
    return Footprint(site.world, site.nodes[0].netns, *(pod.pod.netns for pod in pods))


def test_an_add_that_fails_at_any_object_names_it_and_leaves_everything_as_it_was(
    site: Site, node: Faulty, living: list[Attached]
) -> None:
    pod = site.nic("new")
    before = footprint(site, pod, *living)

    for obj, error in node.refusals(lambda: pod.run("ADD", node)):
        assert error.startswith(str(obj))
        assert before.changes() == [], error
        for each in living:
            each.run("CHECK", node)

    made = [type(obj) for obj in node.asked]
    assert (made.count(Vxlan), made.count(Macvlan)) == ((0, 1) if living else (1, 2))


def test_a_del_that_fails_at_any_object_names_it_and_the_next_one_finishes(
    site: Site, node: Faulty, living: list[Attached]
) -> None:
    pod = site.nic("new")
    before = footprint(site, pod, *living)

    pod.run("ADD", node)
    for obj, error in node.refusals(lambda: pod.run("DEL", node)):
        assert error.startswith(str(obj))
        assert pod.record(node).segment == "vxlan:blue"
        for each in living:
            each.run("CHECK", node)
        pod.run("DEL", node)
        assert before.changes() == [], error
        pod.run("ADD", node)

    assert len(node.asked) > (2 if living else 5)


def test_a_pod_keeps_its_addresses_as_long_as_its_nic_can_not_be_removed(site: Site, node: Faulty) -> None:
    pod, living = site.nic("new"), site.nic("living")
    for each in (living, pod):
        each.run("ADD", node)
    claims = pod.record(node).claims

    with node.refusing(0) as refused:
        error = refusal(lambda: pod.run("DEL", node))

    assert (isinstance(refused[0], Macvlan), error != "") == (True, True)
    assert pod.pod.netns.run("ip", "link", "show", "eth0")
    assert [claim for claim in claims if not node.records.claims.holder(claim.dst.network_address)] == []


@pytest.mark.parametrize(
    "keys", [{"verb": "DEL"}, {"verb": "GC", "cniVersion": "1.1.0", VALID: []}], ids=["DEL", "GC"]
)
def test_what_fails_without_a_readable_record_is_finished_the_next_time(
    site: Site, node: Faulty, keys: dict[str, Any]
) -> None:
    pod = site.nic("new")
    before = footprint(site)

    def damaged() -> None:
        pod.run("ADD", node)
        (record,) = Path(site.world.state).glob(f"*/{pod.pod.container_id}/*.json")
        record.write_text("{")

    damaged()
    for obj, error in node.refusals(lambda: pod.run(node=node, **keys)):
        assert error.startswith(str(obj))
        pod.run(node=node, **keys)
        assert before.changes() == [], error
        damaged()


def test_an_add_that_is_repeated_and_fails_leaves_the_pod_as_it_was(site: Site, node: Faulty) -> None:
    pod = site.nic("new")
    pod.run("ADD", node)
    first, record = pod.result, pod.record(node)

    def repeat() -> None:
        site.nodes[0].netns.ip("link set mv_blue down", "link set mv_blue up")  # the claims go with it
        pod.run("ADD", node)

    errors = set()
    for obj, error in node.refusals(repeat):
        assert error == "" or error.startswith(str(obj))  # what is there is not made again
        assert pod.record(node) == record
        pod.run("ADD", node)
        pod.run("CHECK", node)
        assert pod.result == first
        errors.add(error)

    assert len(errors) > 8


def test_an_add_that_fails_to_change_the_network_leaves_it_as_it_was(site: Site, node: Faulty) -> None:
    living = site.nic("living")
    living.run("ADD", node)
    changed = site.blue(peers=[*site.peers[:1], "10.6.0.13", "10.6.0.14"])
    pod = site.nic("new", network=site.network(changed))
    before = footprint(site, living, pod)

    refused = []
    for obj, error in node.refusals(lambda: pod.run("ADD", node)):
        assert error.startswith(str(obj))
        if isinstance(obj, Fdb):
            refused.append(str(obj.dst))
            assert before.changes() == [], error
        living.run("CHECK", node)

    assert sorted(refused) == ["10.6.0.12", "10.6.0.13", "10.6.0.14"]
    for each in (living, pod):
        each.run("CHECK", node)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Where records are kept, on a disk of their own."""
    with disk(tmp_path / "disk", "1m") as mounted:
        yield mounted / "state"


def leave_room(state: Path, more: int) -> None:
    """For so many files and directories more than are there."""
    there = len(list(state.parent.rglob("*"))) + 1
    resize(state.parent, f"nr_inodes={there + more}")


def full(call: Callable[[], object]) -> bool:
    """Whether a call failed for want of room."""
    try:
        call()
    except IoFailure as error:
        return "No space left on device" in error.msg
    return False


@pytest.mark.parametrize("is_first", [True, False], ids=[FIRST, FURTHER])
def test_a_disk_that_is_full_at_any_file_is_an_error_that_leaves_no_trace(
    site: Site, state: Path, is_first: bool
) -> None:
    with closing(Inside(site.nodes[0].netns, str(state))) as node:
        living, pod = site.nic("living"), site.nic("new")
        if not is_first:
            living.run("ADD", node)
        before, kept = footprint(site, pod, living), files(str(state))

        for room in range(30):
            leave_room(state, room)
            if not full(lambda: pod.run("ADD", node)):
                break
            assert (before.changes(), files(str(state))) == ([], kept)

        assert room > 3
        pod.run("CHECK", node)
        pod.run("DEL", node)
        assert (before.changes(), files(str(state))) == ([], kept)


def test_del_and_check_need_no_room_on_the_disk(site: Site, state: Path) -> None:
    before = footprint(site)
    with closing(Inside(site.nodes[0].netns, str(state))) as node:
        pod = site.nic("new")
        pod.run("ADD", node)
        leave_room(state, 0)

        pod.run("CHECK", node)
        pod.run("DEL", node)

    assert before.changes() == []
    assert files(str(state)) == {}


def test_records_that_cannot_be_written_are_an_error_with_the_code_for_that(
    site: Site, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a directory")
    pod = site.nic("new")
    before = footprint(site, pod)
    runtime = replace(pod.runtime, environment={"UNDERLAY_STATE": str(tmp_path / "file" / "state")})

    with pytest.raises(
        PluginError, match=r"the state directory .*/file/state.*: Not a directory"
    ) as refused:
        replace(pod, runtime=runtime).add()

    assert refused.value.code == 5
    assert before.changes() == []
