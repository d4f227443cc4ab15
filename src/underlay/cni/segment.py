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
from typing import Any

from underlay.cni.delegate import OWN_NETNS
from underlay.cni.errors import CniError, InvalidConfig, TryAgainLater
from underlay.cni.lease import again, give_back, give_back_all_of, hold, obtain, reserve_again
from underlay.cni.plugin import Delegated, Joining, Membership, Node, NodeKernel, first_of
from underlay.cni.scene import Scene
from underlay.digest import sha256
from underlay.facts import Interface, Underlay
from underlay.objects import Object, links_of
from underlay.plan import Applied, Plan, apply, missing, revert, take_back
from underlay.record import Record
from underlay.records import SegmentRecords

GATEWAYS = "gateways"


def join(joining: Joining, user: Record, scene: Scene) -> Membership:
    """Makes the node a member, or mends what is missing, and notes `user` as one who needs it."""
    with scene.node.records.segment(joining.name) as segment:
        known = segment.record()
        member = _recalled(joining, known, scene) or _looked_at(joining, known, segment, scene)
        segment.add_user(user.owner)
        return member


def _recalled(joining: Joining, known: Record | None, scene: Scene) -> Membership | None:
    """What an earlier call of this process has found, if nothing has changed since."""
    memory = scene.node.memory
    kept = memory.recall(joining.name, memory.changes()) if memory else None
    if not kept:
        return None
    found, definition, member = kept
    return member if (found, definition) == (known, joining.definition) else None


def _looked_at(joining: Joining, known: Record | None, segment: SegmentRecords, scene: Scene) -> Membership:
    scene = replace(scene, pod=segment)
    memory = scene.node.memory
    changes = memory.changes() if memory else 0
    underlay = underlay_of(joining, scene.kernel)
    if known and not _is_finished(known):  # a call was killed while it made this
        first_of(_unmake(known, scene))
        known = None
    if known is None:
        return _made(joining, underlay, scene)
    member = _kept_up(joining, known, underlay, segment, scene)
    if memory:
        memory.keep(joining.name, changes, (known, joining.definition, member))
    return member


def rejoin(user: Record, scene: Scene) -> bool:
    """The same for one who has joined before, from what is recorded; False where nothing is any more."""
    with scene.node.records.segment(user.segment) as segment:
        known = segment.record()
        if known is None or not _is_finished(known):
            return False
        reserve_again(known, scene)
        apply((*known.plan.present, *known.claims), scene.kernel)
        segment.add_user(user.owner)
        return True


def leave(name: str, owner: str, scene: Scene) -> list[CniError]:
    """Forgets a user; after the last one the node is as if it had never joined. Returns failures."""
    if not scene.node.records.has_segment(name):
        return []
    try:
        with scene.node.records.segment(name) as segment:
            segment.drop_user(owner)
            if segment.has_users():
                return []
            known = segment.record()
            if known is None:
                return []
            return _unmake(known, replace(scene, pod=segment))
    except CniError as error:
        return [error]


def holders(plugin: str, ipam: Delegated, node: Node) -> list[tuple[str, str]]:
    """As whom the node itself holds addresses of another IPAM plugin: container id and link of each."""
    found = []
    for name in node.records.segments(plugin):
        with node.records.segment(name) as segment:
            known = segment.record()
        if known and known.ipam and _store(known.ipam["config"]) == _store(ipam.config):
            found.append((known.container_id, known.ifname))
    return found


def _store(config: dict[str, Any]) -> tuple[Any, Any]:
    """Which addresses an IPAM plugin means: those that it keeps for the network of that name."""
    return config.get("name"), config["ipam"]["type"]


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
            f'{joining.underlay_key}: there is no link "{joining.underlay}" on the node',
            "name the NIC that leads to the other nodes, or leave the key out to take the default route's",
        )
    raise TryAgainLater(
        f"{joining.name}: the node has no route to {joining.toward[-1]}: no link could carry the network",
        f"wait until the node has a default route, or name its NIC in {joining.underlay_key}",
    )


def _is_finished(record: Record) -> bool:
    return GATEWAYS in record.result


def _made(joining: Joining, underlay: Underlay, scene: Scene) -> Membership:
    joining.refuse_clash(scene.kernel.vxlan_links())
    plugin, _, name = joining.name.partition(":")
    record = Record(
        plugin=plugin,
        network=name,
        container_id=f"node-{plugin}-{name}-{_hashed(underlay.known_by)}",
        ifname=joining.dev,
        netns=OWN_NETNS,
        netns_id="",
        inputs="",
        created=int(time.time()),
        plan=joining.node(underlay, ()),
    )
    for note in record.plan.notes:
        scene.log.event("plan", message=note)
    first_of(give_back_all_of(record.owner, scene))  # of a record that could not be read
    scene.pod.write(record)
    applied: list[Applied] = []
    try:
        applied.append(apply(record.plan.present, scene.kernel))
        links = record.plan.present
        record, gateways = _with_gateways(joining, record, scene)
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


def _hashed(text: str) -> str:
    """Short: an IPAM that serves the whole cluster has to tell the nodes from each other."""
    return sha256(text.encode()).hexdigest()[:8]


def _with_gateways(joining: Joining, record: Record, scene: Scene) -> tuple[Record, tuple[Interface, ...]]:
    """The node's addresses in a segment, and the record that knows how to give them back.

    Where its own link was there already, and the records of it are lost, pods may use what it has.
    """
    if joining.gateways is not None:
        return record, joining.gateways
    there = scene.kernel.underlay(joining.dev, ())
    if there and there.addresses and joining.accepts(there.addresses):
        record = again(joining.ipam_of_node, record, [address.ip for address in there.addresses])
        scene.pod.write(record)
        hold(record, scene)
        return record, there.addresses
    if isinstance(joining.ipam_of_node, Delegated):  # it may remember the node from before a reboot
        first_of(give_back(again(joining.ipam_of_node, record, ()), scene))
    record, given = obtain(joining.ipam_of_node, record, scene)
    gateways = tuple(ip.address for ip in given.ips)
    if not joining.accepts(gateways):
        raise InvalidConfig(
            f"{joining.name}: the IPAM plugin {record.ipam['config']['ipam']['type']} gave the node"
            f" {', '.join(map(str, gateways)) or 'no address'}",
            "it needs one address in each subnet of the network, with the prefix length of that",
        )
    return record, gateways


def _kept_up(
    joining: Joining, known: Record, underlay: Underlay, segment: SegmentRecords, scene: Scene
) -> Membership:
    gateways = tuple(map(ip_interface, known.result[GATEWAYS]))
    wanted = joining.node(underlay, gateways)
    difference = _difference(joining, known.plan, wanted, gateways)
    if difference and segment.has_users():
        raise InvalidConfig(
            f"{joining.name}: the pods of this node are in that network with {difference}",
            "change it back, or delete those pods first: this can't change under living pods",
        )
    if difference:
        first_of(_unmake(known, scene))
        return _made(joining, underlay, scene)
    reserve_again(known, scene)
    if known.plan != wanted:
        _change(known, wanted, scene)
    elif missing((*wanted.present, *known.claims), scene.kernel):
        apply((*wanted.present, *known.claims), scene.kernel)
    return Membership(gateways, wanted)


def _difference(joining: Joining, old: Plan, new: Plan, gateways: Sequence[Interface]) -> str:
    """What can't change under living pods: their devices but for the MTU, and the subnets they are on."""
    if not joining.accepts(gateways):
        return f"{', '.join(map(str, gateways))} as the node's own address"
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
        applied = apply((*wanted.present, *known.claims), scene.kernel)
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
