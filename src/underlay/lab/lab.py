"""A lab: all the namespaces of one prefix, and a directory for what its runtimes keep.

    with Lab("t-", tmp_path / "lab") as lab:
        lan = lab.lan("a", 10)
        node = lab.node("node1", lan, number=11)
        pod = lab.pod("pod1")
        lab.up(lan, node, pod)

Everything lives inside namespaces, and processes have their files in the directory, so `down` needs to know
no more than the prefix and that: it also ends a lab whose process was killed.
"""

from __future__ import annotations

import os
import shutil
from types import TracebackType
from typing import Protocol

from underlay.lab import cgroups
from underlay.lab.addresses import subnets
from underlay.lab.errors import LabError
from underlay.lab.namespace import Netns, create, delete, named
from underlay.lab.overlay import OverlayPod
from underlay.lab.pod import Pod
from underlay.lab.process import end_all
from underlay.lab.topology import Host, Lan, Node, Router, Via

PREFIX = "ulab-"
STATE_DIR = "/run/underlay-lab"


class Machine(Protocol):
    """What a lab can bring up: it has a namespace, and knows how to furnish it."""

    @property
    def netns(self) -> Netns: ...

    def up(self) -> None: ...


class Guest(Machine, Protocol):
    """A machine that can go while the others stay."""

    def down(self) -> None:
        """Removes what of it is outside of its namespace."""


class Lab:
    """Makes the values of a topology, brings them up, and takes everything down."""

    def __init__(self, prefix: str = PREFIX, state_dir: str | os.PathLike[str] = STATE_DIR) -> None:
        self.prefix = prefix
        self.state_dir = os.fspath(state_dir)

    def netns(self, name: str) -> Netns:
        return Netns(self.prefix + name)

    def lan(self, name: str, number: int) -> Lan:
        """LAN `number`: 192.168.<number>.0/24 and fd00:<number>::/64."""
        return Lan(self.netns(name), subnets(f"192.168.{number}.0/24", f"fd00:{number}::/64"))

    def host(self, name: str, lan: Lan, number: int, routes: tuple[Via, ...] = ()) -> Host:
        return Host(self.netns(name), lan, number, routes)

    def router(self, name: str, lan: Lan, uplink: Lan, number: int, routes: tuple[Via, ...] = ()) -> Router:
        return Router(self.netns(name), lan, uplink, number, routes=routes)

    def node(self, name: str, *lans: Lan, number: int, docker: bool = False) -> Node:
        return Node(self.netns(name), lans, number, docker)

    def overlay_pod(self, name: str, node: Node, number: int) -> OverlayPod:
        return OverlayPod(self.netns(name), node, number)

    def pod(self, name: str) -> Pod:
        return Pod(self.netns(name), name)

    def up(self, *machines: Machine) -> None:
        """Makes their namespaces and furnishes them in this order: a LAN comes before what is on it."""
        create(*(machine.netns for machine in machines))
        for machine in machines:
            machine.up()

    def remove(self, *machines: Guest) -> None:
        """Removes some machines; what they have on others is gone when this returns."""
        for machine in machines:
            machine.down()
        delete(*(machine.netns for machine in machines))

    def reserve(self) -> None:
        """Makes the state directory, or says that another lab has it."""
        try:
            os.makedirs(self.state_dir)
        except FileExistsError:
            raise LabError(
                "a lab is up already, or one was left behind: `underlay lab down` takes it down"
            ) from None

    def down(self) -> list[str]:
        """Removes all that the lab made, whoever made it; the names of the namespaces that were found."""
        end_all(self.state_dir)
        cgroups.remove(self.state_dir)
        found = named(self.prefix)
        delete(*found)
        shutil.rmtree(self.state_dir, ignore_errors=True)
        return [namespace.name for namespace in found]

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
