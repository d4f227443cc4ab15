"""A real agent in a process of its own, and raw clients that speak with it as the shim does, or worse."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.netns.world import LAN_A, Footprint, Inside, Nic, World
from underlay.lab.namespace import Netns
from underlay.lab.pod import Json
from underlay.lab.runtime import Runtime, refusal
from underlay.lab.topology import Node
from underlay.plugins import PLUGINS

AGENT = ("-m", "underlay", "agent")
SECONDS = 30.0  # for anything that has to happen; a test that waits that long has failed
LENGTH = struct.Struct("!I")


class Agent:
    """An agent with a socket of its own and the records of a world. To be closed."""

    def __init__(self, state: str) -> None:
        # Below /run: a path of pytest's may be too long for a socket.
        self.directory = Path(tempfile.mkdtemp(prefix="agent-", dir="/run"))
        self.socket = str(self.directory / "agent.sock")
        self.state = state
        self.told: list[bytes] = []
        self.stderr = str(self.directory / "stderr")
        self._systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._systemd.bind(str(self.directory / "notify"))
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The one that was started last."""
        return self._processes[-1]

    def start(self, *options: str, program: Sequence[str] = AGENT, prefix: Sequence[str] = ()) -> None:
        """Starts it, and waits until it is ready or has ended."""
        self.told.clear()
        command = [sys.executable, *program, "--socket", self.socket, "--state", self.state, *options]
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.directory / "notify")}
        with open(self.stderr, "ab") as stderr:
            process = subprocess.Popen(
                [*prefix, *command], env=environment, stdin=subprocess.DEVNULL, stderr=stderr
            )
        self._processes.append(process)
        until(lambda: self.has_told(b"READY=1") or self.process.poll() is not None)

    def has_told(self, state: bytes) -> bool:
        """Whether it has told systemd that."""
        try:
            while True:
                self.told.append(self._systemd.recv(100))
        except BlockingIOError:
            return state in self.told

    def kill(self) -> None:
        """As the kernel does that is out of memory."""
        self.process.kill()
        self.process.wait(SECONDS)

    def end(self) -> int:
        """As systemd does; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(SECONDS)
        self._systemd.close()
        shutil.rmtree(self.directory)

    @property
    def said(self) -> str:
        """All of its standard error."""
        return Path(self.stderr).read_text()

    def events(self, event: str = "call", least: int = 0) -> list[Json]:
        """What it has logged under that name, as soon as that is so many lines: it logs after it answers."""
        until(lambda: len(self._events(event)) >= least)
        return self._events(event)

    def _events(self, event: str) -> list[Json]:
        lines = [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def opened(self) -> list[str]:
        """What its descriptors lead to."""
        paths = []
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since
                paths.append(os.readlink(path))
        return paths

    def is_at_rest(self) -> bool:
        """Whether no call runs: each has a descriptor of a namespace, which is not the agent's own."""
        own = os.stat(f"/proc/{self.process.pid}/ns/net")
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since
                status = path.stat()
                if status.st_dev == own.st_dev and status.st_ino != own.st_ino:
                    return False
        return True

    def client(self, seconds: float = SECONDS) -> Client:
        """A connection."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            connection.connect(self.socket)
        except OSError:
            connection.close()
            raise
        return Client(connection)


@dataclass(frozen=True)
class Reply:
    """What a shim would print, and exit with."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def json(self) -> Json:
        """All of standard output, which must be one JSON object."""
        answer = json.loads(self.stdout)
        assert isinstance(answer, dict)
        return answer


