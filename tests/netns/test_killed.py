"""A call that is killed at any moment is undone by DEL, by GC or by a repeated ADD.

The process kills itself before its n-th effect on the world, for every n: each moment at which the
kernel or a record differs from the moment before is tried once, and in the same order in every run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

import underlay
from tests.netns.world import LAN_A, Footprint, Inside, Nic, World

KILLED = """
import builtins, os, signal, socket, sys

left = int(sys.argv[1])

def before_effect():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Socket(socket.socket):
    def send(self, data):
        if int.from_bytes(data[4:6], sys.byteorder) % 4 < 2:  # RTM_NEW… or RTM_DEL…, not RTM_GET…
            before_effect()
        return super().send(data)

def deadly(function, is_effect=lambda *args: True):
    def call(*args, **keys):
        if is_effect(*args):
            before_effect()
        return function(*args, **keys)
    return call

socket.socket = Socket
builtins.open = deadly(open, lambda path, mode="r": "w" in mode)
for name in ("mkdir", "rename", "unlink", "rmdir"):
    setattr(os, name, deadly(getattr(os, name)))
sys.path.insert(0, sys.argv[2])
from underlay.oneshot import main
sys.exit(main("veth"))
"""
PACKAGE_DIR = os.path.dirname(os.path.dirname(underlay.__file__))


def is_killed(nic: Nic, verb: str, effects: int) -> bool:
    """Whether the call was killed: after so many effects, unless it was done by then."""
    environment = {**nic.variables, **nic.runtime.environment, "CNI_COMMAND": verb}
    with nic.runtime.node.entered():
        done = subprocess.run(
            [sys.executable, "-IS", "-c", KILLED, str(effects), PACKAGE_DIR],
            input=json.dumps(nic.config()).encode(), env=environment, capture_output=True, check=False,
        )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done
    return done.returncode != 0


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

    moments = 0
    while is_killed(nic, "ADD", moments):
        moments += 1
        undo(nic, node)
        assert (before.changes(), moments) == ([], moments)

    assert moments > 10


@pytest.mark.parametrize("undo", [undo_by_del, undo_by_gc, repeat_and_undo])
def test_a_del_that_is_killed_at_any_moment_can_be_finished(
    world: World, nic: Nic, node: Inside, undo: Callable[[Nic, Inside], None]
) -> None:
    before = Footprint(world, nic.runtime.node)
    nic.run("ADD", node)

    moments = 0
    while is_killed(nic, "DEL", moments):
        moments += 1
        undo(nic, node)
        assert (before.changes(), moments) == ([], moments)
        nic.run("ADD", node)

    assert moments > 2
