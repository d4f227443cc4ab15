"""What fails leaves no trace: the kernel refuses each object of a call in turn, a disk is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.netns.disk import disk, resize
from tests.netns.faulty import Faulty
from tests.netns.world import LAN_A, Footprint, Nic, World, files
from underlay.lab.errors import PluginError
from underlay.objects import OURS, Route

SETTINGS = {"ipv4": ("rp_filter", "arp_ignore"), "ipv6": ("disable_ipv6", "accept_ra_defrtr")}


def settings(nic: Nic) -> dict[str, str]:
    paths = [f"{family}/conf/{nic.ifname}/{key}" for family, keys in SETTINGS.items() for key in keys]
    with nic.pod.netns.entered():
        return {path: Path("/proc/sys/net", path).read_text() for path in paths}


@pytest.fixture(params=["eth0", "net1"])
def nic(request: pytest.FixtureRequest, world: World) -> Nic:
    """A NIC that `veth` is to be called for; before net1, eth0 has been attached whole."""
    world.lan(LAN_A)
    runtime, pod = world.runtime(world.node()), world.pod()
    if request.param != "eth0":
        runtime.add(world.network("first"), pod)
    return world.nic(runtime, pod, request.param)


@pytest.fixture
def faulty(nic: Nic, world: World) -> Iterator[Faulty]:
    with closing(Faulty(nic.runtime.node, world.state)) as node:
        yield node


def test_an_add_that_fails_at_any_object_names_it_and_leaves_everything_as_it_was(
    world: World, nic: Nic, faulty: Faulty
) -> None:
    for netns in (nic.runtime.node, nic.pod.netns):  # so that the plan has something to change
        netns.sysctl({"ipv4/conf/default/rp_filter": 1, "ipv6/conf/default/disable_ipv6": 1})
    before, set_before = Footprint(world, nic.runtime.node, nic.pod.netns), settings(nic)

    for obj, error in faulty.refusals(lambda: nic.run("ADD", faulty)):
        assert error.startswith(str(obj))
        assert (before.changes(), settings(nic)) == ([], set_before), error

    moved = [obj for obj in faulty.asked if isinstance(obj, Route) and obj.proto != OURS]
    assert len(faulty.asked) > 40
    assert [route.dst.version for route in moved] == ([4, 6] if nic.ifname == "net1" else [])


def test_a_del_that_fails_at_any_object_names_it_and_the_next_one_finishes(
    world: World, nic: Nic, faulty: Faulty
) -> None:
    before = Footprint(world, nic.runtime.node)

    nic.run("ADD", faulty)
    for obj, error in faulty.refusals(lambda: nic.run("DEL", faulty)):
        assert error.startswith(str(obj))
        nic.run("DEL", faulty)
        assert before.changes() == [], error
        nic.run("ADD", faulty)

    assert len(faulty.asked) > 5


@pytest.fixture
def plain(world: World) -> Nic:
    """The first NIC of a pod."""
    world.lan(LAN_A)
    return world.nic(world.runtime(world.node()), world.pod())


def with_state(nic: Nic, state: Path) -> Nic:
    """The same NIC, whose records are to be somewhere else."""
    return replace(nic, runtime=replace(nic.runtime, environment={"UNDERLAY_STATE": str(state)}))


def test_a_log_that_cannot_be_written_fails_no_call(world: World, plain: Nic, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    before = Footprint(world, plain.runtime.node)

    log = {"log_file": str(tmp_path / "file" / "veth.log"), "log_level": "debug"}
    for verb in ("ADD", "CHECK", "DEL"):
        plain.call(verb, log_options=log)

    assert before.changes() == []


def test_a_state_directory_that_cannot_be_made_is_an_error_before_anything_is_changed(
    world: World, plain: Nic, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a directory")
    before = Footprint(world, plain.runtime.node, plain.pod.netns)

    with pytest.raises(
        PluginError, match=r"the state directory .*/file/state.*: Not a directory"
    ) as refused:
        with_state(plain, tmp_path / "file" / "state").call("ADD")

    assert refused.value.code == 5
    assert before.changes() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk on which there is room for a directory, and not for a record."""
    with disk(tmp_path / "disk", "4k") as small:
        yield small


def test_a_full_disk_is_an_error_before_anything_is_changed(
    world: World, plain: Nic, small_disk: Path
) -> None:
    before = Footprint(world, plain.runtime.node, plain.pod.netns)

    with pytest.raises(PluginError, match=r"writing the record .*: No space left on device") as refused:
        with_state(plain, small_disk / "state").call("ADD")

    assert refused.value.code == 5
    assert before.changes() == []
    assert files(str(small_disk)) == {}


def test_del_and_check_need_no_room_on_the_disk(world: World, plain: Nic, small_disk: Path) -> None:
    before = Footprint(world, plain.runtime.node)
    full = with_state(plain, small_disk / "state")
    resize(small_disk, "size=1m")
    full.call("ADD")
    (small_disk / "ballast").write_bytes(bytes(4096))
    resize(small_disk, "size=12k")

    full.call("CHECK")
    full.call("DEL")

    assert before.changes() == []
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
