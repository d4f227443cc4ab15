"""The routing daemon BIRD 2 in namespaces, with the very configuration that docs/routing.md shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.repo.tree import ROOT
from underlay.lab.addresses import IPAddress, subnets
from underlay.lab.errors import CommandError
from underlay.lab.namespace import Netns, run

PAGE = ROOT / "docs/routing.md"
LAN = subnets("192.168.50.0/24", "fd00:50::/64")  # where the page has its machines
SPEAKERS = {"node1": 11, "node2": 12, "edge": 60}  # by the page's names, their numbers on that LAN
PATIENCE = 30.0  # seconds; a session takes one, a route a few milliseconds
PAUSE = 0.02  # seconds between two looks


class Way(NamedTuple):
    """One route to an address: its protocol number, its next hop ("" for none), its link, its metric."""

    proto: int
    via: str
    dev: str
    metric: int


class Bird:
    """One daemon, our child. Its control socket and its files are in a directory of its own."""

    def __init__(self, name: str, netns: Netns, configuration: str) -> None:
        self.name = name
        self.netns = netns
        self.configuration = configuration
        # Not in a test's own directory: a path of more than 107 characters is none for a socket.
        self._directory = Path(tempfile.mkdtemp(prefix="bird-"))
        self._log = self._directory / "log"
        self._control = str(self._directory / "ctl")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Starts the daemon in the foreground and waits until it answers."""
        conf = self._directory / "conf"
        conf.write_text(self.configuration)
        files = ("-c", str(conf), "-s", self._control, "-P", str(self._directory / "pid"))
        with self.netns.entered(), self._log.open("ab") as log:
            self._process = subprocess.Popen(["bird", "-f", *files, *options], stderr=log)
        wait_until(self._answers, lambda: f"bird of {self.name} is up\n{self._log.read_text()}")

    def _answers(self) -> bool:
        if self._process and self._process.poll() is not None:
            raise AssertionError(f"bird of {self.name} has ended:\n{self._log.read_text()}")
        return bool(self.ask("show status"))

    def ask(self, question: str) -> str:
        """What birdc prints; "" where nobody answers."""
        try:
            return run("birdc", "-s", self._control, question, where=self.name)
        except CommandError:
            return ""

    @property
    def sessions(self) -> set[str]:
        """The neighbours with which it has a BGP session now, by the names of the configuration."""
        return set(re.findall(r"(?m)^(\S+) +BGP .* Established *$", self.ask("show protocols")))

    def wait_for_sessions(self, *neighbours: str) -> None:
        """Until it has a session with each of these and with nobody else."""
        wanted = set(neighbours)
        wait_until(lambda: self.sessions == wanted, lambda: f"{self.name}: {self.ask('show protocols')}")

    def has_heard(self, neighbour: str, address: IPAddress) -> bool:
        """Whether that neighbour has told of a claim to the address, and not that it is gone."""
        dst = f"{address}/{address.max_prefixlen}"
        return f"[{neighbour} " in self.ask(f"show route {dst} table claims{address.version} all")

    def kill(self) -> None:
        """Ends it as a crash does: it can tell nobody."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ends it as systemd does. It says goodbye."""
        self._end("down")

    def stop_for_a_restart(self) -> None:
        """Ends it so that its neighbours expect it back."""
        self._end("graceful restart")

    def _end(self, order: str) -> None:
        self.ask(order)
        assert self._process
        self._process.wait(PATIENCE)

    def remove(self) -> None:
        """Ends it, and removes its files."""
        self.kill()
        shutil.rmtree(self._directory)


def documented() -> str:
    """The configuration of node1, as the page shows it."""
    (block,) = re.findall(r"(?ms)^```\n(# /etc/bird/bird\.conf .*?)^```$", PAGE.read_text(encoding="utf-8"))
    return str(block)


def configuration(name: str) -> str:
    """What one of SPEAKERS makes of that as the page says: its own numbers, and the others at the end."""
    text = re.sub(r"(?m)^protocol bgp .*\n", "", documented())
    number = SPEAKERS[name]
    for own, value in (
        ("router id ", f"192.168.50.{number}"),
        ("define MY_ADDRESS = ", f"192.168.50.{number}"),
        ("define MY_AS = ", f"650{number}"),
    ):
        text, count = re.subn(rf"(?m)^{own}\S+;$", f"{own}{value};", text)
        assert count == 1, f"{PAGE} has {count} lines {own}"
    others = {other: number for other, number in SPEAKERS.items() if other != name}
    return text + "".join(
        f"protocol bgp {other} from speaker {{ neighbor 192.168.50.{number} as 650{number}; }}\n"
        for other, number in others.items()
    )


def ways(netns: Netns, address: IPAddress) -> list[Way]:
    """The routes of main to that very address, the one that the kernel takes first."""
    shown = netns.run("ip", f"-{address.version}", "-N", "-json", "route", "show", str(address))
    return [
        Way(int(each["protocol"]), each.get("gateway", ""), each["dev"], each.get("metric", 0))
        for each in json.loads(shown)
    ]


@contextmanager
def deleted(netns: Netns) -> Iterator[list[str]]:
    """The routes that are deleted meanwhile, as `ip monitor` shows them; filled when the context ends."""
    found: list[str] = []
    with tempfile.TemporaryFile("w+") as file:
        with netns.entered():
            monitor = subprocess.Popen(["ip", "monitor", "route"], stdout=file)

        def shows(marker: str) -> bool:
            netns.ip(f"route add {marker} dev lo", f"route del {marker} dev lo")
            file.seek(0)
            return f"Deleted {marker} " in file.read()

        try:
            wait_until(lambda: shows("192.0.2.1"), lambda: "ip monitor has begun")
            yield found
            wait_until(lambda: shows("192.0.2.2"), lambda: "ip monitor has come to the end")
        finally:
            monitor.kill()
            monitor.wait()
        file.seek(0)
        found += [line for line in file if line.startswith("Deleted") and " 192.0.2." not in line]


def wait_until(condition: Callable[[], object], what: Callable[[], str]) -> None:
    """Looks until the condition holds; fails with what was waited for."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{PATIENCE:g} s have not been enough: {what()}"
        time.sleep(PAUSE)
