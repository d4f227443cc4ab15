"""The agent from its start to its last signal."""

from __future__ import annotations

import gc
import os
import resource
import time

import underlay
from underlay.agent.about import About
from underlay.agent.calls import Calls, Meter
from underlay.agent.hosts import Hosts
from underlay.agent.notify import READY, STOPPING, Notifier
from underlay.agent.place import Place, listening
from underlay.agent.rounds import Rounds
from underlay.agent.workers import Workers
from underlay.cni.verbs import load
from underlay.log import Log, LogOptions
from underlay.plugins import PLUGINS
from underlay.signals import Signals
from underlay.values import dataclass

PATIENCE = 30.0  # seconds for calls that run when the agent is to end
DESCRIPTORS = 24  # of one call at most: its connection, namespaces, sockets, locks, pipes to a plugin


@dataclass(frozen=True, slots=True)
class Options:
    """`socket` and `state` are absolute paths, `threads` is how many calls may run at once, `metrics` is
    an address and a port, or "" for none, as `metrics_on` is, for other machines. `host_root` is where the
    node's root directory is, "" where it is ours. `gc_seconds` lie between two looks for what is left over,
    0 for none; `bin_dir` has IPAM plugins that gave addresses."""

    socket: str
    state: str
    threads: int
    metrics: str = ""
    host_root: str = ""
    gc_seconds: int = 300
    bin_dir: str = "/opt/cni/bin"
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
        meter, hosts = _meter(options, place), Hosts()
        calls = Calls(options.state, meter, hosts, about(options), options.host_root)
        workers = Workers(place.listener, calls.answer, options.threads)
        load()
        tuple(PLUGINS.values())  # are loaded now: the first call waits for none
        gc.freeze()  # what is there by now stays: a collection in the midst of a call need not look at it
        workers.start()
        log.event("agent-started", socket=options.socket, state=options.state, pid=os.getpid())
        notifier.tell(READY)
        if options.gc_seconds:
            rounds = Rounds(hosts, options.state, options.bin_dir, log, meter, options.host_root)
            rounds.start(options.gc_seconds)
        signals.wait()
        notifier.tell(STOPPING)
        unfinished = workers.stop(PATIENCE)
        calls.close()
    log.event("agent-stopped", "warn" if unfinished else "info", unfinished=unfinished)
    return unfinished


def about(options: Options) -> About:
    return About(underlay.__version__, os.getpid(), int(time.time()), options.socket, options.state)


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
