"""What our plugin did for one NIC, read from its own records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from underlay.lab.cluster import Cluster
from underlay.lab.scenario import Nic
from underlay.netns import identity, open_netns
from underlay.objects import HOST, MAIN, Neigh, Object, Route, Rule, Sysctl
from underlay.records import Displaced, Records


def changes(cluster: Cluster, nic: Nic) -> list[tuple[str, list[str]]]:
    """What the ADD of the pod's newest NIC added, in that order: a heading, and its `ip` commands."""
    node = open_netns(nic.node.netns.path)
    try:
        records = Records(cluster.records, identity(node))
    finally:
        os.close(node)
    with records.pod(nic.pod.container_id) as pod:
        before = {obj for record in pod.all() if record.ifname != nic.ifname for obj in record.plan.objects}
        every = [obj for record in pod.all() if record.ifname == nic.ifname for obj in record.plan.objects]
        objects = [obj for obj in every if obj not in before]
        taken = list(_taken(pod.displaced()))
    made = [(heading, [_command(obj) for obj in group]) for heading, group in groupby(objects, _heading)]
    return [*made, ("In the pod: taken away, to be put back by DEL", taken)] if taken else made


def _taken(displaced: Displaced) -> Iterator[str]:
    """What other NICs stand back with: their default routes, and that they take none from advertisements."""
    for obj in (each for taken in displaced.values() for each in taken.objects):
        if isinstance(obj, Route):
            yield _command(obj).replace(" add ", " del ", 1)
        elif isinstance(obj, Sysctl):
            yield _command(replace(obj, value=0))


def _heading(obj: Object) -> str:
    where = "On the node" if obj.ns == HOST else "In the pod"
    if isinstance(obj, Rule):
        return f"{where}: rules"
    if obj.ns == HOST and isinstance(obj, Neigh | Route):
        return f"{where}: where the pod is"
    if isinstance(obj, Neigh):
        return f"{where}: neighbours"
    if isinstance(obj, Route):
        return f"{where}: table {'main' if obj.table == MAIN else obj.table}"
    return f"{where}: links and settings"


def _command(obj: Object) -> str:
    """Its text without the namespace, which the heading names."""
    return str(obj).partition(":")[2].strip()
