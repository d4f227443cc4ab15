"""`underlay lab` with containerd, as a person runs it: up, try networks, look, down; once for all tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.site import running, why_not
from underlay.lab.lab import PREFIX, STATE_DIR, Lab
from underlay.lab.namespace import named

COMMAND = (sys.executable, "-m", "underlay", "lab")
Done = subprocess.CompletedProcess[str]


@dataclass
class Session:
    """What a person did, by a name for each command, and what ran before and after `down`."""

    done: dict[str, Done] = field(default_factory=dict)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    def lab(self, name: str, *arguments: str) -> None:
        self.done[name] = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)

    def __getitem__(self, name: str) -> Done:
        return self.done[name]


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    if reason := why_not():
        pytest.skip(f"containerd: {reason}")
    session = Session()
    try:
        session.lab("up", "up", "--scenario", "three-nics", "--runtime", "containerd", "--answer", "agent")
        session.lab("run", "run", "--annotate", "networks=lan-a-router,blue-beside@lan0", "try1")
        session.lab("test", "test")
        session.lab("refused", "run", "--annotate", "networks=nonesuch", "try2")
        session.lab("status", "status")
        session.lab("ping", "exec", "try1", "--", "ping", "-c1", "-W2", "192.168.20.50")
        session.lab("exit", "exec", "try1", "--", "sh", "-c", "exit 7")
        session.lab("rm", "rm", "try1")
        session.lab("gone", "exec", "try1", "--", "true")
        session.lab("again", "run", "try1")  # a pod that `down` finds
        session.before = running(STATE_DIR)
        session.lab("down", "down")
        session.after = running(STATE_DIR)
        yield session
    finally:
        Lab().down()


def test_a_network_is_tried_on_a_pod_of_containerd(session: Session) -> None:
    well = ("up", "run", "test", "status", "ping", "rm", "again", "down")

    assert [(session[name].returncode, session[name].stderr) for name in well] == [(0, "")] * len(well)
    assert [nic for nic in ("eth0", "net1", "lan0") if f"ulab-try1 {nic}" not in session["run"].stdout] == []
    assert "ulab-try1 lan0" in session["status"].stdout
    assert "0% packet loss" in session["ping"].stdout
    assert session["exit"].returncode == 7
    assert session["gone"].stderr == (
        "error: there is no pod or machine try1: `underlay lab status` lists them\n"
    )


def test_a_pod_of_ones_own_disturbs_no_way_of_the_scenario(session: Session) -> None:
    assert "28 of 28 rows are right" in session["test"].stdout


def test_what_is_wrong_with_a_pods_networks_is_told_in_the_plugins_words(session: Session) -> None:
    assert session["refused"].returncode == 1
    assert 'there is no NetworkAttachmentDefinition "default/nonesuch"' in session["refused"].stderr
    assert "ulab-try2" not in session["status"].stdout


def test_down_ends_all_that_runs_on_the_nodes(session: Session) -> None:
    assert session.before
    assert session.after == []
    assert named(PREFIX) == []
    assert not Path(STATE_DIR).exists()
