"""One execution of another plugin's executable, as a runtime makes it (CNI SPEC, section 4)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from underlay.cni.errors import CniError, Internal, IoFailure, by_code
from underlay.cni.plugin import Node

Json = dict[str, Any]
UNKNOWN_COMMAND = 4  # how a plugin answers a verb that is newer than it


class NotExecuted(IoFailure):
    """The node: the plugin was never begun, so it can't have done anything."""


def found_in(path: Sequence[str], name: str, node: Node) -> str | None:
    """The executable of a plugin, by its path on the node; None where no directory has it."""
    candidates = (os.path.join(directory, name) for directory in path)
    return next((each for each in candidates if os.access(node.root + each, os.X_OK)), None)


def execute(
    name: str, file: str, verb: str, config: Mapping[str, Any], variables: Mapping[str, str], node: Node
) -> Json | None:
    """The JSON that the plugin `name` prints, None where it prints none; its error, raised as ours.

    `variables` are those of CNI but for the command.
    """
    try:
        code, output = node.execute(file, {**variables, "CNI_COMMAND": verb}, json.dumps(config).encode())
    except IoFailure as error:
        raise NotExecuted(error.msg, error.details) from error
    answer = _decoded(output)
    if code:
        raise _refusal(name, verb, answer)
    return answer


def _decoded(output: bytes) -> Json | None:
    try:
        answer = json.loads(output)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _refusal(name: str, verb: str, answer: Json | None) -> CniError:
    if answer is None:
        return Internal(f"{name}: its {verb} has failed and printed no error", "look at its own log")
    kind = by_code(answer.get("code"))
    return kind(f"{name}: {answer.get('msg', '')}", str(answer.get("details", "")))
