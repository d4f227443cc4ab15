"""Brings what several attachments share in line with the records that name it.

Two things are shared by chained plugins: the default route of a pod's main table, and the host's
rules for the table of routes to pods. Both are asked for anew at every ADD and DEL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from underlay.cni.errors import CniError
from underlay.cni.plugin import NodeKernel
from underlay.main_default import Claim, loses
from underlay.objects import POD, Object, Route, Rule, Sysctl
from underlay.records import PodRecords, Records


def settle_main_default(pod: PodRecords, kernel: NodeKernel, leaving: str = "") -> list[CniError]:
    """Gives main's default route of each family to the NIC that should hold it; returns the failures.

    The NIC `leaving` is still there, with its default, and will not be for long: it doesn't count.
    """
    if not kernel.has(POD):
        return []
    failures: list[CniError] = []
    records = [record for record in pod.all() if record.plan.default]
    claims = [Claim(record.plan.default, record.displaced) for record in records if record.plan.default]
    main = [route for route in kernel.main_defaults() if leaving not in route.devs]
    for name, claim in zip([record.name for record in records], claims, strict=True):
        for version in (4, 6):
            move = _take if loses(claim, version, claims, main) else give_back
            failures += move(name, version, pod, kernel)
    return failures


def _take(name: str, version: int, pod: PodRecords, kernel: NodeKernel) -> list[CniError]:
    """Takes a NIC's defaults of one family out of main. What is taken is in its record before it is gone."""
    record = pod.read(name)
    if record is None or record.plan.default is None:
        return []
    dev = record.plan.default.dev
    taken = [r for r in kernel.main_defaults() if r.dst.version == version and dev in r.devs]
    settings = _router_defaults(dev, kernel) if version == 6 else []
    if not taken and not settings:
        return []
    hops = [hop for route in taken for hop in route.hops_by(dev)]
    pod.write(record.displacing(*hops, *settings))
    failures: list[CniError] = []
    for route in taken:
        rest = route.without(dev)
        failures += kernel.remove([route]) if rest is None else _replace(route, rest, kernel)
    for old in settings:
        failures += _replace(old, replace(old, value=0), kernel)
    return failures


def _router_defaults(dev: str, kernel: NodeKernel) -> list[Sysctl]:
    """The setting by which router advertisements bring a default back later, if it is on."""
    found = kernel.found(Sysctl(POD, 6, dev, "accept_ra_defrtr", 0))
    return [found] if isinstance(found, Sysctl) and found.value else []


def give_back(name: str, version: int, pod: PodRecords, kernel: NodeKernel) -> list[CniError]:
    """Puts a NIC's defaults of one family back into main, and then forgets them; returns the failures."""
    record = pod.read(name)
    back = [obj for obj in record.displaced if _version(obj) == version] if record else []
    if record is None or not back:
        return []
    failures = kernel.restore(obj for obj in back if isinstance(obj, Route))
    for obj in back:
        if isinstance(obj, Sysctl):
            failures += _replace(replace(obj, value=0), obj, kernel)
    pod.write(replace(record, displaced=tuple(obj for obj in record.displaced if obj not in back)))
    return failures


def _version(obj: Object) -> int:
    if isinstance(obj, Route):
        return obj.dst.version
    return obj.version if isinstance(obj, Sysctl) else 0


def _replace(old: Object, new: Object, kernel: NodeKernel) -> list[CniError]:
    try:
        kernel.replace(old, new)
    except CniError as error:
        return [error]
    return []


def make_node_rules(rules: Sequence[Rule], kernel: NodeKernel) -> None:
    """Makes the rules that are not there; the caller holds the host's lock with the others that add."""
    todo = list(rules)
    while todo:
        outcomes = kernel.add(todo)
        for outcome in outcomes:
            if isinstance(outcome, CniError):
                raise outcome
        todo = todo[len(outcomes) :]


def drop_unused_rules(rules: Iterable[Rule], kernel: NodeKernel, records: Records) -> list[CniError]:
    """Removes the rules whose table has lost its last route of ours; returns the failures.

    Looked at twice: cheaply without the lock, which is nearly always enough, and under it.
    """
    unused = [rule for rule in rules if not kernel.is_table_in_use(rule.version, rule.table)]
    if not unused:
        return []
    with records.alone():
        return kernel.remove(rule for rule in unused if not kernel.is_table_in_use(rule.version, rule.table))
