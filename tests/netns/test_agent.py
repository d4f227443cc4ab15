"""The agent in its place: what it answers, for whom, where, and how it begins and ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.netns.agents import (
    AGENT,
    Agent,
    Served,
    asking_absent_gateway,
    request,
    runtime_of,
    served,
    until,
)
from tests.netns.disk import disk
from tests.netns.world import Footprint, World
from underlay.lab.errors import PluginError

ANOTHER_USER = ("unshare", "--user", "--map-user=1000")  # root of here is user 1000 in there


@pytest.fixture
def there(world: World) -> Iterator[Served]:
    yield from served(world)


@pytest.fixture
def other(there: Served) -> Iterator[Agent]:
    """An agent that has not been started, for the same socket."""
    with closing(Agent(there.world.state)) as agent:
        agent.socket = there.agent.socket
        yield agent


def test_every_verb_goes_through_the_agent(there: Served) -> None:
    nic, before = there.nic(), there.footprint()
    newest = {"cniVersion": "1.1.0"}
    valid = [{"containerID": nic.pod.container_id, "ifname": nic.ifname}]

    nic.call("STATUS", **newest)
    result = there.answer(nic, "ADD")
    assert result["interfaces"][-1]["name"] == "veth0"
    assert there.answer(nic, "ADD") == result
    nic.call("CHECK", prevResult=result)
    nic.call("GC", **newest, **{"cni.dev/valid-attachments": valid})
    nic.call("CHECK", prevResult=result)
    nic.call("DEL")
    nic.call("DEL")

    assert before.changes() == []
    assert [(event["verb"], event["outcome"]) for event in there.agent.events(least=8)] == [
        (verb, "ok") for verb in ("STATUS", "ADD", "ADD", "CHECK", "GC", "CHECK", "DEL", "DEL")
    ]


def test_a_failure_is_the_same_error_as_in_a_process(there: Served) -> None:
    nic = there.nic(service_hijack_subnet=["10.96.0.0/33"])
    plain = there.world.runtime(there.node)

    with pytest.raises(PluginError) as by_agent:
        nic.call("ADD")
    with pytest.raises(PluginError) as by_process:
        plain.call("veth", "ADD", nic.config(), nic.variables)

    assert str(by_agent.value) == str(by_process.value)
    assert "10.96.0.0/33" in str(by_agent.value)


def test_one_agent_serves_several_nodes_each_in_its_own_namespace(there: Served) -> None:
    second = there.world.node(12)
    runtimes = (there.runtime, runtime_of(there.world, second, there.agent))
    before = [Footprint(there.world, node.netns) for node in (there.node, second)]
    nics = [
        there.world.nic(runtime, there.world.pod(f"pod{number}")) for number, runtime in enumerate(runtimes)
    ]

    for nic in nics:
        nic.call("ADD")

    ends = [f"veth{nic.pod.container_id[:11]}" for nic in nics]
    for node, own in zip((there.node, second), ends, strict=True):
        links = node.netns.run("ip", "-o", "link")
        assert [end for end in ends if end in links] == [own]
    assert len(os.listdir(there.world.state)) == len(runtimes)
    for nic in nics:
        nic.call("DEL")
    assert [line for footprint in before for line in footprint.changes()] == []


def test_the_pod_is_the_one_of_the_descriptor_whatever_its_path_means_to_the_agent(there: Served) -> None:
    nic, before = there.nic(), there.footprint()
    elsewhere = {**nic.variables, "CNI_NETNS": "netns/of-the-runtime's-own"}
    config = json.dumps(nic.config()).encode()

    for verb in ("ADD", "CHECK", "DEL"):
        with closing(there.agent.client()) as client:
            sent = request("veth", config, {**elsewhere, "CNI_COMMAND": verb})
            client.call(sent, there.node.netns, nic.pod.netns.path)
            reply = client.reply()
        if verb == "ADD":
            config = json.dumps(nic.config(prevResult=reply and reply.json)).encode()
        assert reply
        assert (reply.code, verb) == (0, verb), reply.stdout

    assert before.changes() == []


def test_the_nodes_own_namespace_is_refused_as_a_pods(there: Served) -> None:
    nic = there.nic()
    for path in ("/proc/self/ns/net", there.node.netns.path):
        with closing(there.agent.client()) as client:
            env = {**nic.variables, "CNI_NETNS": path, "CNI_COMMAND": "ADD"}
            client.call(
                request("veth", json.dumps(nic.config()).encode(), env),
                there.node.netns,
                there.node.netns.path,
            )
            reply = client.reply()
        assert reply
        assert reply.json["code"] == 8
        assert "the node's own network namespace" in reply.json["msg"]


def test_each_call_is_a_line_of_the_log_and_of_standard_error(there: Served) -> None:
    log = Path(there.world.directory, "calls.log")
    nic = there.nic(log_options={"log_file": str(log)})
    variables = {**nic.variables, "CNI_ARGS": nic.pod.cni_args}

    there.runtime.call("veth", "ADD", nic.config(), variables)
    with pytest.raises(PluginError):
        there.runtime.call(
            "veth", "CHECK", nic.config(prevResult=nic.result), variables | {"CNI_IFNAME": "eth9"}
        )

    there.agent.events(least=2)  # a line is written there first
    until(lambda: len(log.read_text().splitlines()) == 2)
    for lines in (there.agent.events(), [json.loads(line) for line in log.read_text().splitlines()]):
        added, checked = (line for line in lines if line["event"] == "call")
        told = {
            "network": "lan-eth0",
            "container_id": nic.pod.container_id,
            "pod": "default/pod",
            "plugin": "veth",
        }
        assert added.items() >= {**told, "ifname": "eth0", "verb": "ADD", "outcome": "ok"}.items()
        assert checked.items() >= {**told, "ifname": "eth9", "verb": "CHECK", "outcome": "failed"}.items()
        assert added["duration_ms"] > 0
        assert list(added["ms"]) == ["read", "plan", "apply", "reply"]
        assert sum(added["ms"].values()) == pytest.approx(added["duration_ms"], abs=0.1)
        assert "eth9" in checked["msg"]


def test_a_full_disk_under_the_log_fails_no_call(there: Served, tmp_path: Path) -> None:
    with disk(tmp_path / "log", "4k") as full:
        log = full / "veth.log"
        log.write_bytes(bytes(4096))
        nic = there.nic(log_options={"log_file": str(log), "log_level": "debug"})

        nic.call("ADD")

    assert [line["log_file"] for line in there.agent.events(least=2) if "log_error" in line] == [str(log)]
    nic.call("DEL")


def test_nobody_who_takes_its_standard_error_fails_no_call(there: Served) -> None:
    there.agent.end()
    there.agent.stderr = "/dev/full"
    there.agent.start()

    there.nic().call("ADD")


def test_it_answers_root_alone(there: Served) -> None:
    there.agent.end()
    there.agent.start(prefix=ANOTHER_USER)

    with closing(there.agent.client()) as client:
        reply = client.reply()

    assert reply
    assert (reply.code, reply.json["code"]) == (1, 5)
    assert "the agent answers root alone" in reply.json["msg"]
    assert reply.json["msg"].endswith("is of user 1000")


def test_only_root_can_reach_its_socket(there: Served) -> None:
    there.agent.end()
    there.agent.socket = str(there.agent.directory / "made/for/it/agent.sock")
    there.agent.start()

    assert os.stat(os.path.dirname(there.agent.socket)).st_mode & 0o777 == 0o700
    assert os.stat(there.agent.socket).st_mode & 0o777 == 0o600


def test_a_second_agent_for_the_socket_does_not_start(there: Served, other: Agent) -> None:
    other.start()

    assert other.process.wait() == 1
    assert f"{other.socket}: another agent has it, process {there.agent.process.pid};" in other.said
    assert there.is_alive()


def test_of_many_that_start_at_once_over_a_stale_socket_one_wins(there: Served) -> None:
    there.agent.kill()
    assert os.path.exists(there.agent.socket)
    many = [
        subprocess.Popen(
            [sys.executable, *AGENT, "--socket", there.agent.socket, "--state", there.world.state],
            stderr=subprocess.DEVNULL,
        )
        for _ in range(5)
    ]
    try:
        until(lambda: [each.poll() for each in many].count(1) == len(many) - 1)
        until(lambda: os.path.exists(there.agent.socket))
        assert there.is_alive()
    finally:
        for each in many:
            each.kill()
            each.wait()


@pytest.mark.parametrize("thing", ["file", "directory", "link"])
def test_what_is_no_socket_is_not_taken_away(there: Served, thing: str) -> None:
    there.agent.end()
    place = Path(there.agent.socket)
    match thing:
        case "file":
            place.write_text("mine")
        case "directory":
            place.mkdir()
        case _:
            place.symlink_to("mine")

    there.agent.start()

    assert there.agent.process.wait() == 1
    assert f"{place} is there and is no socket" in there.agent.said
    assert place.is_symlink() or place.exists()


def test_the_socket_of_another_program_is_not_taken_away(there: Served) -> None:
    os.unlink(there.agent.socket + ".lock")  # by somebody who cleans up
    there.agent.start()

    assert there.agent.process.wait() == 1
    assert f"{there.agent.socket}: another program answers there" in there.agent.said
    assert there.is_alive()


def test_a_directory_that_others_may_enter_is_refused(there: Served) -> None:
    there.agent.end()
    there.agent.directory.chmod(0o755)

    there.agent.start()

    assert there.agent.process.wait() == 1
    assert f"{there.agent.directory}: the directory of the socket is open to others" in there.agent.said
    assert "mode 0755" in there.agent.said


def test_a_path_that_is_too_long_for_a_socket_is_refused_in_words(there: Served) -> None:
    there.agent.end()
    there.agent.socket += "x" * 100

    there.agent.start()

    assert there.agent.process.wait() == 1
    assert "the path of a socket has 107 bytes at most" in there.agent.said


def test_it_leaves_alone_what_has_taken_the_place_of_its_socket(there: Served) -> None:
    os.unlink(there.agent.socket)
    Path(there.agent.socket).write_text("mine")

    assert there.agent.end() == 0

    assert Path(there.agent.socket).read_text() == "mine"


def test_it_tells_systemd_when_it_is_ready_and_when_it_ends_and_leaves_nothing(there: Served) -> None:
    assert there.agent.told == [b"READY=1"]

    assert there.agent.end() == 0

    assert there.agent.has_told(b"STOPPING=1")
    assert sorted(path.name for path in there.agent.directory.iterdir()) == ["notify", "stderr"]
    assert [line["unfinished"] for line in there.agent.events("agent-stopped")] == [0]


def test_it_finishes_the_calls_that_run_when_it_is_told_to_end(there: Served) -> None:
    nic = there.nic()
    with closing(there.begin(nic, "ADD", **asking_absent_gateway(nic))) as client:
        until(lambda: there.is_recorded(nic))
        there.agent.process.terminate()
        until(lambda: there.agent.has_told(b"STOPPING=1"))
        until(lambda: not there.accepts())

        there.world.host(there.world.lans[0], 77)
        reply = client.reply()

    assert reply
    assert (reply.code, reply.json["interfaces"][-1]["name"]) == (0, "veth0")
    assert there.agent.process.wait() == 0
    assert not os.path.exists(there.agent.socket)


def test_told_twice_it_ends_at_once_and_the_next_one_undoes_what_it_was_at(there: Served) -> None:
    nic, before = there.nic(), there.footprint()
    with closing(there.begin(nic, "ADD", **asking_absent_gateway(nic))) as client:
        until(lambda: there.is_recorded(nic))
        there.agent.process.terminate()
        until(lambda: there.agent.has_told(b"STOPPING=1"))
        until(lambda: not there.accepts())
        there.agent.process.terminate()
        assert client.reply() is None

    assert there.agent.process.wait() == -signal.SIGTERM
    there.agent.start()
    nic.call("DEL")
    assert before.changes() == []


def test_a_terminal_that_closes_does_not_end_it(there: Served) -> None:
    there.agent.process.send_signal(signal.SIGHUP)

    assert there.is_alive()
    assert there.agent.end() == 0