class Client:
    """A connection to an agent. To be closed, which cancels its call."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def send(self, data: bytes, *descriptors: int) -> None:
        """Sends bytes, with descriptors at the first of them."""
        sent = socket.send_fds(self.connection, [data], descriptors) if descriptors else 0
        if rest := data[sent:]:
            self.connection.sendall(rest)

    def call(self, request: bytes, node: Netns, pod: str = "") -> None:
        """Sends a whole request with the namespaces that a shim would send: `pod` is a path."""
        descriptors = [os.open(node.path, os.O_RDONLY)]
        try:
            if pod and os.path.exists(pod):
                descriptors.append(os.open(pod, os.O_RDONLY))
            self.send(request, *descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def reply(self) -> Reply | None:
        """The whole reply; None where the agent closes without a byte."""
        data = b""
        while piece := self._piece():
            data += piece
        if not data:
            return None
        length, code, size = struct.unpack_from("!III", data)
        assert length == len(data) - LENGTH.size
        start = 3 * LENGTH.size
        stdout, stderr = data[start : start + size], data[start + size + LENGTH.size :]
        assert LENGTH.unpack_from(data, start + size) == (len(stderr),)
        return Reply(code, stdout, stderr)

    def _piece(self) -> bytes:
        try:
            return self.connection.recv(1 << 16)
        except ConnectionResetError:
            return b""  # closed, with something unread

    def has_answer(self) -> bool:
        """Whether anything has come, or the agent has closed."""
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self.connection.close()


def request(plugin: str, stdin: bytes, env: Mapping[str, str]) -> bytes:
    """A request as the shim sends it."""
    variables = [f"{name}={value}".encode() for name, value in env.items() if name.startswith("CNI_")]
    return sized(b"".join(map(sized, (plugin.encode(), stdin, *variables))))


def sized(data: bytes) -> bytes:
    """The bytes with their length before them."""
    return LENGTH.pack(len(data)) + data


@dataclass(frozen=True)
class AgentRuntime(Runtime):
    """A container runtime whose calls of our plugins go to an agent; all others are executed."""

    agent: Agent | None = None

    def call(self, plugin: str, verb: str, config: Json, variables: Mapping[str, str]) -> str:
        if plugin not in PLUGINS:
            return super().call(plugin, verb, config, variables)
        client = self.begin(plugin, verb, config, variables)
        try:
            reply = client.reply()
        finally:
            client.close()
        assert reply, "the agent has closed without a reply"
        if reply.code:
            raise refusal(plugin, verb, reply.stdout.decode(), reply.stderr.decode())
        return reply.stdout.decode()

    def begin(self, plugin: str, verb: str, config: Json, variables: Mapping[str, str]) -> Client:
        """A call that is made, and not waited for."""
        assert self.agent
        client = self.agent.client()
        sent = request(plugin, json.dumps(config).encode(), {**variables, "CNI_COMMAND": verb})
        client.call(sent, self.node, variables.get("CNI_NETNS", ""))
        return client


def until(happened: Callable[[], object]) -> None:
    """Waits for something that has to happen."""
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)


@dataclass(frozen=True)
class Served:
    """A node on the first LAN of a world, whose calls an agent answers."""

    world: World
    agent: Agent
    node: Node
    runtime: AgentRuntime

    def nic(self, name: str = "pod", **keys: Any) -> Nic:
        """A NIC in a pod of its own that macvlan has made; `veth` is to be called for it."""
        return self.world.nic(self.runtime, self.world.pod(name), **keys)

    def begin(self, nic: Nic, verb: str, **keys: Any) -> Client:
        """A call of `veth` that is made, and not waited for."""
        return self.runtime.begin("veth", verb, nic.config(**keys), nic.variables)

    def answer(self, nic: Nic, verb: str, **keys: Any) -> Json:
        """What a call of `veth` prints; PluginError where it fails."""
        answer: Json = json.loads(nic.call(verb, **keys) or "{}")
        return answer

    def is_alive(self) -> bool:
        """Whether the agent answers somebody who asks for nothing."""
        return "supportedVersions" in self.runtime.version("veth")

    def accepts(self) -> bool:
        """Whether somebody who connects is let in."""
        try:
            self.agent.client().close()
        except ConnectionRefusedError:
            return False
        return True

    def footprint(self) -> Footprint:
        return Footprint(self.world, self.node.netns)

    def is_recorded(self, *nics: Nic) -> bool:
        """Whether there are records of all these, which is so from before the first change."""
        there = {path.parent.name for path in Path(self.world.state).glob("*/*/*.json")}
        return there >= {nic.pod.container_id for nic in nics}


def served(world: World, *options: str) -> Iterator[Served]:
    """An agent that is ready, and a node for it."""
    world.lan(LAN_A)
    node = world.node()
    agent = Agent(world.state)
    try:
        agent.start(*options)
        yield Served(world, agent, node, runtime_of(world, node, agent))
    finally:
        agent.close()


def runtime_of(world: World, node: Node, agent: Agent) -> AgentRuntime:
    """The container runtime of a node whose calls an agent answers."""
    plain = world.runtime(node)
    return AgentRuntime(plain.node, plain.bin_dirs, plain.state_dir, plain.environment, agent)


@contextmanager
def held(there: Served, nic: Nic) -> Iterator[Callable[[], bool]]:
    """The lock of a pod is held; gives a function that says whether a call of the agent waits for it."""
    container = nic.pod.container_id
    with closing(Inside(there.node.netns, there.world.state)) as node, node.records.pod(container):
        (place,) = Path(there.world.state).glob(f"*/{container}")
        yield lambda: str(place) in there.agent.opened()


ABSENT = "10.6.0.77"  # nobody's address on the first LAN, until a test gives it to a host


def asking_absent_gateway(nic: Nic, interval: str = "100ms", retries: int = 100) -> Json:
    """Keys by which a call waits, with its record written and the NIC's MAC set: until that address is on
    the LAN, or for so long."""
    first, *others = nic.result["ips"]
    result = {**nic.result, "ips": [{**first, "gateway": ABSENT}, *others]}
    return {
        "prevResult": result,
        "mac_prefix": "0a:1b",
        "detect_gateway": {"enabled": True, "interval": interval, "retries": retries},
    }


def asking_for_ever(interval: str = "10m") -> Json:
    """Keys by which a call waits for longer than any test, with nothing done yet."""
    return {"ip_conflict": {"enabled": True, "interval": interval, "retries": 100}}
