"""The verbs of a meta plugin, which has a chain of other plugins run for each NIC of a pod.

ADD    record ─► eth0's chain ─► record ─► net1's chain ─► record ─► …       back again where one fails
DEL    by the record, in reverse: whatever annotations and definitions say by now
CHECK  each chain, with what its ADD has answered
GC     each network, with the attachments that the records know of it
STATUS each network that pods get without asking, and those that pods are in
"""

from collections.abc import Callable
from typing import Any

from underlay.cni.plugin import MetaPlugin
from underlay.cni.request import Json, Request
from underlay.cni.several.add import add
from underlay.cni.several.calling import Run
from underlay.cni.several.collect import collect
from underlay.cni.several.remove import delete
from underlay.cni.several.verify import check, status

VERBS: dict[str, Callable[[MetaPlugin[Any], Request[Any], Run], Json | None]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "GC": collect,
    "STATUS": status,
}
