"""How long another attempt waits."""

from __future__ import annotations

from itertools import pairwise

from underlay.kube.backoff import FIRST, LONGEST, Backoff


def test_pauses_grow_up_to_a_limit_and_are_at_random() -> None:
    backoff = Backoff()
    pauses = [backoff.pause() for _ in range(20)]

    dues = [min(FIRST * 2**number, LONGEST) for number in range(20)]
    assert all(due / 2 <= pause <= due for due, pause in zip(dues, pauses, strict=True))
    assert all(one != other for one, other in pairwise(pauses))


def test_after_a_success_they_begin_anew() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.pause()

    backoff.reset()

    assert backoff.pause() <= FIRST
