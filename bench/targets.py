"""What is promised, as ratios within one run, and whether this run has kept it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from bench.cases import AT_ONCE, ONE_CALL, PODS, SEVERAL, Measured
from bench.contest import Medians, medians
from bench.crowd import Burst
from bench.health import Look
from bench.programs import AGENT, BARE_PYTHON, FLOOR, IN_PROCESS
from bench.several import FOREIGN, ONE_VETH, TWO_NICS

# At most so many times as much:
ADD_OF_FLOOR, DEL_OF_FLOOR, OF_EMPTY_NODE, OF_BARE_PYTHON = 2.0, 0.2, 1.5, 12.0
OF_VETH = 4.0
GROWTH = 1.05  # none, that is: malloc gets memory in steps, and not all of it back in one piece
RATE_OF_FLOOR = 0.6  # at least
RSS = 40.0  # MB
MB = 1_000_000
NOT_WAITED_FOR = "router"  # its DEL removes no link, for which the kernel would wait, so it is as an ADD


class Target(NamedTuple):
    """One promise in one case: its limit and what was measured, in `unit`."""

    what: str
    unit: str
    limit: float
    measured: float
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.measured >= self.limit if self.is_least else self.measured <= self.limit


def targets(measured: Measured) -> list[Target]:
    """A row for each promise and each case that says something about it."""
    times = medians(measured.series)
    calls = sorted(_calls(times), key=lambda target: target.what)
    return [
        *calls,
        *_several(times),
        *_full_node(times),
        *_bursts(measured.bursts),
        *_health(measured.health),
        *_alone(times),
    ]


def _calls(times: Medians) -> Iterator[Target]:
    for (case, verb, who), mine in times.items():
        if case.topic == ONE_CALL and who == AGENT:
            is_waited_for = verb == "DEL" and not case.title.startswith(NOT_WAITED_FOR)
            limit = DEL_OF_FLOOR if is_waited_for else ADD_OF_FLOOR
            yield Target(f"{verb}, {case.title}", "× floor", limit, mine / times[case, verb, FLOOR])


def _several(times: Medians) -> Iterator[Target]:
    """All that is not the work of other plugins' executables, as a multiple of one ADD of `veth`."""
    for (case, verb, who), whole in times.items():
        if (case.topic, verb, who) == (SEVERAL, "ADD", TWO_NICS):
            own = whole - times[case, verb, FOREIGN]
            yield Target(
                f"our share of ADD, {case.title}", "× veth", OF_VETH, own / times[case, verb, ONE_VETH]
            )


def _full_node(times: Medians) -> Iterator[Target]:
    cases = [case for case, verb, who in times if (case.topic, verb, who) == (PODS, "ADD", AGENT)]
    for title in dict.fromkeys(case.title for case in cases):
        levels = sorted((case for case in cases if case.title == title), key=lambda case: case.pods)
        fewest, most = levels[0], levels[-1]
        if most.pods > fewest.pods:
            ratio = times[most, "ADD", AGENT] / times[fewest, "ADD", AGENT]
            what = f"ADD, {title}: {most.pods}"
            yield Target(what, f"× with {fewest.pods}", OF_EMPTY_NODE, ratio)


def _bursts(measured: Sequence[Burst]) -> Iterator[Target]:
    widest = max((burst.width for burst in measured), default=0)
    times = {(each.case, each.who): median(each.times) for each in measured if each.width == widest}
    for (case, who), mine in times.items():
        if (case.topic, who) == (AT_ONCE, AGENT):
            what = f"ADDs in a second, {case.title}: {widest}"
            yield Target(what, "× floor", RATE_OF_FLOOR, times[case, FLOOR] / mine, is_least=True)


def _health(measured: Sequence[Look]) -> Iterator[Target]:
    """Threads are as many as were needed at one time, so their number is no promise."""
    if measured:
        _, warm, last = measured
        what = f"agent, {last.calls - warm.calls} ADDs and DELs later"
        yield Target(f"{what}: RSS", "MB", RSS, last.taken.rss / MB)
        yield Target(f"{what}: RSS", "× before", GROWTH, last.taken.rss / warm.taken.rss)
        descriptors = last.taken.descriptors / warm.taken.descriptors
        yield Target(f"{what}: descriptors", "× before", 1.0, descriptors)


def _alone(times: Medians) -> Iterator[Target]:
    for (case, verb, who), mine in times.items():
        if (case.topic, verb, who) == (ONE_CALL, "ADD", IN_PROCESS):
            bare = times[case, "start", BARE_PYTHON]
            yield Target(f"ADD in process, {case.title}", "× bare python", OF_BARE_PYTHON, mine / bare)
