"""A node joins a segment with its first pod there, and leaves it with the last.

What the node has made is in the segment's record, who uses it in markers beside it; both change
under the segment's lock alone. A segment with pods in it is mended where a part is missing, and
changed where that can be done under living pods, but never torn down.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_interface

from underlay.cni.delegate import OWN_NETNS
from underlay.cni.errors import CniError, InvalidConfig, TryAgainLater
from underlay.cni.lease import give_back, hold, obtain
from underlay.cni.plugin import Joining, Membership, NodeKernel, first_of
from underlay.cni.scene import Scene
from underlay.facts import Interface, Underlay
from underlay.objects import Object, links_of
from underlay.plan import Applied, Plan, apply, missing, revert, take_back
from underlay.records import Record, SegmentRecords

GATEWAYS = "gateways"


def join(joining: Joining, user: Record, scene: Scene) -> Membership:
    """Makes the node a member, or mends what is missing, and notes `user` as one who needs it."""
    underlay = underlay_of(joining, scene.kernel)
    with scene.node.records.segment(joining.name) as segment:
        inside = replace(scene, pod=segment)
        known = segment.record()
        if known and not _is_finished(known):  # a call was killed while it made this
            first_of(_unmake(known, inside))
            known = None
        if known:
            member = _kept_up(joining, known, underlay, segment, inside)
        else:
            member = _made(joining, underlay, user, inside)
        segment.add_user(user.owner)
        return member


def rejoin(user: Record, scene: Scene) -> bool:
    """The same for one who has joined before, from what is recorded; False where nothing is any more."""
    with scene.node.records.segment(user.segment) as segment:
        known = segment.record()
        if known is None or not _is_finished(known):
            return False
        apply(known.plan.present, scene.kernel)
        hold(known, scene)
        segment.add_user(user.owner)
        return True


def leave(name: str, owner: str, scene: Scene) -> list[CniError]:
    """Forgets a user; after the last one the node is as if it had never joined. Returns failures."""
    if not scene.node.records.has_segment(name):
        return []
    try:
        with scene.node.records.segment(name) as segment:
            segment.drop_user(owner)
            known = segment.record()
            if known is None or segment.users():
                return []
            return _unmake(known, replace(scene, pod=segment))
    except CniError as error:
        return [error]


def segment_plan(name: str, scene: Scene) -> tuple[Object, ...]:
    """All that was made for a segment, for CHECK to look at."""
    with scene.node.records.segment(name) as segment:
        known = segment.record()
        return (*known.plan.present, *known.claims) if known else ()


def underlay_of(joining: Joining, kernel: NodeKernel) -> Underlay:
    """The link that carries the segment; InvalidConfig or TryAgainLater where there is none."""
    found = kernel.underlay(joining.underlay, joining.toward)
    if found:
        return found
    if joining.underlay:
        raise InvalidConfig(
            f'vtepdev: there is no link "{joining.underlay}" on the node',
            "name the NIC that leads to the other nodes, or leave the key out to take the default route's",
        )
    raise TryAgainLater(
        f"{joining.name}: the node has no route to {joining.toward[-1]}: no link could carry the network",
        "wait until the node has a default route, or name its NIC in options.vtepdev",
    )


def _is_finished(record: Record) -> bool:
    return GATEWAYS in record.result


def _made(joining: Joining, underlay: Underlay, user: Record, scene: Scene) -> Membership:
    joining.refuse_clash(scene.kernel.vxlan_links())
    record = Record(
        plugin=user.plugin,
        network=user.network,
        container_id=f"node-{joining.name.replace(':', '-')}",
        ifname=joining.dev,
        netns=OWN_NETNS,
        netns_id="",
        inputs="",
        created=int(time.time()),
        plan=joining.node(underlay, ()),
    )
    scene.pod.write(record)
    applied: list[Applied] = []
    try:
        applied.append(apply(record.plan.present, scene.kernel))
        gateways = joining.gateways
        if gateways is None:
            record, given = obtain(joining.ipam_of_node, record, scene)
            gateways = tuple(ip.address for ip in given.ips)
        links = record.plan.present
        record = replace(record, plan=joining.node(underlay, gateways))
        scene.pod.write(record)
        applied.append(apply([o for o in record.plan.present if o not in links], scene.kernel))
    except BaseException as error:
        left = scene.pod.read(record.name) or record  # it knows what was asked for
        failures = [f for each in reversed(applied) for f in take_back(each, scene.kernel)]
        failures += give_back(left, scene)
        for failure in failures:
            error.add_note(f"and taking it back failed: {failure.msg}")
        if not failures:
            scene.pod.delete(record.name)
        raise
    scene.pod.write(replace(record, result={GATEWAYS: list(map(str, gateways))}))
    return Membership(gateways, record.plan)


def _kept_up(
    joining: Joining, known: Record, underlay: Underlay, segment: SegmentRecords, scene: Scene
) -> Membership:
    gateways = tuple(map(ip_interface, known.result[GATEWAYS]))
    wanted = joining.node(underlay, gateways)
    difference = _difference(joining, known.plan, wanted, gateways)
    if difference and segment.users():
        raise InvalidConfig(
            f"{joining.name}: the pods of this node are in that network with {difference}",
            "change it back, or delete those pods first: this can't change under living pods",
        )
    if difference:
        first_of(_unmake(known, scene))
        return _made(joining, underlay, known, scene)
    if known.plan != wanted:
        _change(known, wanted, scene)
    elif missing(wanted.present, scene.kernel):
        apply(wanted.present, scene.kernel)
    hold(known, scene)
    return Membership(gateways, wanted)


def _difference(joining: Joining, old: Plan, new: Plan, gateways: Sequence[Interface]) -> str:
    """What can't change under living pods: their devices but for the MTU, and the subnets they are on."""
    if not joining.accepts(gateways):
        return f"the node's address in it is {', '.join(map(str, gateways))}"
    links = {links_of(obj): obj for obj in new.present if links_of(obj)}
    for obj in filter(links_of, old.present):
        other = links.get(links_of(obj))
        if type(other) is not type(obj) or not obj.yields_to(other):  # type: ignore[arg-type]
            return str(obj)
    return ""


def _change(known: Record, wanted: Plan, scene: Scene) -> None:
    """From one plan to another that has the same links. The record names both until that is done."""
    dropped = [obj for obj in known.plan.present if obj not in wanted.present]
    both = replace(wanted, present=(*wanted.present, *dropped))
    scene.pod.write(replace(known, plan=both))
    applied = Applied((), ())
    removed = [obj for obj in dropped if not links_of(obj)]
    try:
        applied = apply(wanted.present, scene.kernel)
        first_of(scene.kernel.remove(reversed(removed)))
    except BaseException as error:
        for failure in take_back(applied, scene.kernel) + _made_again(removed, scene):
            error.add_note(f"and taking it back failed: {failure.msg}")
        scene.pod.write(known)
        raise
    scene.pod.write(replace(known, plan=wanted))


def _made_again(objects: Sequence[Object], scene: Scene) -> list[CniError]:
    try:
        apply(objects, scene.kernel)
    except CniError as error:
        return [error]
    return []


def _unmake(known: Record, scene: Scene) -> list[CniError]:
    failures = give_back(known, scene) + revert(known.plan, frozenset(), scene.kernel)
    if not failures:
        scene.pod.delete(known.name)
    return failures
