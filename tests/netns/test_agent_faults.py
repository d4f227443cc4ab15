"""An agent under load, and one that is killed: calls don't hold each other up, and nothing is left over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.netns.agents import (
    Client,
    Served,
    asking_absent_gateway,
    asking_for_ever,
    request,
    served,
    until,
)
from tests.netns.world import LAN_A, Nic, World
from underlay.agent.hosts import Hosts
from underlay.lab.namespace import delete
from underlay.netns import identity, open_netns

WAITING = 60
CLIENTS = 200


@pytest.fixture
def there(world: World) -> Iterator[Served]:
    yield from served(world)


def begun(there: Served, nic: Nic, number: int, verb: str, stdin: bytes) -> Client:
    """A call for the NIC in the name of another container."""
    variables = {**nic.variables, "CNI_CONTAINERID": f"other-{number}", "CNI_COMMAND": verb}
    client = there.agent.client()
    client.call(request("veth", stdin, variables), there.node.netns, nic.pod.netns.path)
    return client


def test_sixty_calls_that_wait_do_not_delay_the_next(there: Served) -> None:
    silent, quick = there.nic("silent"), there.nic("quick")
    stdin = json.dumps(silent.config(**asking_for_ever())).encode()
    with ExitStack() as opened:
        waiting = [
            opened.enter_context(closing(begun(there, silent, number, "ADD", stdin)))
            for number in range(WAITING)
        ]

        quick.call("ADD")

        assert [client for client in waiting if client.has_answer()] == []
        there.agent.kill()  # before they give up the pod's lock in their own time


@pytest.mark.parametrize("threads", [1, 4, 256])
def test_two_hundred_clients_at_once_are_all_answered(world: World, threads: int) -> None:
    for there in served(world, "--threads", str(threads)):
        before = there.footprint()
        nics = [there.nic(f"pod{number}") for number in range(4)]
        with ExitStack() as opened:
            stdin = json.dumps(nics[0].config()).encode()
            clients = [
                begun(there, nics[0], number, verb, stdin)
                for number in range((CLIENTS - len(nics)) // 2)
                for verb in ("DEL", "VERSION")
            ]
            clients += [there.begin(nic, "ADD") for nic in nics]
            for client in clients:
                opened.callback(client.close)

            replies = [client.reply() for client in clients]

        assert [reply and reply.code for reply in replies] == [0] * CLIENTS
        for nic in nics:
            nic.call("DEL")
        assert before.changes() == []


def test_an_agent_that_is_killed_while_it_works_leaves_what_the_next_one_finishes(there: Served) -> None:
    nics = [there.nic(f"pod{number}") for number in range(4)]
    before = there.footprint()
    with ExitStack() as opened:
        clients = [
            opened.enter_context(closing(there.begin(nic, "ADD", **asking_absent_gateway(nic))))
            for nic in nics
        ]
        until(lambda: there.is_recorded(*nics))
        there.agent.kill()
        assert [client.reply() for client in clients] == [None] * len(nics)
    there.world.host(there.world.lans[0], 77)

    there.agent.start()

    results = [there.answer(nic, "ADD", **asking_absent_gateway(nic)) for nic in nics]
    for nic, result in zip(nics, results, strict=True):
        nic.call("CHECK", **asking_absent_gateway(nic) | {"prevResult": result})
        nic.call("DEL")
    assert before.changes() == []


def test_what_a_killed_agent_was_at_a_process_of_its_own_can_undo(there: Served) -> None:
    nic, before = there.nic(), there.footprint()
    with closing(there.begin(nic, "ADD", **asking_absent_gateway(nic))):
        until(lambda: there.is_recorded(nic))
        there.agent.kill()

    there.world.runtime(there.node).call("veth", "DEL", nic.config(), nic.variables)

    assert before.changes() == []


def test_an_agent_that_is_killed_at_any_moment_is_started_again_and_goes_on(there: Served) -> None:
    nics = [there.nic(f"pod{number}") for number in range(4)]
    before = there.footprint()
    for _ in range(8):
        with ExitStack() as opened:
            for nic in nics:
                opened.enter_context(closing(there.begin(nic, "ADD")))
            until(lambda: there.is_recorded(*nics[:1]))
            there.agent.kill()
        there.agent.start()

        for nic in nics:
            nic.call("ADD")
            nic.call("DEL")
        assert before.changes() == []


def test_a_node_that_is_taken_down_is_not_kept_by_what_is_remembered_of_it(world: World) -> None:
    world.lan(LAN_A)
    node, hosts = world.node(), Hosts(patience=0.1)
    fd = open_netns(node.netns.path)
    try:
        first = hosts.taken(fd)
        before = first.watch.changes()
        node.netns.ip("link add test type veth")
        assert first.watch.changes() > before
        hosts.give_back(first)
        second = hosts.taken(fd)
        assert second.identity == identity(fd)
        hosts.give_back(second)
    finally:
        os.close(fd)
    lan = world.lans[0].netns
    assert f"link-netns {node.netns.name}" in lan.run("ip", "-d", "link")

    delete(node.netns)

    until(lambda: "link-netnsid" not in lan.run("ip", "-d", "link"))


def test_a_pod_whose_namespace_goes_midway_harms_nobody_and_is_not_kept(there: Served) -> None:
    nic, before = there.nic(), there.footprint()
    with closing(there.begin(nic, "ADD", **asking_absent_gateway(nic))) as client:
        until(lambda: there.is_recorded(nic))
        delete(nic.pod.netns)
        there.world.made.remove(nic.pod.netns)
        there.world.host(there.world.lans[0], 77)
        assert client.reply()

    there.runtime.call("veth", "DEL", nic.config(), {**nic.variables, "CNI_NETNS": ""})

    assert before.changes() == []
    until(there.agent.is_at_rest)
    assert there.is_alive()
