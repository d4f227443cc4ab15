"""The agent from its start to its last signal.

No signal is blocked or ignored, though threads would ask for that: what a plugin that is executed inherits
is a mask and what is ignored, but not a handler. So each signal has a handler that does nothing, and Python
writes its number to a pipe that the main thread reads. Nothing else wakes an agent that has nothing to do.
"""

from __future__ import annotations

import gc
import os
import resource
import signal

from underlay.agent.calls import Calls, Meter
from underlay.agent.notify import READY, STOPPING, Notifier
from underlay.agent.place import Place, listening
from underlay.agent.workers import Workers
from underlay.cni.verbs import load
from underlay.log import Log, LogOptions
from underlay.plugins import PLUGINS
from underlay.values import dataclass

ENDING = (signal.SIGTERM, signal.SIGINT)
PATIENCE = 30.0  # seconds for calls that run when the agent is to end
DESCRIPTORS = 24  # of one call at most: its connection, namespaces, sockets, locks, pipes to a plugin


@dataclass(frozen=True, slots=True)
class Options:
    """`socket` and `state` are absolute paths, `threads` is how many calls may run at once, `metrics` is
    an address and a port, or "" for none, as `metrics_on` is, for other machines. `host_root` is where the
    node's root directory is, "" where it is ours."""

    socket: str
    state: str
    threads: int
    metrics: str = ""
    host_root: str = ""
    metrics_on: str = ""


def serve(options: Options) -> int:
    """Answers calls until it is told to end; how many of them it left unfinished.

    AgentError where it can't begin.
    """
    signals = Signals()
    notifier = Notifier()
    log = Log(LogOptions())
    _allow_descriptors(options.threads * DESCRIPTORS)
    with listening(options.socket) as place:
        calls = Calls(options.state, _meter(options, place), options.host_root)
        workers = Workers(place.listener, calls.answer, options.threads)
        load()
        tuple(PLUGINS.values())  # are loaded now: the first call waits for none
        gc.freeze()  # what is there by now stays: a collection in the midst of a call need not look at it
        workers.start()
        log.event("agent-started", socket=options.socket, state=options.state, pid=os.getpid())
        notifier.tell(READY)
        signals.wait()
        notifier.tell(STOPPING)
        unfinished = workers.stop(PATIENCE)
        calls.close()
    log.event("agent-stopped", "warn" if unfinished else "info", unfinished=unfinished)
    return unfinished


class Signals:
    """The signals that a daemon gets. Made in the main thread, and once in a process."""

    def __init__(self) -> None:
        self._pipe, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        for number in (*ENDING, signal.SIGHUP):  # a terminal that closes ends no daemon
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        """Returns when the agent is to end. From then on another such signal ends it at once."""
        while os.read(self._pipe, 1)[0] not in ENDING:
            pass
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)


def _meter(options: Options, place: Place) -> Meter | None:
    if not (options.metrics or options.metrics_on):
        return None
    from underlay.agent.metrics import Metrics, serve_http, serve_others

    metrics = Metrics(options.state)
    if options.metrics_on:
        serve_others(options.metrics_on, metrics)
    if options.metrics:
        told = f"{place.path} is not the agent's socket any more"
        serve_http(options.metrics, metrics, lambda: "" if place.is_ours() else told)
    return metrics


def _allow_descriptors(count: int) -> None:
    """As many as a full agent needs; the usual limit of 1024 is none that anybody has chosen."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
