"""An IPAM plugin that writes down how it is called, and answers what a test tells it to."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from underlay.lab.pod import Json

SCRIPT = """#!{python} -IS
import json, os, sys
from pathlib import Path

here, verb, stdin = Path({here!r}), os.environ["CNI_COMMAND"], json.load(sys.stdin)
env = {{name: value for name, value in os.environ.items() if name.startswith("CNI_")}}
told = here / (verb + "-" + env.get("CNI_IFNAME", ""))
code, answer = json.loads(told.read_text()) if told.exists() else (0, None)
with open(here / "calls", "a") as file:
    file.write(json.dumps([verb, env, stdin, os.readlink("/proc/self/ns/net"), code]) + "\\n")
if answer is not None:
    sys.stdout.write(answer)
    sys.exit(code)
if verb == "ADD":
    number = sum(line.startswith('["ADD"') for line in open(here / "calls"))
    ips = stdin.get("runtimeConfig", {{}}).get("ips") or ["10.66.0.%d/24" % (number + 100)]
    print(json.dumps({{"cniVersion": stdin["cniVersion"], "ips": [{{"address": ip}} for ip in ips]}}))
"""


class Called(NamedTuple):
    """One call: its verb, the variables of CNI, what it read, the namespace it ran in, its exit code."""

    verb: str
    env: Json
    stdin: Json
    netns: str
    code: int

    @property
    def whose(self) -> tuple[str, str]:
        return self.env["CNI_CONTAINERID"], self.env["CNI_IFNAME"]


@dataclass(frozen=True)
class Recorder:
    """The plugin `recorder` in a directory of its own. By itself it gives 10.66.0.101/24 and so on."""

    directory: Path

    @property
    def path(self) -> Path:
        return self.directory / "recorder"

    def install(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.path.write_text(SCRIPT.format(python=sys.executable, here=str(self.directory)))
        self.path.chmod(0o755)

    def says(self, verb: str, ifname: str, answer: str | Json, code: int = 0) -> None:
        """From now on, in calls for that interface ("" for GC and STATUS)."""
        text = answer if isinstance(answer, str) else json.dumps(answer)
        (self.directory / f"{verb}-{ifname}").write_text(json.dumps([code, text]))

    def is_itself(self) -> None:
        """No more answers from a test."""
        for told in self.directory.glob("*-*"):
            told.unlink()

    def calls(self) -> list[Called]:
        log = self.directory / "calls"
        return [Called(*json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []

    def forget(self) -> None:
        (self.directory / "calls").unlink(missing_ok=True)

    def verbs(self) -> list[tuple[str, str]]:
        """Each call's verb and interface."""
        return [(call.verb, call.env.get("CNI_IFNAME", "")) for call in self.calls()]

    def holders(self) -> set[tuple[str, str]]:
        """Who has been given an address, or may have been, and has not given it back."""
        held: set[tuple[str, str]] = set()
        for call in self.calls():
            if call.verb == "ADD":
                held.add(call.whose)
            elif call.verb == "DEL" and not call.code:
                held.discard(call.whose)
        return held
