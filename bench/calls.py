"""One call of a plugin in this process, as an agent makes it."""

from __future__ import annotations

import json

from bench.errors import BenchError
from bench.stage import Calls, Stage
from underlay.cni.call import read_call
from underlay.cni.errors import CniError
from underlay.cni.request import Request
from underlay.cni.verbs import run
from underlay.log import Log, LogOptions
from underlay.plugins import PLUGINS


def in_process(stage: Stage, calls: Calls, verb: str) -> bytes:
    """From the bytes that a runtime sends to those that it reads; BenchError where the plugin refuses."""
    call = read_call(calls.environment(verb), calls.stdin)
    context = {"network": call.network, "container_id": call.container_id, "ifname": call.ifname}
    log = Log(LogOptions(file=stage.log), plugin=calls.plugin, verb=verb, **context)
    try:
        return json.dumps(run(Request(PLUGINS[calls.plugin], call, stage.own, log))).encode()
    except CniError as error:
        raise BenchError(f"{calls.plugin}: {verb}: {error.msg} {error.details}") from error
