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
from bench.cases import AT_ONCE, ONE_CALL, Measured
from bench.contest import Case, Series
from bench.crowd import Burst
from bench.errors import BenchError
from bench.floor import COMPILERS, Floor, build
from bench.programs import AGENT, FLOOR, agent_program
from bench.replay import FIRST_HOST_INDEX, recorded, replayed, scripts
from bench.several import FOREIGN, ONE_BY_ONE, ONE_VETH, TWO_NICS
from bench.stage import Stage
from bench.subjects import DUAL, IPV4, SUBJECTS, Subject, Versions, Veth, Vxlan, hijacking
from bench.targets import targets
from tests.netns.world import state_of
from tests.repo.tree import ROOT
from underlay.install import install
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
def test_it_measures_every_case_and_leaves_nothing(tmp_path: Path) -> None:
    install(str(tmp_path))
    for name in ("router", "vxlan"):
        (tmp_path / name).unlink()
    before = sorted(os.listdir("/run"))
    told = tmp_path / "bench.json"

    few = ("-n", "1", "--pods", "0,2", "--bursts", "1,3", "--subnets", "4,20", "--life", "3")
    done = bench(*few, "--peer", str(tmp_path), "--json", str(told))

    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert (named("bench-"), sorted(os.listdir("/run"))) == ([], before)
    measured = json.loads(told.read_text())
    names = [subject.name for subject in SUBJECTS]
    assert {(each["title"], each["pods"]) for each in measured["series"]} == {
        *((f"{name}, {versions}", 0) for name in names for versions in ("IPv4", "dual stack")),
        *((f"veth, {count} subnets", 0) for count in (4, 20)),
        *((f"{name}, no process", 0) for name in names),
        *((f"{name}, pods on the node", level) for name in names for level in (0, 2)),
        ("veth, process start", 0),
        ("underlay, two NICs", 0),
    }
    contestants = {"floor", "agent", "peer", "in process", "bare python", "kernel", "function"}
    of_chains = {TWO_NICS, ONE_BY_ONE, FOREIGN, ONE_VETH}
    assert {each["who"] for each in measured["series"]} == contestants | of_chains
    assert {(each["title"], each["who"], each["width"]) for each in measured["bursts"]} == {
        (f"{name}, at once", who, width)
        for name in names
        for who in ("floor", "agent", *(["peer"] if name == "veth" else []))
        for width in (1, 3)
    }
    assert [each["calls"] for each in measured["health"]] == [0, 60, 63]
    assert all(heading in done.stdout for heading in ("### One call", "### At once", "### Targets", "CPUs"))


@has_compiler
def test_what_was_measured_is_told_though_a_later_case_fails(tmp_path: Path) -> None:
    peer = tmp_path / "router"
    peer.write_text("#!/bin/sh\necho no such network\nexit 1\n")
    peer.chmod(0o755)

    done = bench("-n", "1", "--only", "(veth|router), IPv4", "--peer", str(tmp_path))

    assert done.returncode == 1
    assert f"peer: {peer}: ADD: no such network" in done.stderr
    assert re.search(r"^\| veth, IPv4 +\| ADD +\| agent ", done.stdout, re.MULTILINE)
    assert "router, IPv4" not in done.stdout
    assert named("bench-") == []


def test_a_peer_without_plugins_is_refused(tmp_path: Path) -> None:
    done = bench("--peer", str(tmp_path))

    assert done.returncode == 2
    assert f"{tmp_path} has no executable of the name of a plugin: veth, router" in done.stderr


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path) -> None:
    done = bench(PATH=str(tmp_path), CC="")

    assert done.returncode == 1
    assert "there is no C compiler" in done.stderr
    assert "gcc libc6-dev" in done.stderr


