"""Many calls at once, as when a node boots: none is lost, none takes what another one needs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import pytest

from tests.netns.crowd import at_once
from tests.netns.world import LAN_A, Footprint, Inside, Nic, World, address, failures
from underlay.cni.errors import CniError
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.runtime import Runtime

MANY = 40
ROUNDS = 15


@pytest.fixture
def runtime(world: World) -> Runtime:
    world.lan(LAN_A)
    return world.runtime(world.node())


def unreachable(nics: Sequence[Nic]) -> list[str]:
    """The pods that do not answer their node, in each family."""
    return failures(
        Probe(nic.runtime.node, Server(nic.pod.netns, address(nic.result, version)))
        for nic in nics
        for version in VERSIONS
    )


def test_forty_pods_come_and_go_at_once(world: World, runtime: Runtime) -> None:
    before = Footprint(world, runtime.node)
    nics = [world.nic(runtime, world.pod(f"pod{number}")) for number in range(MANY)]

    at_once([lambda nic=nic: nic.call("ADD") for nic in nics])  # type: ignore[misc]
    silent = unreachable(nics)
    at_once([lambda nic=nic: nic.call("DEL") for nic in nics])  # type: ignore[misc]

    assert silent == []
    assert before.changes() == []


def test_the_last_del_never_takes_the_rule_from_a_new_pod(world: World, runtime: Runtime) -> None:
    before = Footprint(world, runtime.node)
    old, new = (world.nic(runtime, world.pod(name)) for name in ("one", "two"))
    old.call("ADD")

    for _ in range(ROUNDS):
        at_once([lambda: old.call("DEL"), lambda: new.call("ADD")])  # noqa: B023  done before they change
        rules = [runtime.node.run("ip", f"-{version}", "rule").count("lookup 500") for version in VERSIONS]
        assert (rules, unreachable([new])) == ([1, 1], [])
        old, new = new, old

    old.call("DEL")
    assert before.changes() == []


def test_the_same_at_the_speed_of_threads(world: World, runtime: Runtime) -> None:
    before = Footprint(world, runtime.node)
    old, new = (world.nic(runtime, world.pod(name)) for name in ("one", "two"))

    with (
        closing(Inside(runtime.node, world.state)) as here,
        closing(Inside(runtime.node, world.state)) as there,
    ):
        old.run("ADD", here)
        for _ in range(3 * ROUNDS):
            at_once([lambda: old.run("DEL", here), lambda: new.run("ADD", there)])  # noqa: B023
            new.run("CHECK", here)
            old, new = new, old
        old.run("DEL", here)

    assert before.changes() == []


def test_add_and_del_of_one_pod_at_once_end_as_if_one_came_after_the_other(
    world: World, runtime: Runtime
) -> None:
    before = Footprint(world, runtime.node)
    nic = world.nic(runtime, world.pod())

    with (
        closing(Inside(runtime.node, world.state)) as here,
        closing(Inside(runtime.node, world.state)) as there,
    ):
        for _ in range(ROUNDS):
            at_once([lambda: nic.run("ADD", here), lambda: nic.run("DEL", there)])
            assert before.changes() == [] or is_whole(nic, here)
        nic.run("DEL", here)

    assert before.changes() == []


def is_whole(nic: Nic, node: Inside) -> bool:
    try:
        nic.run("CHECK", node)
    except CniError as error:
        raise AssertionError(error.details) from error
    return True


def test_two_nics_of_one_pod_at_once_share_one_pair(world: World, runtime: Runtime) -> None:
    before = Footprint(world, runtime.node)
    for name in ("one", "two"):
        pod = world.pod(name)
        nics = [world.nic(runtime, pod, ifname) for ifname in ("eth0", "net1", "net2")]
        at_once([lambda nic=nic: nic.call("ADD") for nic in nics])  # type: ignore[misc]
        silent = unreachable(nics)
        for nic in nics:
            nic.call("CHECK")
        defaults = [
            pod.netns.run("ip", f"-{version}", "-o", "route", "show", "default") for version in VERSIONS
        ]
        at_once([lambda nic=nic: nic.call("DEL") for nic in nics])  # type: ignore[misc]
        assert (silent, before.changes()) == ([], [])
        assert [shown.count("\n") for shown in defaults] == [1, 1]
        assert all(" dev eth0" in shown for shown in defaults)
