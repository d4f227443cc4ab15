"""What is known of a node when somebody asks how it is: plain values, read once."""

from __future__ import annotations

from dataclasses import field

from underlay.agent.about import About
from underlay.install.files import Change
from underlay.leftovers.found import Leftover
from underlay.leftovers.seen import Seen
from underlay.main_default import nic_order
from underlay.objects import IP
from underlay.record import Record
from underlay.values import dataclass

OURS, OTHERS, MISSING = "ours", "another program's", "missing"


@dataclass(frozen=True, slots=True)
class Installed:
    """What stands in a directory of plugins. `version` is "" where nothing says which. `executables` says
    of each whose it is; `has_fallback`, whether they work where no agent answers; `changed` are
    files of the installation that are not as it has written them."""

    bin_dir: str
    version: str
    executables: dict[str, str]
    has_fallback: bool
    changed: tuple[Change, ...] = ()
    in_the_way: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A link of ours on the node, and who says that it is his: "" for nobody."""

    name: str
    managed_by: str = ""


@dataclass(frozen=True, slots=True)
class Firewall:
    """What drops forwarded packets. `unknown` says why nobody can tell, "" where it is known.

    `policies` are chains whose policy is to drop, `invalid` those that drop what conntrack calls invalid.
    """

    policies: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """`version` is that of the command that asks, `agent` who answers at `socket`, or why nobody does.

    `missing` is by record what the kernel lacks. `forwarding` is by IP version the node's setting.
    `networkd` are settings of a systemd-networkd that runs by which it removes what it did not make.
    """

    version: str
    now: float
    socket: str
    agent: About | str
    installed: Installed
    seen: Seen
    leftovers: tuple[Leftover, ...] = ()
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    forwarding: dict[int, str] = field(default_factory=dict)
    addresses: tuple[IP, ...] = ()
    links: tuple[Link, ...] = ()
    networkd: tuple[str, ...] = ()
    firewall: Firewall = field(default_factory=Firewall)
    is_liberal: bool = False

    @property
    def attached(self) -> tuple[Record, ...]:
        """The records whose pods are there: by pod, then in the order of its NICs."""
        there = (record for record in self.seen.records if record.owner in self.seen.at_home)
        return tuple(
            sorted(
                there, key=lambda each: (each.pod, each.container_id, nic_order(each.ifname), each.plugin)
            )
        )
