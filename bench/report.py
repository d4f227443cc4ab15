"""Times as a table in Markdown, with ratios of medians, and as JSON with every time that was taken."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from statistics import median, quantiles

from bench.contest import FLOOR, Series
from bench.crowd import Burst

MS = 1_000_000  # ns
SECOND = 1_000_000_000


def markdown(series: Sequence[Series], bursts: Sequence[Burst]) -> str:
    """Both tables; an empty one is left out."""
    return "\n\n".join(filter(None, [_machine_text(), _times(series), _rates(bursts)])) + "\n"


def as_json(series: Sequence[Series], bursts: Sequence[Burst]) -> str:
    """All that was measured, in ns, so that other figures can be made of it."""
    what = {
        "machine": machine(),
        "series": [each._asdict() for each in series],
        "bursts": [each._asdict() for each in bursts],
    }
    return json.dumps(what, indent=1) + "\n"


def machine() -> dict[str, str | int]:
    return {
        "kernel": platform.release(),
        "cpus": os.cpu_count() or 0,
        "cpu": _cpu(),
        "python": platform.python_version(),
    }


def _cpu() -> str:
    """The name of the processor, "" where the kernel does not tell it so."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
        return next(names, "")


def _machine_text() -> str:
    here = machine()
    return (
        f"Linux {here['kernel']}, {here['cpus']} CPUs ({here['cpu'] or platform.machine()}), Python"
        f" {here['python']}. Ratios are of medians in one run; × floor is the time as a multiple of what"
        " the kernel alone takes for the same."
    )


def _times(series: Sequence[Series]) -> str:
    medians = {(each.case, each.pods, each.verb, each.who): median(each.times) for each in series}
    fewest = {each.case: min(s.pods for s in series if s.case == each.case) for each in series}
    rows = []
    for each in sorted(series, key=lambda s: (list(fewest).index(s.case), s.verb, s.pods)):
        mine = median(each.times)
        floor = medians.get((each.case, each.pods, each.verb, FLOOR))
        quiet = medians[each.case, fewest[each.case], each.verb, each.who]
        figures = (_ms(min(each.times)), _ms(mine), _ms(_percentile95(each.times)))
        is_full = each.pods > fewest[each.case]
        ratios = (_ratio(mine, floor) if each.who != FLOOR else "", _ratio(mine, quiet) if is_full else "")
        rows.append((each.case, each.verb, str(each.pods), each.who, *figures, *ratios))
    head = ("case", "verb", "pods", "who", "min ms", "median ms", "p95 ms", "× floor", "× fewest pods")
    return _table(head, rows, words=(0, 1, 3))


def _rates(bursts: Sequence[Burst]) -> str:
    floors = {(each.case, each.width): each for each in bursts if each.who == FLOOR}
    rows = []
    for each in bursts:
        alone, together = _rate(each.width, each.one_by_one), _rate(each.width, each.at_once)
        floor = floors[each.case, each.width]
        bases = (floor.one_by_one, floor.at_once) if each.who != FLOOR else ()
        ratios = [_ratio(together, _rate(each.width, base)) for base in bases] or ["", ""]
        figures = (f"{alone:.0f}", f"{together:.0f}", _ratio(together, alone))
        rows.append((each.case, str(each.width), each.who, *figures, *ratios))
    head = ("case", "ADDs", "who", "one by one /s", "at once /s", "× own one by one")
    return _table((*head, "× floor one by one", "× floor at once"), rows, words=(0, 2))


def _percentile95(times: Sequence[int]) -> float:
    return quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]


def _rate(width: int, times: Sequence[int]) -> float:
    """ADDs in a second."""
    return width * SECOND / median(times)


def _ms(ns: float) -> str:
    return f"{ns / MS:.2f}"


def _ratio(mine: float, base: float | None) -> str:
    return f"{mine / base:.2f}" if base else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int]) -> str:
    """A Markdown table that reads well as text, too. `words` are the columns that hold no numbers."""
    lines = [tuple(head), *map(tuple, rows)]
    if len(lines) == 1:
        return ""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = tuple("-" * width if at in words else f"{'-' * (width - 1)}:" for at, width in enumerate(widths))
    aligned = (
        (text.ljust(width) if at in words else text.rjust(width))
        for line in (lines[0], rule, *lines[1:])
        for at, (text, width) in enumerate(zip(line, widths, strict=True))
    )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in zip(*[aligned] * len(widths), strict=True))
