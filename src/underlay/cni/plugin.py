"""What a plugin is, and what it and the verbs are given: interfaces only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from underlay.cni.keys import Aliases, Keys
from underlay.cni.probing import Lan, Probing
from underlay.cni.result import Result
from underlay.facts import Facts, OtherNic, Remains
from underlay.objects import IP, Ns, Object, Route
from underlay.objects.link import Link
from underlay.plan import Kernel, Plan
from underlay.records import Records

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One NIC of one container in one network (CNI spec, "attachment"). `previous` is prevResult."""

    container_id: str
    ifname: str
    network: str
    netns: str
    previous: Result | None = None


@dataclass(frozen=True, slots=True)
class Plugin(Generic[C]):
    """A chained plugin. All but the kernel is in these functions, and they are pure.

    `parse` gives None for a configuration that asks for nothing to be done. `plan` is what an
    attachment wants. `traces` is what one without a record has left; the configuration is None if it
    is not usable any more. `needs` is one object of each kind that the plugin makes, for STATUS to
    try. `other_nic` names a NIC of the pod that has to be known beside that of the call; `probing`
    says what to ask the network.
    """

    name: str
    parse: Callable[[Keys], C | None]
    plan: Callable[[C, Attachment, Facts], Plan]
    traces: Callable[[C | None, Attachment, Remains], Plan]
    needs: Plan
    aliases: Aliases = field(default_factory=dict)
    other_nic: Callable[[C], str] | None = None
    probing: Callable[[C, Attachment, Facts], Probing] | None = None


class NodeKernel(Kernel, Lan, Protocol):
    """A kernel that can be asked for the facts that plugins plan with."""

    def has(self, ns: Ns) -> bool:
        """Whether that namespace is there."""

    def link(self, ns: Ns, dev: str) -> Link | None:
        """The link of that name, None where there is none."""

    def facts(self, nic: Link, addresses: Sequence[IP], siblings: Sequence[Plan], other: str = "") -> Facts:
        """What a plugin has to know; `addresses` are those that the result gives the NIC."""

    def other_nic(self, dev: str) -> OtherNic | None:
        """A NIC of the pod with its end on the node, None where there is no such NIC."""

    def main_defaults(self) -> list[Route]:
        """The default routes of the pod's main table that are not ours."""

    def ours(self, ns: Ns) -> frozenset[Object]:
        """Every route and rule of a namespace that carries our protocol number."""

    def is_table_in_use(self, version: int, table: int) -> bool:
        """Whether a table of the host holds a route of ours; costs the same however many it holds."""


class Node(Protocol):
    """Where a call acts: a host namespace, its records, and the pods' namespaces."""

    @property
    def records(self) -> Records: ...

    def kernel(self, netns: str) -> AbstractContextManager[NodeKernel]:
        """The host's namespace and the pod's at `netns`, which may be gone or ""."""

    def netns_id(self, netns: str) -> str:
        """An identity that no other namespace ever has; "" where there is no namespace."""

    def is_own(self, netns: str) -> bool:
        """Whether `netns` is the host's own namespace."""

    def scratch(self) -> AbstractContextManager[NodeKernel]:
        """A namespace of its own as both host and pod, which is gone afterwards."""


def first_of(failures: Iterable[Exception]) -> None:
    """Raises the first failure, with the others as notes; nothing when there is none."""
    found = list(failures)
    for other in found[1:]:
        found[0].add_note(str(other))
    if found:
        raise found[0]
