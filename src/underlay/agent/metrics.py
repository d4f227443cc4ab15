"""What Prometheus and a kubelet may ask, over HTTP on a loopback address: /metrics, /healthz, /readyz.

    underlay_calls_total{plugin,verb,code}     code 0 is success, 102 a conflict (cni.errors)
    underlay_call_seconds{plugin,verb}         a histogram, from accepting the connection to its reply
    underlay_collected_total{plugin}           attachments that GC has taken off: somebody forgot their DEL
    underlay_attachments{plugin}               that are recorded, on all nodes that the agent serves
    process_start_time_seconds …               of the agent itself: a restart shows

Imported only where it is switched on: it is a third of the agent's memory.
"""

from __future__ import annotations

import os
import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from socketserver import ThreadingTCPServer

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from underlay.agent.errors import AgentError
from underlay.cni.verbs import VERBS
from underlay.plugins import PLUGINS
from underlay.records import DELEGATES, RECORD

OTHER = "other"  # what a client names and we don't know: labels come from us, or there is no end of them
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SLOWEST = 10.0  # seconds for a request over HTTP
NEVER = 3600.0  # seconds between looks whether to stop, which is asked of nobody: it ends with the process


class Metrics:
    """Counts calls. `state` is the directory of the records."""

    def __init__(self, state: str) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "underlay_calls", "Calls, by the code of their error or 0.", ("plugin", "verb", "code"),
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "underlay_call_seconds", "How long calls took.", ("plugin", "verb"),
            registry=self.registry, buckets=SECONDS,
        )  # fmt: skip
        self._collected = Counter(
            "underlay_collected", "Attachments that GC has taken off.", ("plugin",), registry=self.registry
        )
        self.registry.register(Attachments(state))
        ProcessCollector(registry=self.registry)

    def called(self, plugin: str, verb: str, code: int, seconds: float) -> None:
        """One call has been answered."""
        plugin = plugin if plugin in PLUGINS else OTHER
        verb = verb if verb in VERBS else OTHER
        self._calls.labels(plugin, verb, str(code)).inc()
        self._seconds.labels(plugin, verb).observe(seconds)

    def collected(self, plugin: str) -> None:
        """GC has taken off an attachment."""
        self._collected.labels(plugin if plugin in PLUGINS else OTHER).inc()


class Attachments(Collector):
    """Counts the records when it is asked: the agent keeps no books of its own."""

    def __init__(self, state: str) -> None:
        self._state = state

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily("underlay_attachments", "Attachments on record.", labels=("plugin",))
        counted = attachments(self._state)
        for plugin in PLUGINS:
            family.add_metric((plugin,), counted[plugin])
        return (family,)


def attachments(state: str) -> Tally[str]:
    """How many attachments each plugin has on record; what the node keeps for a segment is none."""
    counted: Tally[str] = Tally()
    for directory, _, names in os.walk(state):
        name = os.path.basename(directory)
        if ":" not in name or name.startswith(DELEGATES):
            counted.update(found[3] for name in names if (found := RECORD.fullmatch(name)))
    return counted


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def serve_http(address: str, metrics: Metrics, not_ready: Callable[[], str]) -> None:
    """Answers at `ADDRESS:PORT` or `[ADDRESS]:PORT`, in threads of its own, until the process ends.

    `not_ready` says what keeps the agent from serving, "" for nothing. AgentError where that is no
    loopback address, or is taken.
    """
    host, port = _parsed(address)

    class Handler(BaseHTTPRequestHandler):
        timeout = SLOWEST

        def do_GET(self) -> None:
            match self.path.partition("?")[0]:
                case "/metrics":
                    self._answer(200, generate_latest(metrics.registry), CONTENT_TYPE_LATEST)
                case "/healthz":
                    self._answer(200, b"ok\n")
                case "/readyz":
                    problem = not_ready()
                    self._answer(503 if problem else 200, f"{problem or 'ok'}\n".encode())
                case _:
                    self._answer(404, b"there are /metrics, /healthz and /readyz\n")

        def _answer(self, code: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A probe each second is no news."""

    family = AF_INET6 if ":" in host else AF_INET
    try:
        server = type("Server", (_Server,), {"address_family": family})((host, port), Handler)
    except OSError as error:
        raise AgentError(f"--metrics {address}: {error.strerror}") from error
    threading.Thread(target=server.serve_forever, args=(NEVER,), daemon=True).start()


def _parsed(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        if ip_address(host).is_loopback and port.isdecimal() and 0 <= int(port) < 1 << 16:
            return host, int(port)
    except ValueError:
        pass
    raise AgentError(
        f"--metrics {address} is not ADDRESS:PORT with a loopback address, such as 127.0.0.1:9977:"
        " they are for this machine alone"
    )
