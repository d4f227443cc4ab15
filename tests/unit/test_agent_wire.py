"""What an agent and its clients say to each other, byte by byte."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.agent.wire import (
    LONGEST,
    Asked,
    Gone,
    decode,
    encode_reply,
    has_gone,
    length_of,
    receive,
)
from underlay.cni.errors import IoFailure, TryAgainLater

Sockets = tuple[socket.socket, socket.socket]


def sized(*fields: bytes) -> bytes:
    return b"".join(struct.pack("!I", len(field)) + field for field in fields)


@pytest.fixture
def pair() -> Iterator[Sockets]:
    client, agent = socket.socketpair()
    with closing(client), closing(agent):
        yield client, agent


def test_a_request_is_a_name_standard_input_and_variables() -> None:
    body = sized(b"veth", b'{"name": "lan"}', b"CNI_COMMAND=ADD", b"CNI_ARGS=A=1;B=\xff", b"CNI_PATH=")

    asked = decode(body)

    variables = {"CNI_COMMAND": "ADD", "CNI_ARGS": "A=1;B=" + os.fsdecode(b"\xff"), "CNI_PATH": ""}
    assert asked == Asked("veth", b'{"name": "lan"}', variables)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused_as_none(body: bytes) -> None:
    try:
        asked = decode(body)
    except IoFailure:
        return
    fields = [f"{name}={value}" for name, value in asked.env.items()]
    again = sized(os.fsencode(asked.plugin), asked.stdin, *map(os.fsencode, fields))
    assert decode(again) == asked


@given(
    st.text("abc-_", min_size=1), st.binary(max_size=50), st.dictionaries(st.text("ABC"), st.text("a=;ü"))
)
def test_what_is_sent_arrives(plugin: str, stdin: bytes, variables: dict[str, str]) -> None:
    env = {f"CNI_{name}": value for name, value in variables.items()}
    fields = [f"{name}={value}" for name, value in env.items()]

    asked = decode(sized(os.fsencode(plugin), stdin, *map(os.fsencode, fields)))

    assert asked == Asked(plugin, stdin, env)


def test_a_length_may_be_eight_mebibytes_and_no_more() -> None:
    assert length_of(struct.pack("!I", LONGEST)) == 8 * 1024 * 1024
    with pytest.raises(IoFailure, match="a request of 8388609 bytes: the agent takes 8388608 at most"):
        length_of(struct.pack("!I", LONGEST + 1))


def test_a_reply_is_an_exit_code_and_two_outputs() -> None:
    assert encode_reply(1, b"out", b"err!") == sized(struct.pack("!I", 1) + sized(b"out", b"err!"))


def test_a_client_has_so_long_for_its_whole_request(pair: Sockets) -> None:
    client, agent = pair
    descriptors: list[int] = []
    socket.send_fds(client, [b"\0\0\0\7half"], [client.fileno()])

    with pytest.raises(TryAgainLater, match=r"has not sent its request in 0\.01 s"):
        receive(agent, descriptors, seconds=0.01)

    (descriptor,) = descriptors
    os.close(descriptor)


def test_a_client_that_closes_or_half_closes_has_gone(pair: Sockets) -> None:
    client, agent = pair
    client.send(b"\0\0")
    assert not has_gone(agent)

    client.shutdown(socket.SHUT_WR)

    assert has_gone(agent)
    with pytest.raises(Gone):
        receive(agent, [])
