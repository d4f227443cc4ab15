"""What our plugin did for one NIC, read from its own records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from underlay.explain.grouping import command, groups
from underlay.lab.cluster import Cluster
from underlay.lab.scenario import Nic
from underlay.netns import identity, open_netns
from underlay.objects import Object, Route, Sysctl
from underlay.record import Displaced
from underlay.records import Records


def changes(cluster: Cluster, nic: Nic) -> list[tuple[str, list[str]]]:
    """What the ADD of the pod's newest NIC added, in that order: a heading, and its `ip` commands.

    What the node has made once for all pods of the NIC's network comes first.
    """
    node = open_netns(nic.node.netns.path)
    try:
        records = Records(cluster.records, identity(node))
    finally:
        os.close(node)
    with records.pod(nic.pod.container_id) as pod:
        own = [record for record in pod.all() if record.ifname == nic.ifname]
        before = {obj for record in pod.all() if record.ifname != nic.ifname for obj in record.plan.objects}
        objects = [obj for record in own for obj in record.plan.objects if obj not in before]
        taken = list(_taken(pod.displaced()))
    shared = [part for record in own if record.segment for part in _shared(records, record.segment, nic)]
    claims = [command(claim) for record in own for claim in record.claims]
    made = [*shared, *_by_place(objects), ("On the node: what is claimed for the pod", claims)]
    return [part for part in (*made, ("In the pod: taken away, to be put back by DEL", taken)) if part[1]]


def _shared(records: Records, segment: str, nic: Nic) -> Iterator[tuple[str, list[str]]]:
    with records.segment(segment) as node:
        record = node.record()
    if record:
        yield from _by_place(record.plan.objects, f", for all its pods in {nic.network}")
        yield (
            f"On the node, for all its pods in {nic.network}: what is claimed",
            [command(claim) for claim in record.claims],
        )


def _by_place(objects: Iterable[Object], whose: str = "") -> Iterator[tuple[str, list[str]]]:
    for group in groups(objects, whose):
        yield group.heading, group.commands


def _taken(displaced: Displaced) -> Iterator[str]:
    """What other NICs stand back with: their default routes, and that they take none from advertisements."""
    for obj in (each for taken in displaced.values() for each in taken.objects):
        if isinstance(obj, Route):
            yield command(obj).replace(" add ", " del ", 1)
        elif isinstance(obj, Sysctl):
            yield command(replace(obj, value=0))