@has_compiler
@pytest.mark.parametrize("versions", [IPV4, DUAL])
@pytest.mark.parametrize("subject", [*SUBJECTS, hijacking(100)], ids=["veth", "router", "vxlan", "subnets"])
def test_the_floor_makes_what_the_plugin_makes(
    stage: Stage, subject: Subject, versions: Versions, tmp_path: Path
) -> None:
    first, pod = stage.pods(2)
    subject.plug(stage, [first, pod], versions)
    in_process(stage, subject.calls(first, versions), "ADD")
    calls = subject.steady_calls(pod, versions)
    before = seen(stage, pod)
    in_process(stage, calls, "ADD")
    by_plugin, made = seen(stage, pod), recorded(stage, calls)
    in_process(stage, calls, "DEL")
    replay = replayed(stage, calls, made, FIRST_HOST_INDEX)

    with closing(Floor(build(str(tmp_path)), stage.node.netns)) as floor:
        floor.run(replay.added)
        by_floor = seen(stage, pod)
        floor.run(replay.removed)
        after = seen(stage, pod)

    assert by_plugin - before
    assert by_floor ^ by_plugin == set()
    assert after ^ before == set()


@has_compiler
def test_an_address_that_the_floor_replays_is_drawn_for_nobody_else(stage: Stage, tmp_path: Path) -> None:
    # From 251 to 254 is drawn, and the node takes one of them.
    small = {"name": "small", "id": 5003, "cidr": "10.68.0.0/24", "excludeFirst": 251}
    vxlan = Vxlan(networks={IPV4: small})
    pod, *others, last = stage.pods(5)
    in_process(stage, vxlan.calls(others[0], IPV4), "ADD")
    replay = scripts(stage, vxlan.steady_calls(pod, IPV4), FIRST_HOST_INDEX)

    for other in others[1:]:
        in_process(stage, vxlan.calls(other, IPV4), "ADD")

    with pytest.raises(BenchError, match="free"):
        in_process(stage, vxlan.calls(last, IPV4), "ADD")
    with closing(Floor(build(str(tmp_path)), stage.node.netns)) as floor:
        assert floor.run(replay.added).messages == len(replay.added.lines)


def test_a_turn_leaves_the_agent_nothing_to_do(stage: Stage) -> None:
    (pod,) = stage.pods(1)
    Veth().plug(stage, [pod], IPV4)
    program = agent_program(stage, Veth().calls(pod, IPV4), stage.agent)

    program.turn()  # a DEL is answered before the kernel has ended

    tasks = Path(f"/proc/{stage.agent.pid}/task").iterdir()
    assert {(task / "stat").read_text().rpartition(") ")[2][0] for task in tasks} == {"S"}


def test_a_target_is_met_up_to_its_limit() -> None:
    case = Case(ONE_CALL, "veth, IPv4")
    taken = {("ADD", FLOOR): 10, ("ADD", AGENT): 20, ("DEL", FLOOR): 100, ("DEL", AGENT): 21}
    series = [Series(case, verb, who, (time,)) for (verb, who), time in taken.items()]
    at_once = Case(AT_ONCE, "veth, at once")
    crowds = [Burst(at_once, 32, FLOOR, (60,)), Burst(at_once, 32, AGENT, (100,))]

    found = targets(Measured(series, crowds))

    assert [(each.what, each.measured, each.is_met) for each in found] == [
        ("ADD, veth, IPv4", 2.0, True),
        ("DEL, veth, IPv4", 0.21, False),
        ("ADDs in a second, veth, at once: 32", 0.6, True),
    ]


def seen(stage: Stage, pod: Pod) -> set[str]:
    """What `ip` shows of the node and of the pod, without the numbers of links.

    And without the operational state, which the kernel brings up to date once in a second.
    """
    shown = {f"{netns.name}: {line}" for netns in (stage.node.netns, pod.netns) for line in lines_of(netns)}
    return {re.sub(r" \d+: |@if\d+| link-netnsid \d+| state [A-Z]+", " ", line) for line in shown}


def lines_of(netns: Netns) -> list[str]:
    return state_of(netns).splitlines()
