"""Calls that are quick go one after the other, calls that wait keep nobody waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

from underlay.agent.turns import Turns

SECONDS = 30.0  # for what has to happen
NEVER, AT_ONCE = 1e6, 0.0


def test_quick_calls_go_one_after_the_other() -> None:
    turns, inside, most, together = Turns(NEVER), set[int](), [0], Barrier(8)

    def call(number: int) -> None:
        together.wait(SECONDS)
        for _ in range(50):
            with turns.taken():
                inside.add(number)
                most[0] = max(most[0], len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))

    assert most == [1]


def test_calls_that_wait_for_the_last_of_them_all_run_at_once() -> None:
    turns, all_of_them = Turns(AT_ONCE), Barrier(60)

    def call(_: int) -> None:
        with turns.taken():
            all_of_them.wait(SECONDS)

    with ThreadPoolExecutor(60) as pool:
        list(pool.map(call, range(60)))


def test_a_call_that_fails_gives_its_turn_back() -> None:
    turns = Turns(NEVER)
    for _ in range(2):
        try:
            with turns.taken():
                raise ValueError
        except ValueError:
            continue


def test_who_waits_for_a_turn_goes_when_there_is_one() -> None:
    turns, first_is_in, order = Turns(NEVER), Event(), list[str]()

    def second() -> None:
        assert first_is_in.wait(SECONDS)
        with turns.taken():
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second)
        with turns.taken():
            first_is_in.set()
            order.append("first")
        waiting.result(SECONDS)

    assert order == ["first", "second"]
