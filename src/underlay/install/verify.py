"""Whether an executable works here: it is asked for VERSION, before anybody else can find it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from underlay.cni.call import SUPPORTED
from underlay.cni.errors import TryAgainLater
from underlay.install.errors import InstallError
from underlay.install.files import File

PATIENCE = 60.0  # seconds; a node that boots may start Python slowly
QUESTION = json.dumps({"cniVersion": SUPPORTED[-1]}).encode()


def verify(file: File, at: str, *, alone: bool) -> None:
    """Executes the file at `at` under its own name; InstallError where it does not do its work.

    One that stands `alone`, without a Python, may say that no agent answers yet: that it says so is
    what there is to know.
    """
    name = os.path.basename(file.path)
    env = {key: os.environ[key] for key in ("UNDERLAY_SOCKET",) if key in os.environ}
    try:
        done = subprocess.run(
            [name],
            executable=at,
            input=QUESTION,
            env={**env, "CNI_COMMAND": "VERSION"},
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    except OSError as error:
        raise _failure(file, error.strerror or str(error)) from error
    except subprocess.TimeoutExpired:
        raise _failure(file, f"it has not answered VERSION for {PATIENCE:.0f} s") from None
    answer = _decoded(done.stdout)
    if done.returncode == 0 and SUPPORTED[-1] in answer.get("supportedVersions", ()):
        return
    if alone and answer.get("code") == TryAgainLater.code:
        return
    said = (done.stdout.strip() or done.stderr.strip()).decode(errors="replace")
    raise _failure(file, f"VERSION gives exit code {done.returncode}, and {said or 'nothing'}")


def _decoded(output: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(output)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _failure(file: File, why: str) -> InstallError:
    return InstallError(f"{file.path} would not work: {why}; what was there before is still in its place")
