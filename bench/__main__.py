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
from bench.cases import Bench, Measured, Options
from bench.errors import BenchError
from bench.floor import Floor, build
from bench.stage import Stage
from underlay.lab.errors import LabError
from underlay.plugins import PLUGINS

INTERRUPTED = 130


def main(argv: Sequence[str]) -> int:
    options, json = _options(argv)
    measured = Measured()
    try:
        _measure(options, measured, Console(stderr=True))
    except (BenchError, LabError) as error:
        print(f"underlay: make bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:  # minutes of measuring are not lost by what comes last
        if measured != Measured():
            print(report.markdown(measured), end="")
        if json:
            json.write_text(report.as_json(measured), encoding="utf-8")
    return 0


def _options(argv: Sequence[str]) -> tuple[Options, Path | None]:
    parser = argparse.ArgumentParser(
        "make bench", description="What a call costs, against the kernel alone."
    )
    add = parser.add_argument
    add("-n", type=_positive, default=50, metavar="TURNS", help="of each contestant (50)")
    add("--pods", type=_levels, default="0,100,250,500", metavar="N,…", help="on the node (0,100,250,500)")
    add(
        "--bursts", type=_counts, default="1,2,4,8,16,32", metavar="N,…", help="ADDs at once (1,2,4,8,16,32)"
    )
    add("--subnets", type=_counts, default="4,10,100,1000", metavar="N,…", help="hijacked (4,10,100,1000)")
    add("--life", type=_positive, default=1000, metavar="N", help="ADDs and DELs of one agent (1000)")
    add("--only", type=_pattern, default="", metavar="REGEX", help="cases whose title has it: 'veth, IPv4'")
    add("--peer", type=_peer, default="", metavar="DIR", help="with another veth and router to compare")
    add("--json", type=Path, metavar="FILE", help="write every time that was taken")
    given = parser.parse_args(argv)
    return Options(
        turns=given.n,
        levels=given.pods,
        widths=given.bursts,
        subnets=given.subnets,
        life=given.life,
        only=given.only,
        peer=given.peer,
    ), given.json


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


def _counts(text: str) -> list[int]:
    return sorted({_positive(number) for number in text.split(",")})


def _peer(text: str) -> str:
    if text and not any(os.access(os.path.join(text, plugin), os.X_OK) for plugin in PLUGINS):
        raise argparse.ArgumentTypeError(
            f"{text} has no executable of the name of a plugin: {', '.join(PLUGINS)}"
        )
    return os.path.abspath(text) if text else ""


def _measure(options: Options, measured: Measured, console: Console) -> None:
    with ExitStack() as left:
        directory = left.enter_context(tempfile.TemporaryDirectory(prefix="underlay-bench-", dir="/run"))
        program = build(directory)
        stage = Stage(directory)
        left.callback(stage.down)
        stage.up()
        floor = left.enter_context(closing(Floor(program, stage.node.netns)))
        for what in Bench(stage, program, floor, options, measured).measure():
            console.print(what, style="dim", highlight=False)
    if measured == Measured():
        raise BenchError(f"no case has {options.only.pattern} in its title")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
