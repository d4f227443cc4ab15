"""A call that is killed at any moment is undone by DEL, by GC or by a repeated ADD."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.netns.killing import moments
from tests.netns.world import LAN_A, Footprint, Inside, Nic, World


@pytest.fixture(params=["eth0", "net1"])
def nic(request: pytest.FixtureRequest, world: World) -> Nic:
    """A NIC that `veth` is to be called for; before net1, eth0 has been attached whole."""
    world.lan(LAN_A)
    runtime, pod = world.runtime(world.node()), world.pod()
    if request.param != "eth0":
        runtime.add(world.network("first"), pod)
    return world.nic(runtime, pod, request.param)


@pytest.fixture
def node(nic: Nic, world: World) -> Iterator[Inside]:
    with closing(Inside(nic.runtime.node, world.state)) as node:
        yield node


def undo_by_del(nic: Nic, node: Inside) -> None:
    nic.run("DEL", node)


def undo_by_gc(nic: Nic, node: Inside) -> None:
    nic.run("GC", node, cniVersion="1.1.0", **{"cni.dev/valid-attachments": []})


def repeat_and_undo(nic: Nic, node: Inside) -> None:
    nic.run("ADD", node)
    nic.run("CHECK", node)
    nic.run("DEL", node)


@pytest.mark.parametrize("undo", [undo_by_del, undo_by_gc, repeat_and_undo])
def test_an_add_that_is_killed_at_any_moment_can_be_undone(
    world: World, nic: Nic, node: Inside, undo: Callable[[Nic, Inside], None]
) -> None:
    before = Footprint(world, nic.runtime.node)

    moment = 0
    for moment in moments(lambda: nic.run("ADD", node)):
        undo(nic, node)
        assert (before.changes(), moment) == ([], moment)

    assert moment > 7


@pytest.mark.parametrize("undo", [undo_by_del, undo_by_gc, repeat_and_undo])
def test_a_del_that_is_killed_at_any_moment_can_be_finished(
    world: World, nic: Nic, node: Inside, undo: Callable[[Nic, Inside], None]
) -> None:
    before = Footprint(world, nic.runtime.node)
    nic.run("ADD", node)

    moment = 0
    for moment in moments(lambda: nic.run("DEL", node)):
        undo(nic, node)
        assert (before.changes(), moment) == ([], moment)
        nic.run("ADD", node)

    assert moment > 2
