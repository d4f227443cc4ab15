"""Where a call acts while the lock of its pod, or of a segment, is held."""

from __future__ import annotations

from underlay.cni.plugin import Node, NodeKernel
from underlay.log import Log
from underlay.records import PodRecords
from underlay.values import dataclass


@dataclass(frozen=True, slots=True)
class Scene:
    """The pod of a call while its lock is held. `path` are the directories of plugins, from CNI_PATH.

    What a node makes for a segment has the segment's records in the place of a pod's.
    """

    node: Node
    kernel: NodeKernel
    pod: PodRecords
    log: Log
    path: tuple[str, ...] = ()
