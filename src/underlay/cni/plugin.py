"""What a plugin is, and what it and the verbs are given: interfaces only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from underlay.cni.call import Call
from underlay.cni.cluster import Cluster
from underlay.cni.keys import Aliases, Keys
from underlay.cni.probing import Lan, Patience, Probing
from underlay.cni.result import Result, ResultRoute
from underlay.cni.wish import ClaimKernel, Wish
from underlay.facts import Facts, Interface, OtherNic, Remains, Underlay, VxlanLink
from underlay.objects import IP, Ns, Object, Route
from underlay.objects.link import Link
from underlay.plan import Kernel, Plan
from underlay.records import Records
from underlay.values import dataclass

if TYPE_CHECKING:  # what the plugins that make a NIC do not need is not imported while a pod waits for them
    from underlay.cni.cluster import Cluster
    from underlay.networks.catalogue import Catalogue
    from underlay.networks.delegates import Delegate
    from underlay.networks.sources import Reference, Sources

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One NIC of one container in one network (CNI spec, "attachment"). `previous` is prevResult.

    `netns_id` is the identity of the namespace at `netns`, "" where nothing asked for it.
    """

    container_id: str
    ifname: str
    network: str
    netns: str
    previous: Result | None = None
    netns_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin(Generic[C]):
    """What DEL, GC and STATUS ask of any plugin: all but the kernel is in these functions, and pure.

    `parse` gives None for a configuration that asks for nothing to be done. `traces` is what an
    attachment without a record has left; the configuration is None if it is not usable any more.
    `given` are the addresses that it may hold, by what its DEL says. `needs` is one object of each kind
    that the plugin makes, for STATUS to try.
    """

    name: str
    parse: Callable[[Keys], C | None]
    traces: Callable[[C | None, Attachment, Remains], Plan]
    needs: Plan
    aliases: Aliases = field(default_factory=dict)
    given: Callable[[C, Call], Given] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainedPlugin(Plugin[C]):
    """One that works on a NIC that an earlier plugin of the chain has made. `plan` is what it wants.

    `other_nic` names a NIC of the pod that has to be known beside that of the call; `probing` says
    what to ask the network. `forwarded` are the IP versions in which pods reach others through the node.
    """

    plan: Callable[[C, Attachment, Facts], Plan]
    other_nic: Callable[[C], str] | None = None
    probing: Callable[[C, Attachment, Facts], Probing] | None = None
    forwarded: Callable[[C], Sequence[int]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MainPlugin(Plugin[C]):
    """One that makes the pod's NIC, in a segment that the pods of many nodes share (RFC 7348).

    `choose` says which of its segments a pod joins. `reads_annotations` gives the kubeconfig to ask
    for the pod's annotations with, None where they are not asked for. `segments` are all that are
    configured, for STATUS.
    """

    choose: Callable[[C, Call, Mapping[str, str]], Joining]
    reads_annotations: Callable[[C], str | None]
    segments: Callable[[C], Sequence[Joining]]


@dataclass(frozen=True, slots=True, kw_only=True)
class IpamPlugin(Plugin[C]):
    """One that gives addresses, claimed as routes of the node. `wanted` is what a call asks for."""

    wanted: Callable[[C, Call], Wanted]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaPlugin(Plugin[C]):
    """One that makes no NIC: it has a chain of other plugins run for each NIC of a pod.

    `setting` says where networks and executables are. `delegates` are the NICs of a pod with these
    annotations, that of the call first; `networks` are those that pods get without asking, the default
    one first. `own` are the plugins that it runs in this process, by their type.
    """

    setting: Callable[[C], Setting]
    delegates: Callable[[C, Call, Mapping[str, str], Catalogue], tuple[Delegate, ...]]
    networks: Callable[[C], tuple[Reference, ...]]
    own: Mapping[str, Plugin[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a meta plugin finds all that it needs. `bin_dir` is searched before CNI_PATH, "" for none;
    without the file `ready_file` nothing is begun, "" for none."""

    sources: Sources
    bin_dir: str = ""
    ready_file: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Addresses to claim: one for each wish, through the link `dev` of the node, by name or by index.

    `wait` is how long a claim takes to spread, in seconds; None: as long as is usual where a routing
    daemon runs. `routes` go into the result. `dev_key` is what names the link, for messages.
    """

    dev: str | int
    wishes: tuple[Wish, ...]
    wait: float | None = None
    routes: tuple[ResultRoute, ...] = ()
    dev_key: str = ""


@dataclass(frozen=True, slots=True)
class Delegated:
    """Addresses that another IPAM plugin shall give: what it reads on its standard input, and CNI_ARGS."""

    config: dict[str, Any]
    args: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """Addresses that nothing is recorded of: claimed, or to be asked back from other IPAM plugins."""

    claimed: tuple[IP, ...] = ()
    delegated: tuple[Delegated, ...] = ()


@dataclass(frozen=True, slots=True)
class Membership:
    """What a node has in a segment: its addresses there, and all that was made for it."""

    gateways: tuple[Interface, ...]
    plan: Plan


class Joining(Protocol):
    """A pod's way into a segment: the one that was chosen for it, and the addresses that it asked for."""

    @property
    def name(self) -> str:
        """The segment's, as its record is called: `<plugin>:<name>`."""

    @property
    def definition(self) -> object:
        """The segment as it is configured: equal where what `node` gives is."""

    @property
    def dev(self) -> str:
        """The node's own link in the segment, by which it reaches the pods there."""

    @property
    def underlay(self) -> str:
        """The link of the node that carries the segment; "" for the one that leads to `toward`."""

    @property
    def underlay_key(self) -> str:
        """Where that is configured, for messages: `vxlans[0].options.vtepdev`."""

    @property
    def toward(self) -> tuple[IP, ...]:
        """Addresses that lie beyond that link; the node's own among them don't count."""

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions that pods of the segment have."""

    @property
    def for_conflict(self) -> Patience | None:
        """How long to ask the segment whether somebody has an address of the pod; None: not at all."""

    @property
    def gateways(self) -> tuple[Interface, ...] | None:
        """The node's addresses in the segment; None where the IPAM gives them."""

    @property
    def ipam_of_node(self) -> Wanted | Delegated:
        """How the node gets them from the IPAM."""

    @property
    def ipam(self) -> Wanted | Delegated:
        """How the pod gets its own."""

    def node(self, underlay: Underlay, gateways: Sequence[Interface]) -> Plan:
        """What makes the node a member, links first; without gateways, all that needs no address."""

    def accepts(self, gateways: Sequence[Interface]) -> bool:
        """Whether the node may keep these addresses, which it got for an earlier pod."""

    def refuse_clash(self, others: Sequence[VxlanLink]) -> None:
        """InvalidConfig where a VXLAN device that the node has already is in the way of a new one."""

    def nic(self, pod: Attachment, given: Result, member: Membership) -> tuple[Plan, Result]:
        """What makes the pod's NIC with the addresses given, and what ADD answers."""


class NodeKernel(Kernel, ClaimKernel, Lan, Protocol):
    """A kernel that can be asked for the facts that plugins plan with."""

    def has(self, ns: Ns) -> bool:
        """Whether that namespace is there."""

    def identity(self, ns: Ns) -> str:
        """What no other namespace ever has; "" where there is no namespace."""

    def link(self, ns: Ns, dev: str) -> Link | None:
        """The link of that name, None where there is none."""

    def facts(self, nic: Link, addresses: Sequence[IP], siblings: Sequence[Plan], other: str = "") -> Facts:
        """What a plugin has to know; `addresses` are those that the result gives the NIC."""

    def other_nic(self, dev: str) -> OtherNic | None:
        """A NIC of the pod with its end on the node, None where there is no such NIC."""

    def underlay(self, dev: str, toward: Sequence[IP]) -> Underlay | None:
        """The link of the host of that name; for "" the one that leads to the first of `toward` that is
        not the node itself. None where there is none."""

    def vxlan_links(self) -> list[VxlanLink]:
        """Every VXLAN device of the host. Costs a look at each."""

    def dev(self, ns: Ns, index: int) -> str:
        """The name of the link with that index, "" where there is none."""

    def sysctl(self, ns: Ns, path: str) -> str | None:
        """The value of a file below /proc/sys/net, None where there is none."""

    def main_defaults(self) -> list[Route]:
        """The default routes of the pod's main table that are not ours."""

    def ours(self, ns: Ns) -> frozenset[Object]:
        """Every route and rule of a namespace that carries our protocol number."""

    def is_table_in_use(self, version: int, table: int) -> bool:
        """Whether a table of the host holds a route of ours; costs the same however many it holds."""


class Topic(StrEnum):
    """What a process that stays is told the changes of."""

    SETTINGS = "settings"  # addresses, rules, what holds for all links: nothing that comes with a pod
    ALL = "all"  # links, routes and neighbours as well, as far as pods share them


class Memory(Protocol):
    """What a process that stays has found in a host's namespace, as long as nothing has changed there."""

    def changes(self, topic: Topic = Topic.ALL) -> int:
        """How many there were until now."""

    def recall(self, name: str, changes: int) -> Any:
        """What was kept under that name when as many changes had been counted; None where none was."""

    def keep(self, name: str, changes: int, what: Any) -> None:
        """Remembers what was found after so many changes."""


class Node(Protocol):
    """Where a call acts: a host namespace, its records, and the pods' namespaces."""

    @property
    def memory(self) -> Memory | None:
        """None in a process that answers one call."""

    @property
    def records(self) -> Records: ...

    @property
    def root(self) -> str:
        """Where this process finds the node's files: what comes before their paths, "" for nothing."""

    def refuse_abandoned(self) -> None:
        """Raises TryAgainLater where who made the call does not wait for its answer any more."""

    def kernel(self, netns: str) -> AbstractContextManager[NodeKernel]:
        """The host's namespace and the pod's at `netns`, which may be gone or ""."""

    def netns_id(self, netns: str) -> str:
        """An identity that no other namespace ever has; "" where there is no namespace."""

    def is_own(self, netns: str) -> bool:
        """Whether `netns` is the host's own namespace."""

    def execute(self, path: str, env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        """Runs a plugin in the host's namespace: its exit code and standard output."""

    def cluster(self, kubeconfig: str) -> Cluster:
        """The Kubernetes API of a kubeconfig; "" is the configuration of the cluster that we are in."""

    def scratch(self) -> AbstractContextManager[NodeKernel]:
        """A namespace of its own as both host and pod, which is gone afterwards."""


def first_of(failures: Iterable[Exception]) -> None:
    """Raises the first failure, with the others as notes; nothing when there is none."""
    found = list(failures)
    for other in found[1:]:
        found[0].add_note(str(other))
    if found:
        raise found[0]
