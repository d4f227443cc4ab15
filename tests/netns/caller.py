"""Calls of the installed `veth` as a runtime makes them, good ones and bad ones, and all that is printed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from tests.netns.world import Nic
from underlay.lab.pod import Json

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
GONE = None  # a variable or a key that is left out
NOTHING: Json = {}
Changes = Mapping[str, str | None]


@dataclass(frozen=True)
class Printed:
    """How a call ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Json:
        """All of standard output, which must be one JSON object."""
        answer = json.loads(self.stdout)
        assert isinstance(answer, dict)
        return answer


@dataclass(frozen=True)
class Caller:
    """Runs the installed `veth` for a NIC as a runtime does; what is given changes a good call."""

    nic: Nic

    def run(
        self, verb: str, stdin: Json | bytes = NOTHING, variables: Changes = NOTHING, cwd: str = "/"
    ) -> Printed:
        """`stdin` is all of it, or keys that change the configuration as `variables` do the environment."""
        given = {"CNI_COMMAND": verb, **self.nic.variables, **self.nic.runtime.environment, **variables}
        environment = {name: value for name, value in given.items() if value is not None}
        text = stdin if isinstance(stdin, bytes) else json.dumps(self.config(stdin)).encode()
        with self.nic.runtime.node.entered():
            done = subprocess.run(
                [self.nic.runtime.find("veth")], input=text, env=environment, cwd=cwd,
                capture_output=True, check=False,
            )  # fmt: skip
        return Printed(done.returncode, done.stdout.decode(), done.stderr.decode())

    def config(self, keys: Json) -> Json:
        return {key: value for key, value in self.nic.config(**keys).items() if value is not GONE}
