"""The benchmark runs, leaves nothing, and its floor does the same work as the plugins."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.calls import in_process
from bench.floor import COMPILERS, Floor, build
from bench.replay import FIRST_HOST_INDEX
from bench.stage import Stage
from bench.subjects import SUBJECTS, Subject, Versions, recorded, replayed
from tests.netns.world import state_of
from tests.repo.tree import ROOT
from underlay.lab.namespace import Netns, named
from underlay.lab.pod import Pod

has_compiler = pytest.mark.skipif(
    not any(name and shutil.which(name) for name in COMPILERS), reason="the floor is a C program"
)


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-B", "-m", "bench", *arguments]
    return subprocess.run(
        argv, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(str(tmp_path))
    stage.up()
    yield stage
    stage.down()


@has_compiler
def test_it_measures_and_leaves_nothing(tmp_path: Path) -> None:
    before = sorted(os.listdir("/run"))
    told = tmp_path / "bench.json"

    done = bench("-n", "2", "--pods", "0,2", "--burst", "3", "--json", str(told))

    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    measured = json.loads(told.read_text())
    assert {len(each["times"]) for each in measured["series"]} == {2}
    bursts = {f"{each.name}, burst{of}" for each in SUBJECTS for of in ("", " of executables")}
    assert {each["case"] for each in measured["bursts"]} == bursts
    assert all(
        re.search(rf"\| {each.name}, dual stack +\| DEL +\| +0 \| floor", done.stdout) for each in SUBJECTS
    )
    assert (named("bench-"), sorted(os.listdir("/run"))) == ([], before)


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path) -> None:
    done = bench(PATH=str(tmp_path), CC="")

    assert done.returncode == 1
    assert "there is no C compiler" in done.stderr
    assert "gcc libc6-dev" in done.stderr


@has_compiler
@pytest.mark.parametrize("versions", [(4,), (4, 6)])
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_the_floor_makes_what_the_plugin_makes(
    stage: Stage, subject: Subject, versions: Versions, tmp_path: Path
) -> None:
    first, pod = stage.pods(2)
    subject.plug(stage, [first, pod], versions)
    in_process(stage, subject.calls(stage, first, versions), "ADD")
    calls = subject.calls(stage, pod, versions)
    before = seen(stage, pod)
    in_process(stage, calls, "ADD")
    by_plugin, objects = seen(stage, pod), recorded(stage, calls)
    in_process(stage, calls, "DEL")
    replay = replayed(stage, calls, objects, FIRST_HOST_INDEX)

    with closing(Floor(build(str(tmp_path)), stage.node.netns)) as floor:
        floor.run(replay.added)
        by_floor = seen(stage, pod)
        floor.run(replay.removed)
        after = seen(stage, pod)

    assert by_plugin - before
    assert by_floor ^ by_plugin == set()
    assert after ^ before == set()


def seen(stage: Stage, pod: Pod) -> set[str]:
    """What `ip` shows of the node and of the pod, without the numbers of links.

    And without the operational state, which the kernel brings up to date once in a second.
    """
    shown = {f"{netns.name}: {line}" for netns in (stage.node.netns, pod.netns) for line in lines_of(netns)}
    return {re.sub(r" \d+: |@if\d+| link-netnsid \d+| state [A-Z]+", " ", line) for line in shown}


def lines_of(netns: Netns) -> list[str]:
    return state_of(netns).splitlines()
