"""One connection: who is it, what does it ask, the answer. Whatever becomes of a call, the agent goes on."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from underlay.agent import wire
from underlay.agent.about import ABOUT, About
from underlay.agent.background import Background
from underlay.agent.clusters import Clusters
from underlay.agent.hosts import Host, Hosts
from underlay.agent.node import CallNode
from underlay.cni.call import SUPPORTED, read_call, stated_version
from underlay.cni.errors import CniError, Internal, InvalidConfig, IoFailure, as_json
from underlay.cni.logs import log_of
from underlay.cni.phases import Phases
from underlay.cni.request import Request
from underlay.cni.verbs import carry_out, finish
from underlay.log import Log, LogOptions, to_stderr
from underlay.plugins import PLUGINS
from underlay.store import ENCODER

CREDENTIALS = struct.Struct("=iII")  # struct ucred, unix(7): pid, uid, gid
ROOT = 0
Json = dict[str, Any]


class Meter(Protocol):
    """Who counts calls."""

    def called(self, plugin: str, verb: str, code: int, seconds: float) -> None:
        """One call has been answered; `code` is 0, or that of its error."""

    def collected(self, plugin: str) -> None:
        """GC has taken off an attachment."""


class CallLog(Log):
    """What a call logs goes to its own log, and to the standard error of the agent too."""

    def __init__(self, meter: Meter | None, options: LogOptions, **context: Any) -> None:
        super().__init__(options, **context)
        self._meter = meter
        self._plugin = context["plugin"]

    def write(self, line: bytes) -> None:
        to_stderr(line)
        super().write(line)

    def another(self, options: LogOptions, **context: Any) -> Log:
        return CallLog(self._meter, options, **context)

    def event(self, event: str, /, level: str = "info", **fields: Any) -> None:
        super().event(event, level, **fields)
        if event == "collected" and self._meter:
            self._meter.collected(self._plugin)


class Calls:
    """Answers connections. `state` is the directory of the records, `about` says who answers, `root` comes
    before the node's paths."""

    def __init__(self, state: str, meter: Meter | None, hosts: Hosts, about: About, root: str = "") -> None:
        self._state = state
        self._root = root
        self._meter = meter
        self._hosts = hosts
        self._about = about
        self._background = Background()
        self._log = Log(LogOptions())
        self._make_log = partial(CallLog, meter)
        self._clusters = Clusters(self._log)

    def answer(self, client: socket.socket) -> None:
        """Carries out the one call that a connection is for, and closes it. Never raises."""
        descriptors: list[int] = []
        try:
            self._answer(client, descriptors)
        except wire.Gone:
            pass  # it has asked for nothing yet
        except BaseException as error:  # noqa: BLE001  no call takes the agent along
            self._log.event("agent-failure", "error", msg=repr(error))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            client.close()

    def close(self) -> None:
        """Ends what goes on between calls."""
        self._clusters.close()

    def _answer(self, client: socket.socket, descriptors: list[int]) -> None:
        phases = Phases()
        try:
            _refuse_strangers(client)
            asked = wire.receive(client, descriptors)
        except CniError as error:
            self._log.event("refused", "error", code=error.code, msg=error.msg, details=error.details)
            wire.send(client, wire.encode_reply(1, _printed(as_json(error, SUPPORTED[-1]))))
            return
        if asked.plugin == ABOUT:
            wire.send(client, wire.encode_reply(0, _printed(self._about.as_json())))
            return
        if wire.has_gone(client):  # while it waited for its turn
            raise wire.Gone
        code = self._called(asked, descriptors, client, phases)
        if self._meter:
            verb = asked.env.get("CNI_COMMAND", "")
            self._meter.called(asked.plugin, verb, code, phases.seconds)

    def _called(
        self, asked: wire.Asked, descriptors: Sequence[int], client: socket.socket, phases: Phases
    ) -> int:
        """Makes the call; the code of its error, 0 for none."""
        host = None
        try:
            node = CallNode(asked, descriptors, client, self._state, self._clusters)
            host = self._hosts.taken(descriptors[0])
            request = self._request(asked, node, host, phases)
        except BaseException as error:  # noqa: BLE001  a runtime reads JSON, whatever was raised
            return self._refuse(asked, client, phases, error)
        else:
            return self._carry_out(request, asked, client)
        finally:
            if host:
                self._hosts.give_back(host)

    def _refuse(self, asked: wire.Asked, client: socket.socket, phases: Phases, error: BaseException) -> int:
        """Answers what is no call of a plugin."""
        failure = _error_of(error)
        told = {"outcome": "failed", "code": failure.code, "msg": failure.msg}
        self._log.event("call", "error", **_about(asked), **told)
        self._reply(asked, client, failure, None)
        phases.enter(None)
        return failure.code

    def _carry_out(self, request: Request[Any], asked: wire.Asked, client: socket.socket) -> int:
        """The same. What is left to do after the answer is done after it."""
        failure = answer = None
        try:
            answer = carry_out(request)
        except BaseException as error:  # noqa: BLE001  the same
            failure = _error_of(error)
        try:
            self._reply(asked, client, failure, answer)
            os.sched_yield()  # who gets it may wait on this very processor for what follows to end
        finally:
            finish(request)
        return failure.code if failure else 0

    def _reply(
        self, asked: wire.Asked, client: socket.socket, failure: CniError | None, answer: Json | None
    ) -> None:
        stdout = _printed(as_json(failure, stated_version(asked.stdin)) if failure else answer)
        try:
            wire.send(client, wire.encode_reply(1 if failure else 0, stdout))
        except wire.Gone:
            self._log.event("reply-lost", "warn", **_about(asked))

    def _request(self, asked: wire.Asked, node: CallNode, host: Host, phases: Phases) -> Request[Any]:
        node.identity, node.memory, node.pool = host.identity, host.watch, host.pool
        node.background, node.root = self._background, self._root
        if asked.plugin not in PLUGINS:
            raise InvalidConfig(f'the agent has no plugin "{asked.plugin}"', f"it has {', '.join(PLUGINS)}")
        call = read_call(asked.env, asked.stdin)
        log = log_of(asked.plugin, call, self._make_log)
        return Request(PLUGINS[asked.plugin], call, node, log, phases)


def _error_of(error: BaseException) -> CniError:
    return error if isinstance(error, CniError) else Internal.of(error)


def _refuse_strangers(client: socket.socket) -> None:
    """The directory of the socket is closed to others; this holds where somebody has opened it."""
    packed = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, _ = CREDENTIALS.unpack(packed)
    if uid != ROOT:
        raise IoFailure(f"the agent answers root alone, and process {pid} is of user {uid}")


def _about(asked: wire.Asked) -> dict[str, str]:
    """What a log says of a call that may not even be one."""
    named = {"verb": "CNI_COMMAND", "container_id": "CNI_CONTAINERID", "ifname": "CNI_IFNAME"}
    return {"plugin": asked.plugin} | {key: asked.env.get(name, "") for key, name in named.items()}


def _printed(answer: Json | None) -> bytes:
    return b"" if answer is None else ENCODER.encode(answer).encode() + b"\n"
