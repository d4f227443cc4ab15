"""`underlay lab` with containerd, as a person runs it: up, try a network, look, down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.site import running, why_not
from underlay.lab.lab import PREFIX, STATE_DIR, Lab
from underlay.lab.namespace import named

COMMAND = (sys.executable, "-m", "underlay", "lab")


@pytest.fixture(autouse=True)
def no_lab_is_left() -> Iterator[None]:
    if reason := why_not():
        pytest.skip(f"containerd: {reason}")
    yield
    Lab().down()


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def test_a_network_is_tried_on_a_pod_of_containerd() -> None:
    up = lab("up", "--scenario", "three-nics", "--runtime", "containerd", "--answer", "agent")
    tested = lab("test")
    run = lab("run", "--annotate", "networks=lan-a-router,blue-beside@lan0", "try1")
    listed = lab("status")
    pinged = lab("exec", "try1", "--", "ping", "-c1", "-W2", "192.168.20.50")
    failed = lab("exec", "try1", "--", "sh", "-c", "exit 7")
    removed = lab("rm", "try1")
    gone = lab("exec", "try1", "--", "true")
    down = lab("down")

    done = (up, tested, run, listed, pinged, removed, down)
    assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * len(done)
    assert "28 of 28 rows are right" in tested.stdout
    assert [nic for nic in ("eth0", "net1", "lan0") if f"ulab-try1 {nic}" not in run.stdout] == []
    assert "ulab-try1 lan0" in listed.stdout
    assert "0% packet loss" in pinged.stdout
    assert failed.returncode == 7
    assert gone.stderr == "error: there is no pod or machine try1: `underlay lab status` lists them\n"


def test_what_is_wrong_with_a_pods_networks_is_told_in_the_plugins_words() -> None:
    lab("up", "--runtime", "containerd")

    refused = lab("run", "--annotate", "networks=nonesuch", "try1")

    assert refused.returncode == 1
    assert 'there is no NetworkAttachmentDefinition "default/nonesuch"' in refused.stderr
    assert "ulab-try1" not in lab("status").stdout


def test_down_ends_all_that_runs_on_the_nodes() -> None:
    lab("up", "--runtime", "containerd", "--answer", "agent")
    assert running(STATE_DIR)

    lab("down")

    assert running(STATE_DIR) == []
    assert named(PREFIX) == []
    assert not Path(STATE_DIR).exists()
