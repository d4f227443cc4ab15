"""`make bench ARGS='…'`; `make bench ARGS=--help` lists what can be asked for."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from rich.console import Console

from bench import report
from bench.cases import Bench
from bench.errors import BenchError
from bench.floor import Floor, build
from bench.stage import Stage
from underlay.lab.errors import LabError

MAX_FLOORS = 8
INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    options = _options(argv)
    try:
        bench = _measured(options, Console(stderr=True))
    except (BenchError, LabError) as error:
        print(f"underlay: make bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    print(report.markdown(bench.series, bench.bursts), end="")
    if options.json:
        options.json.write_text(report.as_json(bench.series, bench.bursts), encoding="utf-8")
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "make bench", description="What a call costs, against the kernel alone."
    )
    add = parser.add_argument
    add("-n", type=_positive, default=50, metavar="TURNS", help="of each contestant (50)")
    add(
        "--pods", type=_levels, default=[0, 100, 250, 500], metavar="N,…",
        help="that are on the node already (0,100,250,500)",
    )  # fmt: skip
    add("--burst", type=_positive, default=50, metavar="WIDTH", help="ADDs at once (50)")
    add(
        "--only",
        type=_pattern,
        default=re.compile(""),
        metavar="REGEX",
        help="cases whose title has it: 'veth, IPv4'",
    )
    add("--json", type=Path, metavar="FILE", help="write every time that was taken")
    return parser.parse_args(argv)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text} is no regular expression: {error}") from error


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no number from 1")
    return int(text)


def _levels(text: str) -> list[int]:
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f"{text} is no list of numbers such as 0,100")
    return sorted({int(number) for number in numbers})


def _measured(options: argparse.Namespace, console: Console) -> Bench:
    with ExitStack() as left:
        directory = left.enter_context(tempfile.TemporaryDirectory(prefix="underlay-bench-", dir="/run"))
        program = build(directory)
        stage = Stage(directory)
        left.callback(stage.down)
        stage.up()
        count = min(os.cpu_count() or 1, MAX_FLOORS)
        floors = [left.enter_context(closing(Floor(program, stage.node.netns))) for _ in range(count)]
        bench = Bench(stage, program, floors, options.n, options.burst, options.only)
        for what in bench.measure(options.pods):
            console.print(what, style="dim")
        if not bench.series and not bench.bursts:
            raise BenchError(f"no case has {options.only.pattern} in its title")
        return bench


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
