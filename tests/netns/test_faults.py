"""What fails leaves no trace: the kernel refuses each object of a call in turn, a disk is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.netns.world import LAN_A, Footprint, Inside, Nic, World, files
from underlay.cni.errors import CniError, KernelError
from underlay.lab.errors import PluginError
from underlay.lab.namespace import Netns
from underlay.netlink.facts import NodeKernel
from underlay.netns import open_netns
from underlay.objects import OURS, LinkUp, Ns, Object, Request, Route, Sysctl, View, Write
from underlay.plan import Outcome

SETTINGS = {"ipv4": ("rp_filter", "arp_ignore"), "ipv6": ("disable_ipv6", "accept_ra_defrtr")}


class Damaged:
    """An object whose request the kernel cannot read; everything else is the object's own."""

    def __init__(self, obj: Object) -> None:
        self._obj = obj

    def __getattr__(self, name: str) -> Any:
        return getattr(self._obj, name)

    def __str__(self) -> str:
        return str(self._obj)

    def add(self, view: View) -> Request:
        return damaged(self._obj.add(view))

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        return [(ns, damaged(request)) for ns, request in self._obj.replace(view)]

    def remove(self, view: View) -> Request | None:
        request = self._obj.remove(view)
        return request and damaged(request)


def damaged(request: Request) -> Request:
    assert not isinstance(request, Write)
    return request._replace(body=request.body[:4])


class Refusing(NodeKernel):
    """The real kernel, which refuses one object; the rest of its batch goes through, as it does in life."""

    def __init__(self, host: int, pod: int, node: Faulty) -> None:
        super().__init__(host, pod)
        self.node = node

    def add(self, objects: Sequence[Object]) -> list[Outcome]:
        self.node.ask(objects)
        if not set(objects) & {*self.node.refused}:
            return super().add(objects)
        (refused,) = self.node.refused
        place = objects.index(refused)
        if not isinstance(refused, LinkUp | Sysctl):
            return super().add([*objects[:place], twin(refused), *objects[place + 1 :]])
        # The kernel has no reason to refuse what is so already, so it is said in its place.
        outcomes = super().add(objects[:place]) if place else []
        whole = len(outcomes) == place
        return [*outcomes, KernelError(f"{refused}: Operation not permitted")] if whole else outcomes

    def remove(self, objects: Iterable[Object]) -> list[CniError]:
        every = list(objects)
        self.node.ask([obj for obj in every if self.removes(obj)])
        return super().remove(twin(obj) if obj in self.node.refused else obj for obj in every)

    def replace(self, old: Object, new: Object) -> None:
        if isinstance(new, Route):  # settings are put back this way too
            self.node.ask([new])
        super().replace(old, twin(new) if new in self.node.refused else new)

    def removes(self, obj: Object) -> bool:
        try:
            return obj.remove(self) is not None
        except CniError:
            return False  # its link is gone


def twin(obj: Object) -> Object:
    return cast(Object, Damaged(obj))


class Faulty(Inside):
    """A node whose kernel can refuse the object number `place` of those that a call asks for."""

    def __init__(self, node: Netns, state: str) -> None:
        super().__init__(node, state)
        self.asked: dict[Object, None] = {}
        self.place = -1
        self.refused: list[Object] = []

    def ask(self, objects: Iterable[Object]) -> None:
        self.asked.update(dict.fromkeys(objects))
        if not self.refused and 0 <= self.place < len(self.asked):
            self.refused.append([*self.asked][self.place])

    @contextmanager
    def refusing(self, place: int) -> Iterator[list[Object]]:
        """Gives the object that was refused, or none where the calls asked for fewer."""
        self.asked, self.place, refused = {}, place, self.refused
        yield refused
        self.place, self.refused = -1, []

    @contextmanager
    def kernel(self, path: str) -> Iterator[NodeKernel]:
        pod = open_netns(path)
        kernel = Refusing(self._host, pod, self)
        try:
            yield kernel
        finally:
            kernel.close()
            os.close(pod)


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


def refusal(nic: Nic, verb: str, node: Inside) -> str:
    """The error of a call in this process, "" for none."""
    try:
        nic.run(verb, node)
    except CniError as error:
        return error.msg
    return ""


def test_an_add_that_fails_at_any_object_names_it_and_leaves_everything_as_it_was(
    world: World, nic: Nic, faulty: Faulty
) -> None:
    for netns in (nic.runtime.node, nic.pod.netns):  # so that the plan has something to change
        netns.sysctl({"ipv4/conf/default/rp_filter": 1, "ipv6/conf/default/disable_ipv6": 1})
    before, set_before = Footprint(world, nic.runtime.node, nic.pod.netns), settings(nic)

    error = ""
    for place in range(100):
        with faulty.refusing(place) as refused:
            error = refusal(nic, "ADD", faulty)
        if not refused:
            break
        assert error.startswith(str(refused[0]))
        assert (before.changes(), settings(nic)) == ([], set_before), error

    moved = [obj for obj in faulty.asked if isinstance(obj, Route) and obj.proto != OURS]
    assert (len(faulty.asked) > 40, error) == (True, "")
    assert [route.dst.version for route in moved] == ([4, 6] if nic.ifname == "net1" else [])


def test_a_del_that_fails_at_any_object_names_it_and_the_next_one_finishes(
    world: World, nic: Nic, faulty: Faulty
) -> None:
    before = Footprint(world, nic.runtime.node)

    error = ""
    for place in range(100):
        nic.run("ADD", faulty)
        with faulty.refusing(place) as refused:
            error = refusal(nic, "DEL", faulty)
        if not refused:
            break
        assert error.startswith(str(refused[0]))
        nic.run("DEL", faulty)
        assert before.changes() == [], error

    assert (len(faulty.asked) > 5, error) == (True, "")


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
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


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
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    full.call("ADD")
    (small_disk / "ballast").write_bytes(bytes(4096))
    subprocess.run(["mount", "-o", "remount,size=12k", small_disk], check=True)

    full.call("CHECK")
    full.call("DEL")

    assert before.changes() == []
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
