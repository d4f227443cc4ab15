"""Clients that break the protocol, hang or die: they harm neither the agent nor the node nor each other."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.netns.agents import (
    Reply,
    Served,
    asking_absent_gateway,
    held,
    request,
    served,
    sized,
    until,
)
from tests.netns.world import World
from underlay.lab.errors import PluginError

LONGEST = 8 << 20
A_REQUEST = request("veth", b"{}", {"CNI_COMMAND": "VERSION"})
PLUGIN_THAT_DIES = """
import sys
from dataclasses import replace
from types import ModuleType
from underlay import plugins
from underlay.cli import main

def parse(keys):
    raise eval(keys.text("with", ""))

dies = ModuleType("underlay.plugins.dies")
dies.PLUGIN = replace(plugins.PLUGINS["veth"], name="dies", parse=parse)
sys.modules[dies.__name__] = dies
plugins.PLUGINS.names.append("dies")
main()
"""


@pytest.fixture
def there(world: World) -> Iterator[Served]:
    yield from served(world)


def answered(there: Served, data: bytes, *descriptors: int) -> Reply | None:
    """What the agent replies to these bytes."""
    with closing(there.agent.client()) as client:
        client.send(data, *descriptors)
        return client.reply()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "a request of 1195725856 bytes: the agent takes 8388608 at most"),
        (struct.pack("!I", LONGEST + 1), "a request of 8388609 bytes: the agent takes 8388608 at most"),
        (b"\xff" * 4000, "a request of 4294967295 bytes"),
        (sized(b""), "a request of 0 fields: a plugin's name and its standard input are missing"),
        (sized(sized(b"veth")), "a request of 1 fields"),
        (sized(b"\0\0\0\5veth"), "a request whose field at byte 0 ends 1 bytes behind it"),
        (sized(sized(b"veth") + b"\0\0"), "a request whose field at byte 8 ends 2 bytes behind it"),
        (sized(b"\xff" * 9), "a request whose field at byte 0 ends"),
        (sized(sized(b"veth") * 3), "a request with 'veth' in the place of CNI_…=…"),
        (sized(sized(b"veth") * 2 + sized(b"PATH=/bin")), "a request with 'PATH' in the place of CNI_…=…"),
        (A_REQUEST + b"\0", "a request with 1 bytes behind its end"),
    ],
)
def test_what_is_no_request_is_refused_in_words(there: Served, data: bytes, said: str) -> None:
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        reply = answered(there, data, own)
    finally:
        os.close(own)

    assert reply
    assert (reply.code, reply.json["code"]) == (1, 5)
    assert reply.json["msg"].startswith(said)
    assert there.is_alive()


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, len(A_REQUEST) - 1])
def test_who_leaves_before_its_request_is_whole_is_not_answered(there: Served, size: int) -> None:
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        with closing(there.agent.client()) as client:
            if size:
                client.send(A_REQUEST[:size], own)
            client.connection.shutdown(1)
            assert client.reply() is None
    finally:
        os.close(own)

    assert there.is_alive()
    until(there.agent.is_at_rest)


def test_a_request_may_come_byte_by_byte_and_have_four_megabytes(there: Served) -> None:
    stdin = json.dumps({"cniVersion": "1.0.0", "name": "x" * (4 << 20)}).encode()
    data = request("veth", stdin, {"CNI_COMMAND": "VERSION"})
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        with closing(there.agent.client()) as client:
            client.send(data[:1], own)
            for byte in data[1:40]:
                client.send(bytes([byte]))
            client.send(data[40:])
            reply = client.reply()
    finally:
        os.close(own)

    assert reply
    assert reply.json["cniVersion"] == "1.0.0"


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ((), "a request without the network namespace of who calls"),
        (("file",), "the first descriptor of the request is no network namespace"),
        (("pipe", "net"), "the first descriptor of the request is no network namespace"),
        (("mnt",), "the first descriptor of the request is no network namespace"),
        (("net", "net", "net"), "a request with more than 2 descriptors"),
        (("net",) * 200, "a request with more than 2 descriptors"),
    ],
    ids=["none", "a file", "a pipe", "a mount namespace", "three", "two hundred"],
)
def test_wrong_descriptors_are_refused_and_closed(there: Served, kinds: tuple[str, ...], said: str) -> None:
    with ExitStack() as opened:
        reply = answered(there, A_REQUEST, *(descriptor_of(kind, there, opened) for kind in kinds))

    assert reply
    assert (reply.code, reply.json["code"]) == (1, 5)
    assert reply.json["msg"] == said
    until(there.agent.is_at_rest)
    assert not [path for path in there.agent.opened() if path.endswith("/a-file")]


def descriptor_of(kind: str, there: Served, opened: ExitStack) -> int:
    match kind:
        case "file":
            path = Path(there.world.directory, "a-file")
            path.touch()
            descriptor = os.open(path, os.O_RDONLY)
        case "pipe":
            descriptor, write = os.pipe()
            opened.callback(os.close, write)
        case _:
            descriptor = os.open(f"/proc/self/ns/{kind}", os.O_RDONLY)
    opened.callback(os.close, descriptor)
    return descriptor


@pytest.mark.parametrize("kind", ["file", "pipe", "mnt", None], ids=["file", "pipe", "mount", "none"])
def test_without_a_pods_namespace_an_add_fails_and_a_del_does_not(there: Served, kind: str | None) -> None:
    """The mount of a namespace that is gone is an ordinary file."""
    nic, before = there.nic(), there.footprint()
    nic.call("ADD")
    gone = {**nic.variables, "CNI_NETNS": "/run/netns/gone"}
    codes = {}
    for verb in ("ADD", "DEL"):
        with ExitStack() as opened:
            descriptors = [os.open(there.node.netns.path, os.O_RDONLY)]
            opened.callback(os.close, descriptors[0])
            if kind:
                descriptors.append(descriptor_of(kind, there, opened))
            data = request("veth", json.dumps(nic.config()).encode(), {**gone, "CNI_COMMAND": verb})
            with closing(there.agent.client()) as client:
                client.send(data, *descriptors)
                reply = client.reply()
        assert reply
        codes[verb] = reply.json["code"] if reply.code else 0

    assert codes == {"ADD": 4, "DEL": 0}
    assert before.changes() == []


def test_a_name_that_is_no_plugins_is_refused(there: Served) -> None:
    with pytest.raises(PluginError, match=r'the agent has no plugin "../veth"; it has veth, router'):
        with_name(there, "../veth")


def with_name(there: Served, plugin: str) -> None:
    with closing(there.agent.client()) as client:
        client.call(request(plugin, b"{}", {"CNI_COMMAND": "VERSION"}), there.node.netns)
        reply = client.reply()
    assert reply
    raise PluginError(
        plugin, "VERSION", reply.json["code"], reply.json["msg"] + "; " + reply.json["details"]
    )


@pytest.mark.parametrize(
    "error", ["KeyError('unforeseen')", "SystemExit(3)", "KeyboardInterrupt()", "MemoryError()"]
)
def test_a_call_that_dies_is_error_999_and_the_agent_goes_on(there: Served, error: str) -> None:
    there.agent.end()
    there.agent.start(program=("-c", PLUGIN_THAT_DIES, "agent"))
    nic = there.nic()
    config = json.dumps({"cniVersion": "1.0.0", "name": "lan", "with": error, "prevResult": nic.result})

    for _ in range(20):
        with closing(there.agent.client()) as client:
            env = {**nic.variables, "CNI_COMMAND": "ADD"}
            client.call(request("dies", config.encode(), env), there.node.netns, nic.pod.netns.path)
            reply = client.reply()
        assert reply
        assert (reply.code, reply.json["code"]) == (1, 999)
        assert error.partition("(")[0] in reply.json["msg"]

    nic.call("ADD")


def test_many_that_hang_keep_nobody_waiting(there: Served) -> None:
    with ExitStack() as hanging:
        for size in range(100):
            client = hanging.enter_context(closing(there.agent.client()))
            if size:
                client.send(A_REQUEST[: size % len(A_REQUEST)])

        there.nic().call("ADD")


def test_an_add_whose_client_leaves_while_it_waits_is_undone(there: Served) -> None:
    nic, before = there.nic(), there.footprint()
    client = there.begin(nic, "ADD", **asking_absent_gateway(nic))
    until(lambda: there.is_recorded(nic))
    client.close()
    there.world.host(there.world.lans[0], 77)  # and the ADD would succeed

    assert [(line["code"], line["verb"]) for line in there.agent.events(least=1)] == [(11, "ADD")]
    assert before.changes() == []
    nic.call("ADD")


def test_an_add_whose_client_leaves_at_once_is_undone_or_never_begun(there: Served) -> None:
    nics = [there.nic(f"pod{number}") for number in range(8)]
    before = there.footprint()

    for nic in nics:
        there.begin(nic, "ADD").close()

    assert there.is_alive()  # so all before it have been accepted
    until(there.agent.is_at_rest)
    assert before.changes() == []


def test_a_repeated_add_whose_client_leaves_keeps_what_was_there(there: Served) -> None:
    nic = there.nic()
    result = there.answer(nic, "ADD")
    there.node.netns.run("ip", "route", "flush", "table", "500")
    with held(there, nic) as waits:
        client = there.begin(nic, "ADD")
        until(waits)
        client.close()
    until(lambda: len(there.agent.events()) == 2)

    assert there.agent.events()[-1]["code"] == 11
    nic.call("ADD")
    nic.call("CHECK", prevResult=result)


def test_a_del_whose_client_leaves_while_it_waits_is_not_done_later(there: Served) -> None:
    """A runtime that was told to come again may have made another ADD meanwhile."""
    nic = there.nic()
    result = there.answer(nic, "ADD")
    with held(there, nic) as waits:
        client = there.begin(nic, "DEL")
        until(waits)
        client.close()
    until(lambda: len(there.agent.events()) == 2)

    assert there.agent.events()[-1]["code"] == 11
    nic.call("CHECK", prevResult=result)
