"""What ADD has made for a pod, held against what is there: as CHECK, and for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from underlay.cni.errors import InvalidConfig
from underlay.cni.verify import lacking, own_objects
from underlay.explain.grouping import Group, groups
from underlay.main_default import nic_order
from underlay.netlink.facts import NodeKernel
from underlay.objects import Object
from underlay.oneshot import HostNode
from underlay.record import Record
from underlay.records import Records
from underlay.values import dataclass

SHORTEST = 6  # characters of a container's id that are enough


@dataclass(frozen=True, slots=True)
class Difference:
    """One attachment: all that was made for it, and what of that is missing, by what is in its place.

    `is_gone` where the pod's namespace is no more.
    """

    record: Record
    groups: tuple[Group, ...]
    missing: dict[Object, Object | None]
    is_gone: bool = False

    @property
    def total(self) -> int:
        return sum(len(group.objects) for group in self.groups)


def differences(records: Iterable[Record], node: HostNode) -> Iterator[Difference]:
    for record in records:
        is_gone = node.netns_id(record.netns) != record.netns_id
        with node.kernel("" if is_gone else record.netns) as kernel:
            yield _difference(record, node.records, kernel, is_gone=is_gone)


def _difference(record: Record, records: Records, kernel: NodeKernel, *, is_gone: bool) -> Difference:
    own = own_objects(record)
    shared: tuple[Object, ...] = ()
    if record.segment and (of_node := records.glimpsed_segment(record.segment).record()):
        shared = own_objects(of_node)
    whose = f", for all its pods in {record.segment.partition(':')[2]}"
    made = (*groups(shared, whose), *groups(own))
    return Difference(record, made, dict(lacking((*shared, *own), kernel)), is_gone)


def records_of(name: str, netns: str, node: HostNode) -> tuple[Record, ...]:
    """Of a pod: by name, with or without namespace; by the beginning of its container's id; by the path of
    its network namespace. InvalidConfig where there is none, or several pods."""
    every = [
        record
        for container in node.records.containers()
        for record in node.records.glimpsed(container).all()
    ]
    if netns:
        identity = node.netns_id(netns)
        found = [record for record in every if record.netns_id == identity]
    else:
        found = [record for record in every if _is_called(record, name)]
    containers = {record.container_id: record.pod for record in found}
    if not found:
        raise InvalidConfig(f"nothing is on record for {netns or name}", "underlay status lists the pods")
    if len(containers) > 1:
        listed = ", ".join(f"{pod or 'unnamed'} ({container[:12]})" for container, pod in containers.items())
        raise InvalidConfig(f"{name} is several pods: {listed}", "name the namespace too, or the container")
    return tuple(sorted(found, key=lambda record: (nic_order(record.ifname), record.plugin)))


def _is_called(record: Record, name: str) -> bool:
    if name in (record.pod, record.pod.partition("/")[2]):
        return True
    return len(name) >= SHORTEST and record.container_id.startswith(name)
