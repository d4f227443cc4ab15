"""Calls for several NICs that are killed, that come at once, and that come while another one runs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.netns.agents import until
from tests.netns.crowd import at_once
from tests.netns.faulty import failure
from tests.netns.killing import moments
from tests.netns.nics import VALID, Front, links
from tests.netns.world import Footprint, Inside, World
from underlay.cni.errors import TryAgainLater
from underlay.lab.pod import Json, Pod

NETWORKS = '[{"name": "lan-b", "default-route": []}, {"name": "told"}]'


@pytest.fixture
def front(world: World) -> Front:
    front = Front(world)
    front.recorder()
    front.define("told", {"cniVersion": "1.0.0", "type": "recorder"})
    return front


@pytest.fixture
def pod(world: World) -> Pod:
    return world.pod()


@pytest.fixture
def node(front: Front, world: World) -> Iterator[Inside]:
    with closing(Inside(front.node.netns, world.state)) as node:
        yield node


def undo_by_del(front: Front, pod: Pod, node: Inside) -> None:
    front.run("DEL", pod, node)


def undo_by_gc(front: Front, pod: Pod, node: Inside) -> None:
    keys: Json = {VALID: []}
    front.run("GC", pod, node, cniVersion="1.1.0", **keys)


def repeat_and_undo(front: Front, pod: Pod, node: Inside) -> None:
    front.run("ADD", pod, node, NETWORKS)
    front.run("CHECK", pod, node, prevResult={"cniVersion": "1.0.0"})
    front.run("DEL", pod, node)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("undo", [undo_by_del, undo_by_gc, repeat_and_undo])
def test_an_add_that_is_killed_at_any_moment_can_be_undone(
    world: World, front: Front, pod: Pod, node: Inside, undo: Callable[[Front, Pod, Inside], None]
) -> None:
    before = Footprint(world, front.node.netns, pod.netns)

    moment = 0
    for moment in moments(lambda: front.run("ADD", pod, node, NETWORKS), step=5):
        undo(front, pod, node)
        assert (before.changes(), front.leases(), moment) == ([], [], moment)

    assert moment > 30


@pytest.mark.timeout(300)
def test_a_del_that_is_killed_at_any_moment_can_be_finished(
    world: World, front: Front, pod: Pod, node: Inside
) -> None:
    before = Footprint(world, front.node.netns, pod.netns)
    front.run("ADD", pod, node, NETWORKS)

    moment = 0
    for moment in moments(lambda: front.run("DEL", pod, node), step=3):
        front.run("DEL", pod, node)
        assert (before.changes(), front.leases(), moment) == ([], [], moment)
        front.run("ADD", pod, node, NETWORKS)

    assert moment > 10


def test_pods_that_come_and_go_at_once_leave_nothing(world: World, front: Front) -> None:
    pods = [world.pod(f"pod{number}") for number in range(6)]
    before = Footprint(world, front.node.netns)

    at_once([lambda pod=pod: front.add(pod, NETWORKS) for pod in pods])  # type: ignore[misc]
    assert all(links(pod) == ["eth0", "net1", "veth0"] for pod in pods)
    for pod in pods:
        front.check(pod)
    at_once([lambda pod=pod: front.delete(pod) for pod in pods])  # type: ignore[misc]

    assert (before.changes(), front.leases()) == ([], [])


class Slow(Inside):
    """A node on which the recorder waits until a test lets it go on."""

    def __init__(self, front: Front) -> None:
        super().__init__(front.node.netns, front.world.state)
        self.began, self.may_end = threading.Event(), threading.Event()

    def execute(self, path: str, env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        if path.endswith("recorder") and env["CNI_COMMAND"] == "ADD":
            self.began.set()
            assert self.may_end.wait(30)
        return super().execute(path, env, stdin)


def test_a_del_that_comes_while_add_runs_waits_and_takes_off_all_of_it(
    world: World, front: Front, pod: Pod, node: Inside
) -> None:
    before = Footprint(world, front.node.netns, pod.netns)
    with closing(Slow(front)) as slow:
        add = threading.Thread(target=lambda: front.run("ADD", pod, slow, NETWORKS))
        add.start()
        assert slow.began.wait(30)
        remove = threading.Thread(target=lambda: front.run("DEL", pod, node))
        remove.start()
        until(_wait_for_the_lock)
        slow.may_end.set()
        add.join(30)
        remove.join(30)

    assert (before.changes(), front.leases()) == ([], [])


def _wait_for_the_lock() -> int:
    """How many calls of this process have the directory open that is the lock: one holds it."""
    targets = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            targets.append(os.readlink(path))
    return sum("/underlay:" in target for target in targets) - 1


class Abandoned(Inside):
    """A node whose caller has given up when it is asked for the time number `last`, and from then on."""

    asked = last = 0

    def refuse_abandoned(self) -> None:
        self.asked += 1
        if self.asked >= self.last:
            raise TryAgainLater("who made this call has gone")


def test_an_add_whose_caller_gives_up_takes_back_what_it_has_made(
    world: World, front: Front, pod: Pod
) -> None:
    before = Footprint(world, front.node.netns, pod.netns)
    with closing(Abandoned(front.node.netns, world.state)) as node:
        for node.last in range(1, 100):
            node.asked = 0
            error = failure(lambda: front.run("ADD", pod, node, NETWORKS))
            if error is None:
                break
            assert (error.code, before.changes(), front.leases()) == (11, [], [])

    assert node.last > 4
