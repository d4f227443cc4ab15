"""Pods of one's own on a lab, with the stand-in runtime: started in networks of one's choice, and ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.netns.world import state_of
from underlay.lab import demo
from underlay.lab.cluster import Cluster
from underlay.lab.definitions import definitions
from underlay.lab.errors import LabError, PluginError
from underlay.lab.lab import Lab
from underlay.lab.nics import nics
from underlay.lab.runs import Run, Runs, annotations_of
from underlay.lab.scenarios import veth
from underlay.lab.setup import ANSWERS, Setup

QUIET = Console(quiet=True)
NAME = "try1"


@pytest.fixture(params=ANSWERS)
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """A lab that is up with the pods of `veth`."""
    with Lab() as lab:
        demo.up(lab, veth.SCENARIO, veth.SCENARIO.variants[-1], Setup(answer=request.param), QUIET)
        yield Runs(Cluster(lab))


def run(*annotate: str, name: str = NAME, node: str = "node1") -> Run:
    return Run(name, node, annotations_of(annotate))


def test_a_pod_has_the_nics_that_it_asks_for_and_leaves_the_node_as_it_was(runs: Runs) -> None:
    node = runs.cluster.node2.netns
    before = state_of(node)

    netns = runs.start(run("networks=lan-a-router,blue-beside@lan0", node="node2"))
    found = list(nics(netns))
    runs.remove(NAME)

    assert found == ["eth0", "net1", "lan0"]
    assert not netns.exists
    assert state_of(node).splitlines() == before.splitlines()


def test_every_definition_that_is_ready_can_be_had(runs: Runs) -> None:
    for each in definitions(runs.cluster):
        own = not each.name.endswith(("-router", "-beside"))
        runs.start(run(f"{'default-network' if own else 'networks'}={each.name}", name=each.name))

    assert [each.name for each in runs.all()] == sorted(each.name for each in definitions(runs.cluster))


def test_what_is_refused_leaves_nothing(runs: Runs) -> None:
    node = runs.cluster.node1.netns
    before = state_of(node)

    with pytest.raises(PluginError, match="there is no NetworkAttachmentDefinition"):
        runs.start(run("networks=lan-a-router,nonesuch"))

    assert runs.all() == []
    assert not runs.cluster.lab.netns(NAME).exists
    assert state_of(node).splitlines() == before.splitlines()


def test_a_name_is_taken_once_and_by_one_machine(runs: Runs) -> None:
    runs.start(run())

    for name in (NAME, "node1", "pod1"):
        with pytest.raises(LabError, match=f"there is a pod or machine {name} already"):
            runs.start(run(name=name))
    with pytest.raises(LabError, match='"Try" is no name of a pod'):
        runs.start(run(name="Try"))
    with pytest.raises(LabError, match="there is no node node3: there are node1, node2"):
        runs.start(run(name="other", node="node3"))


def test_a_command_runs_in_the_pod_and_its_end_is_that_of_exec(runs: Runs) -> None:
    runs.start(run())

    done = subprocess.run(
        [sys.executable, "-m", "underlay", "lab", "exec", NAME, "--", "sh", "-c", "ip -br addr; exit 7"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 7
    assert "10.244.11.6/32" in done.stdout
