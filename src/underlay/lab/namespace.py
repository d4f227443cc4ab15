"""Named network namespaces and the commands that run in them.

The lab is not on the hot path, so it changes the kernel with the commands a person would type, as few
processes as it can: one `ip -batch` for all that is asked of one namespace. It does not use `ip netns exec`,
which mounts another /sys; a thread that is in a namespace passes it on to what it starts.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from underlay.lab.errors import CommandError, LabError
from underlay.netns import entered, open_netns

DIRECTORY = "/run/netns"  # where iproute2 keeps them
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7): `lo` goes up without a process of its own


@dataclass(frozen=True)
class Netns:
    """A named network namespace, or one that is known by its path. It may come to be after the value."""

    name: str

    @property
    def path(self) -> str:
        """What CNI_NETNS holds for it."""
        return os.path.join(DIRECTORY, self.name)

    @property
    def exists(self) -> bool:
        return os.path.exists(self.path)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Puts this thread into the namespace; sockets and processes made meanwhile belong to it."""
        try:
            fd = open_netns(self.path)
        except OSError as error:
            raise LabError(f"there is no network namespace {self.name}: {error.strerror}") from error
        try:
            with entered(fd):
                yield
        finally:
            os.close(fd)

    def run(self, *argv: str, stdin: str = "") -> str:
        """The standard output of a command in this namespace; CommandError shows what it said."""
        with self.entered():
            return run(*argv, stdin=stdin, where=self.name)

    def ip(self, *lines: str) -> None:
        """Runs `ip` once for all lines: `ns.ip("link set lo up", "route add default dev eth0")`."""
        with self.entered():
            ip(*lines, where=self.name)

    def nft(self, ruleset: str) -> None:
        """Loads an nftables ruleset, all or nothing."""
        self.run("nft", "-f", "-", stdin=ruleset)

    def sysctl(self, settings: dict[str, int]) -> None:
        """Writes keys below `net.`, with `/` between their parts: `ipv4/ip_forward`."""
        with self.entered():
            for key, value in settings.items():
                with open(f"/proc/sys/net/{key}", "w", encoding="ascii") as file:
                    file.write(str(value))


OWN = Netns("/proc/thread-self/ns/net")  # whoever asks is in it


def create(*namespaces: Netns) -> None:
    """Makes the namespaces, each with `lo` up and without waiting for duplicate addresses (DAD)."""
    ip(*(f"netns add {namespace.name}" for namespace in namespaces))
    for namespace in namespaces:
        namespace.sysctl({"ipv6/conf/all/accept_dad": 0, "ipv6/conf/default/accept_dad": 0})
        with namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def delete(*namespaces: Netns) -> None:
    """Removes the namespaces and all that is in them; one that is gone already is fine.

    Of one that a container runtime holds the name alone is removed.
    """
    ip(*(f"netns del {namespace.name}" for namespace in namespaces if os.path.lexists(namespace.path)))


def named(prefix: str) -> list[Netns]:
    """All namespaces whose name starts with `prefix`."""
    if not os.path.isdir(DIRECTORY):
        return []
    return [Netns(name) for name in sorted(os.listdir(DIRECTORY)) if name.startswith(prefix)]


def ip(*lines: str, where: str = "host") -> None:
    """Runs `ip -batch` in the namespace of this thread."""
    if not lines:
        return
    try:
        run("ip", "-batch", "-", stdin="\n".join(lines), where=where)
    except CommandError as error:
        numbered = (f"{number:3} {line}" for number, line in enumerate(lines, 1))
        raise CommandError("\n".join((str(error), *numbered))) from None


def run(*argv: str, stdin: str = "", where: str = "host") -> str:
    """The standard output of a command in the namespace of this thread."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise CommandError(f"{argv[0]} is not installed: the lab needs iproute2 and nftables") from error
    if done.returncode:
        raise CommandError(f"{where}: {' '.join(argv)}: {done.stderr.strip() or f'exit {done.returncode}'}")
    return done.stdout
