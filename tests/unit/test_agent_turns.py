"""Calls that are quick go one after the other, calls that wait keep nobody waiting."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier, Event, get_ident

import pytest

from underlay.agent.workers import Workers

SECONDS = 30.0  # for what has to happen
NEVER, SOON, AT_ONCE = 1e6, 0.01, 0.0
MOST = 64

Call = Callable[[], object]
Connect = Callable[[], socket.socket]


def ended(*clients: socket.socket) -> None:
    """Waits until the calls of all have ended."""
    for client in clients:
        assert client.recv(1) == b""
        client.close()


@contextmanager
def serving(path: Path, call: Call, quick: float) -> Iterator[Connect]:
    """Workers that make a call for each connection, and close it then; how to connect to them."""

    def answer(client: socket.socket) -> None:
        with client:
            call()

    def connected() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(SECONDS)
        client.connect(listener.getsockname())
        return client

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path / "agent.sock"))
        listener.listen(MOST)
        workers = Workers(listener, answer, MOST, quick)
        workers.start()
        yield connected
        assert workers.stop(SECONDS) == 0


def test_quick_calls_go_one_after_the_other(tmp_path: Path) -> None:
    inside, most, calls = set[int](), [0], list[int]()

    def call() -> None:
        inside.add(get_ident())
        most[0] = max(most[0], len(inside))
        calls.append(1)
        inside.remove(get_ident())

    with serving(tmp_path, call, NEVER) as connect:
        for _ in range(20):
            ended(*[connect() for _ in range(8)])

    assert (most, len(calls)) == ([1], 160)


def test_calls_that_wait_for_the_last_of_them_all_run_at_once(tmp_path: Path) -> None:
    all_of_them = Barrier(60)

    with serving(tmp_path, partial(all_of_them.wait, SECONDS), AT_ONCE) as connect:
        ended(*[connect() for _ in range(60)])


@pytest.mark.parametrize("count", [1, 20])
def test_calls_that_last_give_way_to_others(tmp_path: Path, count: int) -> None:
    is_over, waiting = Event(), list[bool]()

    def call() -> None:
        if len(waiting) < count:
            waiting.append(True)
            assert is_over.wait(SECONDS)

    with serving(tmp_path, call, SOON) as connect:
        first = [connect() for _ in range(count)]
        ended(*[connect() for _ in range(8)])
        is_over.set()
        ended(*first)


def test_who_waits_for_a_turn_goes_when_there_is_one(tmp_path: Path) -> None:
    first_is_in, may_end, order = Event(), Event(), list[str]()

    def call() -> None:
        order.append("begins")
        first_is_in.set()
        assert may_end.wait(SECONDS)
        order.append("ends")

    with serving(tmp_path, call, NEVER) as connect:
        first = connect()
        assert first_is_in.wait(SECONDS)
        second = connect()
        may_end.set()
        ended(first, second)

    assert order == ["begins", "ends", "begins", "ends"]
