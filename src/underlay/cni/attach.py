"""Makes an attachment true and takes it off again: objects, record, and its part in what is shared.

The order is what makes a crash harmless. ADD writes the record before the first change; removal
deletes it after the last. Whatever happens in between, the record says what to undo.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

from underlay.cni.errors import CniError
from underlay.cni.plugin import first_of
from underlay.cni.probing import Probing, refuse_silent_gateways
from underlay.cni.scene import Scene
from underlay.cni.settle import drop_unused_rules, make_node_rules, settle_main_default
from underlay.digest import sha256
from underlay.objects import LinkAddress, Object
from underlay.plan import Applied, Plan, apply, revert, take_back
from underlay.record import Record
from underlay.records import PodRecords

SORTED = json.JSONEncoder(sort_keys=True, check_circular=False)


def digest(inputs: Any) -> str:
    """The `inputs` of a record; in which order they have their keys makes no difference."""
    return sha256(SORTED.encode(inputs).encode()).hexdigest()


def make(record: Record, scene: Scene) -> None:
    """Makes a record's plan true, or leaves the kernel as it was and raises."""
    applied = Applied((), ())
    plan = record.plan
    try:
        with scene.node.records.sharing() if plan.node_rules else nullcontext():
            make_node_rules(plan.node_rules, scene.kernel, scene.node.memory)
            applied = apply(plan.present, scene.kernel)
        if plan.defaults:
            first_of(settle_main_default(scene.pod, scene.kernel, scene.log))
        scene.node.refuse_abandoned()  # now, while it can be taken back
    except BaseException as error:
        for failure in take_back(applied, scene.kernel):
            error.add_note(f"and taking it back failed: {failure.msg}")
        raise


def make_anew(record: Record, probing: Probing | None, scene: Scene) -> None:
    """The same for a record that is not there yet: it is written first, and gone if the plan fails.

    The gateways are asked from the MAC that the NIC will keep, and before anything leads to the pod.
    """
    scene.pod.write(record)
    addressed = Applied((), ())
    try:
        addressed = apply([o for o in record.plan.present if isinstance(o, LinkAddress)], scene.kernel)
        if probing:
            refuse_silent_gateways(probing, scene.kernel)
        make(record, scene)
    except BaseException as error:
        for failure in take_back(addressed, scene.kernel):
            error.add_note(f"and taking it back failed: {failure.msg}")
        for failure in _forget(record, scene):
            error.add_note(f"and taking it back failed: {failure.msg}")
        raise


def undo(record: Record, scene: Scene) -> list[CniError]:
    """As if ADD had never been: the NIC stays and gets back what was taken from it. Returns failures."""
    failures = revert(record.plan, kept(scene.pod, record.name), scene.kernel)
    return failures or _forget(record, scene)


def _forget(record: Record, scene: Scene) -> list[CniError]:
    failures = settle_main_default(scene.pod, scene.kernel, scene.log, without=record.name)
    failures += drop_unused_rules(record.plan.node_rules, scene.kernel, scene.node.records)
    scene.pod.delete(record.name)
    return failures


def withdraw(record: Record, scene: Scene) -> list[CniError]:
    """Takes off a NIC that is about to go. Its record stays where something could not be removed."""
    failures = take_off(record.plan, record.name, record.ifname, scene)
    if failures:
        return failures  # what is still there keeps its addresses, and its segment
    if record.claims or record.ipam or record.segment:
        failures = _given_back(record, scene)
    if not failures:
        scene.pod.delete(record.name)
    return failures


def _given_back(record: Record, scene: Scene) -> list[CniError]:
    """Its addresses, and its place in its segment."""
    from underlay.cni.lease import give_back  # no chained plugin needs either
    from underlay.cni.segment import leave

    failures = give_back(record, scene)
    return failures + (leave(record.segment, record.owner, scene) if record.segment else [])


def take_off(plan: Plan, name: str, ifname: str, scene: Scene) -> list[CniError]:
    """Removes what a plan wanted for a NIC that is about to go; its record and its addresses stay.

    What its going means for the pod's other NICs is put right as far as it goes: it never keeps one
    from going.
    """
    failures = revert(plan, kept(scene.pod, name), scene.kernel)
    unsettled = settle_main_default(scene.pod, scene.kernel, scene.log, without=name, leaving=ifname)
    for failure in unsettled:
        scene.log.event("main-default", "warning", message=failure.msg)
    return failures + drop_unused_rules(plan.node_rules, scene.kernel, scene.node.records)


def kept(pod: PodRecords, name: str) -> frozenset[Object]:
    """What the pod's other attachments want too, so that one alone does not remove it."""
    return frozenset(obj for other in pod.all() if other.name != name for obj in other.plan.present)
