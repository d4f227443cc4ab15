"""Installed shims, the real executable, and what they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.repo.tree import ROOT

NO_COMPILER = 3  # an exit code of shim/build

# A package that tells how it was called, for the place of ours.
TELLTALE = """
import hashlib, json, os, sys

def main(name):
    descriptors = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)]
    stdin = hashlib.sha256(sys.stdin.buffer.read()).hexdigest()
    variables = dict(os.environ)
    variables.pop("LC_CTYPE", None)  # Python sets it for itself: PEP 538
    told = {"name": name, "stdin": stdin, "variables": variables, "descriptors": sorted(descriptors)}
    print(json.dumps({**told, "flags": [sys.flags.isolated, sys.flags.no_site]}))
    return 7
"""


def build(path: Path, *flags: str) -> Path:
    """Compiles the shim; skips the test where nothing can."""
    done = subprocess.run([ROOT / "shim/build", path, *flags], capture_output=True, text=True, check=False)
    if done.returncode == NO_COMPILER:
        pytest.skip(f"the shim is not tested: {done.stderr.strip()}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return path


@dataclass(frozen=True)
class Shim:
    """An installed plugin, and the socket that it looks for."""

    path: Path
    socket: Path

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {"CNI_COMMAND": "ADD", "UNDERLAY_SOCKET": str(self.socket), **variables}

    def call(self, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.path], input=stdin, env=self.environment(variables), capture_output=True, check=False
        )

    def start(self, **keys: Any) -> subprocess.Popen[bytes]:
        """One whose standard input and output are the caller's business: pipes, unless `keys` has others."""
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([self.path], env=self.environment({}), **{**streams, **keys})

    def falls_back_on(self, package: Path | str) -> None:
        """Has our interpreter run that package where no agent answers."""
        self.write_python_file(f"{sys.executable}\n{package}\n")

    def write_python_file(self, text: str) -> None:
        (self.path.parent / ".underlay-python").write_text(text)


def installed(built: Path, directory: Path) -> Shim:
    """One that has no Python for its fallback yet, as `veth`."""
    path = directory / "bin" / "veth"
    path.parent.mkdir()
    os.link(built, path)
    return Shim(path, directory / "agent.sock")


def package_that_tells(directory: Path) -> Path:
    """Makes a package in the place of ours, and returns its directory."""
    package = directory / "a directory of 'packages'" / "underlay"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "oneshot.py").write_text(TELLTALE)
    return package.parent


def refusal(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    """What a CNI error says, msg and details; it is all that was printed."""
    assert (done.returncode, done.stderr) == (1, b"")
    error = json.loads(done.stdout)
    assert list(error) == ["cniVersion", "code", "msg", "details"]
    assert (error["cniVersion"], error["code"]) == ("1.1.0", code)
    return f"{error['msg']}: {error['details']}"
