"""What was measured as tables in Markdown, with ratios of medians, and as JSON with every time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from statistics import median, quantiles

from bench.cases import AT_ONCE, ONE_CALL, PODS, SEVERAL, STARTS, SUBNETS, WITHIN, Measured
from bench.contest import Medians, Series, medians
from bench.crowd import Burst
from bench.health import Look
from bench.machine import machine
from bench.programs import BARE_PYTHON, FLOOR, PEER
from bench.several import ONE_BY_ONE
from bench.table import table
from bench.targets import MB, Target, targets

MS = 1_000_000  # ns
SECOND = 1_000_000_000
BASES = {
    ONE_CALL: FLOOR,
    SUBNETS: FLOOR,
    PODS: FLOOR,
    WITHIN: "kernel",
    STARTS: BARE_PYTHON,
    SEVERAL: ONE_BY_ONE,
}


def markdown(measured: Measured) -> str:
    """A table for each topic that something was measured of, and the targets."""
    by_topic = groupby(measured.series, key=lambda each: each.case.topic)
    tables = {topic: _times(list(series)) for topic, series in by_topic}
    tables |= {AT_ONCE: _rates(measured.bursts), "The agent": _health(measured.health)}
    tables["Targets"] = _targets(targets(measured))
    parts = (f"### {topic}\n\n{text}" for topic, text in tables.items() if text)
    return "\n\n".join([_machine_text(), *parts]) + "\n"


def as_json(measured: Measured) -> str:
    """All that was measured, in ns and bytes, so that other figures can be made of it."""
    what = {
        "machine": machine(),
        "series": [_with_case(each) for each in measured.series],
        "bursts": [_with_case(each) for each in measured.bursts],
        "health": [{"calls": each.calls, **each.taken._asdict()} for each in measured.health],
        "targets": [{**each._asdict(), "is_met": each.is_met} for each in targets(measured)],
    }
    return json.dumps(what, indent=1) + "\n"


def _with_case(each: Series | Burst) -> dict[str, object]:
    return {**each.case._asdict(), **{key: what for key, what in each._asdict().items() if key != "case"}}


def _machine_text() -> str:
    here = machine()
    return (
        f"Linux {here['kernel']}, {here['cpus']} CPUs ({here['cpu']}), Python {here['python']}."
        " Ratios are of medians in one run."
    )


def _times(series: Sequence[Series]) -> str:
    """The series of one topic."""
    times = medians(series)
    base = BASES[series[0].case.topic]
    fewest = min(each.case.pods for each in series)
    places = {title: place for place, title in enumerate(dict.fromkeys(each.case.title for each in series))}
    rows = []
    for each in sorted(series, key=lambda s: (places[s.case.title], s.verb, s.case.pods)):
        mine = median(each.times)
        quiet = times.get((each.case._replace(pods=fewest), each.verb, each.who))
        rows.append(
            (
                *(each.case.title, each.verb, str(each.case.pods), each.who),
                *(f"{ns / MS:.2f}" for ns in (min(each.times), mine, _percentile95(each.times))),
                _ratio(mine, _of(times, each, base)),
                _ratio(mine, _of(times, each, PEER)),
                _ratio(mine, quiet if each.case.pods > fewest else None),
            )
        )
    head = ("case", "verb", "pods", "who", "min ms", "median ms", "p95 ms")
    return table((*head, f"× {base}", f"× {PEER}", f"× {fewest} pods"), rows, words=(0, 1, 3))


def _of(times: Medians, each: Series, who: str) -> float | None:
    """What `who` took for the same; that of an interpreter that does nothing is one for all verbs."""
    verb = "start" if who == BARE_PYTHON else each.verb
    return None if each.who == who else times.get((each.case, verb, who))


def _percentile95(times: Sequence[int]) -> float:
    return quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]


def _rates(bursts: Sequence[Burst]) -> str:
    """ADDs in a second, and those as a multiple of the floor's; a column for each width."""
    rates = {(each.case, each.who, each.width): each.width * SECOND / median(each.times) for each in bursts}
    widths = sorted({each.width for each in bursts})
    rows = []
    for case, who in dict.fromkeys((each.case, each.who) for each in bursts):
        mine = [rates[case, who, width] for width in widths]
        rows.append((case.title, who, "ADD/s", *(f"{rate:.0f}" for rate in mine)))
        for base in (FLOOR, PEER):
            theirs = [rates.get((case, base, width)) for width in widths]
            if who != base and all(theirs):
                rows.append((case.title, who, f"× {base}", *map(_ratio, mine, theirs)))
    return table(("case", "who", "", *(f"{width} at once" for width in widths)), rows, words=(0, 1, 2))


def _health(looks: Sequence[Look]) -> str:
    rows = (
        (str(look.calls), str(look.calls), f"{look.taken.rss / MB:.1f}", *map(str, look.taken[1:]))
        for look in looks
    )
    return table(("ADDs", "DELs", "RSS MB", "threads", "descriptors"), rows, words=())


def _targets(found: Sequence[Target]) -> str:
    rows = (
        (
            each.what,
            f"{'≥' if each.is_least else '≤'} {each.limit:g} {each.unit}",
            f"{each.measured:.2f}",
            "met" if each.is_met else "NOT MET",
        )
        for each in found
    )
    return table(("what", "target", "measured", ""), rows, words=(0, 1, 3))


def _ratio(mine: float, base: float | None) -> str:
    return f"{mine / base:.2f}" if base else ""
