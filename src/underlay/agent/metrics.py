"""What Prometheus and a kubelet may ask, over HTTP on a loopback address: /metrics, /healthz, /readyz.

Other machines may have the metrics too, at another address, where somebody wants that.

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
from collections.abc import Callable, Iterable, Mapping
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
from underlay.record import RECORD
from underlay.records import DELEGATES

OTHER = "other"  # what a client names and we don't know: labels come from us, or there is no end of them
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
SLOWEST = 10.0  # seconds for a request over HTTP
NEVER = 3600.0  # seconds between looks whether to stop, which is asked of nobody: it ends with the process

TEXT = "text/plain; charset=utf-8"

Answer = tuple[int, bytes, str]  # code, body, Content-Type
Answers = Mapping[str, Callable[[], Answer]]  # by path


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

    def text(self) -> Answer:
        """All of it, as Prometheus reads it."""
        return 200, generate_latest(self.registry), CONTENT_TYPE_LATEST

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
    """Answers this machine at `ADDRESS:PORT` or `[ADDRESS]:PORT`, until the process ends.

    `not_ready` says what keeps the agent from serving, "" for nothing. AgentError where that is no
    loopback address, or is taken.
    """
    host, port = _parsed(address) or ("", 0)
    if not host or not ip_address(host).is_loopback:
        raise AgentError(
            f"--metrics {address} is not ADDRESS:PORT with a loopback address, such as 127.0.0.1:9977:"
            " they are for this machine alone; --metrics-on is for others"
        )

    def readiness() -> Answer:
        problem = not_ready()
        return 503 if problem else 200, f"{problem or 'ok'}\n".encode(), TEXT

    answers = {"/metrics": metrics.text, "/healthz": lambda: (200, b"ok\n", TEXT), "/readyz": readiness}
    _serve(f"--metrics {address}", host, port, answers)


def serve_others(address: str, metrics: Metrics) -> None:
    """The same for whoever reaches that address, and the metrics alone."""
    host, port = _parsed(address) or ("", 0)
    if not host:
        raise AgentError(f"--metrics-on {address} is not ADDRESS:PORT, such as 192.168.10.11:9977")
    _serve(f"--metrics-on {address}", host, port, {"/metrics": metrics.text})


def _serve(option: str, host: str, port: int, answers: Answers) -> None:
    """In threads of its own."""
    family = AF_INET6 if ":" in host else AF_INET
    try:
        server = type("Server", (_Server,), {"address_family": family})((host, port), _handler(answers))
    except OSError as error:
        raise AgentError(f"{option}: {error.strerror}") from error
    threading.Thread(target=server.serve_forever, args=(NEVER,), daemon=True).start()


def _handler(answers: Answers) -> type[BaseHTTPRequestHandler]:
    there_are = f"there is {', '.join(answers)}\n".encode()

    class Handler(BaseHTTPRequestHandler):
        timeout = SLOWEST

        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            code, body, kind = found() if found else (404, there_are, TEXT)
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """A probe each second is no news."""

    return Handler


def _parsed(address: str) -> tuple[str, int] | None:
    """None where it is no address with a port."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(host)
    except ValueError:
        return None
    return (host, int(port)) if port.isdecimal() and int(port) < 1 << 16 else None
