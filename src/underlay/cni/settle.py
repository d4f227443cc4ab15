"""Brings what several attachments share in line with the records that name it.

Two things are shared by chained plugins: the default route of a pod's main table, and the host's
rules for the table of routes to pods. Both are asked for anew at every ADD and DEL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from underlay.cni.errors import CniError
from underlay.cni.plugin import Memory, NodeKernel, Topic
from underlay.log import Log
from underlay.main_default import keeps_anyway, loses
from underlay.objects import POD, Object, Route, Rule, Sysctl
from underlay.plan import MainDefault
from underlay.record import Record, Taken
from underlay.records import PodRecords, Records

RULES = "rules of the node"  # as what they are kept in a memory


def settle_main_default(
    pod: PodRecords, kernel: NodeKernel, log: Log, *, without: str = "", leaving: str = ""
) -> list[CniError]:
    """Gives main's default route of each family to the NIC that should hold it.

    Returns the failures of taking it from the others. What can't be given back now, because the NIC
    is down say, is in the log, and is tried again the next time.

    The record `without` is about to go and speaks for nobody. The NIC `leaving` is still there, with
    its default, and will not be for long: it doesn't count, and gets nothing back. A NIC that no
    attachment speaks for any more gets back all that it had.
    """
    records = [record for record in pod.all() if record.name != without]
    claims = [claim for record in records for claim in record.plan.defaults]
    if not pod.displaced() and all(keeps_anyway(claim, claims) for claim in claims):
        return []
    _forget_those_that_went(pod, kernel, leaving, is_last=not claims)
    if not kernel.has(POD) or not (claims or pod.displaced()):
        return []
    return [
        failure
        for version in (4, 6)
        for failure in _settle_family(version, _claims(version, records), leaving, pod, kernel, log)
    ]


def _settle_family(
    version: int,
    claims: dict[str, MainDefault],
    leaving: str,
    pod: PodRecords,
    kernel: NodeKernel,
    log: Log,
) -> list[CniError]:
    displaced = {dev: _of(version, taken.objects) for dev, taken in pod.displaced().items()}
    main = [route for route in kernel.main_defaults() if route.dst.version == version]
    holders = {dev for route in main for dev in route.devs} - {leaving}
    holders |= {dev for dev, objects in displaced.items() if any(isinstance(o, Route) for o in objects)}
    # The one that the pod asks for is about to have a default, if it has none yet.
    holders |= {claim.dev for claim in claims.values() if claim.is_asked} - {leaving}
    losers = {claim.dev for claim in claims.values() if loses(claim, claims.values(), holders)}
    failures: list[CniError] = []
    for dev in sorted({*claims, *displaced}):
        if dev in losers:
            failures += _take(dev, version, pod, kernel)
            continue
        for failure in _give_back(dev, version, leaving, pod, kernel):
            log.event("main-default", "warning", message=failure.msg)
    return failures


def _forget_those_that_went(pod: PodRecords, kernel: NodeKernel, leaving: str, *, is_last: bool) -> None:
    """What was taken from a NIC is worth nothing after it, nor to a later one of the same name."""
    if not kernel.has(POD):
        kept = {} if is_last else {dev: taken for dev, taken in pod.displaced().items() if dev != leaving}
    else:
        links = {dev: kernel.link(POD, dev) for dev in pod.displaced() if dev != leaving}
        kept = {
            dev: taken
            for dev, taken in pod.displaced().items()
            if (link := links.get(dev)) and link.index == taken.index
        }
    if kept != pod.displaced():
        pod.write_displaced(kept)


def _claims(version: int, records: Iterable[Record]) -> dict[str, MainDefault]:
    """The claims of all NICs; what another NIC says of one counts only where its own has said nothing.

    Before all of them goes what the pod itself asks for.
    """
    said = [
        (claim, record.ifname)
        for record in records
        for claim in record.plan.defaults
        if version in claim.versions
    ]
    ranked = sorted(said, key=lambda each: (each[0].is_asked, each[0].dev == each[1]))
    return {claim.dev: claim for claim, _ in ranked}


def _of(version: int, objects: Iterable[Object]) -> tuple[Object, ...]:
    return tuple(
        obj
        for obj in objects
        if (isinstance(obj, Route) and obj.dst.version == version)
        or (isinstance(obj, Sysctl) and obj.version == version)
    )


def _take(dev: str, version: int, pod: PodRecords, kernel: NodeKernel) -> list[CniError]:
    """Takes a NIC's defaults of one family out of main; they are written down before they are gone."""
    taken = [r for r in kernel.main_defaults() if r.dst.version == version and dev in r.devs]
    settings = _ra_default_setting(dev, kernel) if version == 6 else []
    link = kernel.link(POD, dev)
    if link is None or not (taken or settings):
        return []
    displaced = pod.displaced()
    before = displaced[dev].objects if dev in displaced else ()
    pod.write_displaced(displaced | {dev: Taken(link.index, (*before, *taken, *settings))})
    failures: list[CniError] = []
    for route in taken:
        rest = route.without(dev)
        failures += kernel.remove([route]) if rest is None else _replace(route, rest, kernel)
    for old in settings:
        failures += _replace(old, replace(old, value=0), kernel)
    return failures


def _ra_default_setting(dev: str, kernel: NodeKernel) -> list[Sysctl]:
    """The setting by which router advertisements bring a default back later, if it is on."""
    found = kernel.found(Sysctl(POD, 6, dev, "accept_ra_defrtr", 0))
    return [found] if isinstance(found, Sysctl) and found.value else []


def _give_back(dev: str, version: int, leaving: str, pod: PodRecords, kernel: NodeKernel) -> list[CniError]:
    """Puts a NIC's defaults of one family back into main. What can't be is kept for the next time."""
    displaced = pod.displaced()
    if dev not in displaced:
        return []
    failures: list[CniError] = []
    done = []
    for obj in _of(version, displaced[dev].objects):
        failed = _put_back(obj, dev, leaving, kernel)
        failures += failed
        done += [] if failed else [obj]
    rest = tuple(obj for obj in displaced[dev].objects if obj not in done)
    pod.write_displaced(displaced | {dev: replace(displaced[dev], objects=rest)})
    return failures


def _put_back(obj: Object, dev: str, leaving: str, kernel: NodeKernel) -> list[CniError]:
    if isinstance(obj, Sysctl):
        return _replace(replace(obj, value=0), obj, kernel)
    if not isinstance(obj, Route):
        return []
    rest = obj.without(dev)
    # The multipath route, whole again; but the kernel drops all of it when one of its links goes.
    if rest and leaving not in obj.devs and rest in kernel.main_defaults():
        return _replace(rest, obj, kernel)
    return kernel.restore(obj.hops_by(dev))


def _replace(old: Object, new: Object, kernel: NodeKernel) -> list[CniError]:
    try:
        kernel.replace(old, new)
    except CniError as error:
        return [error]
    return []


def make_node_rules(rules: Sequence[Rule], kernel: NodeKernel, memory: Memory | None) -> None:
    """Makes the rules that are not there; the caller holds the host's lock with the others that add."""
    changes = memory.changes(Topic.SETTINGS) if memory else 0
    known = (memory.recall(RULES, changes) if memory else None) or frozenset()
    todo = [rule for rule in rules if rule not in known]
    if not todo:
        return
    while todo:
        outcomes = kernel.add(todo)
        for outcome in outcomes:
            if isinstance(outcome, CniError):
                raise outcome
        todo = todo[len(outcomes) :]
    if memory:  # where one was made now, the kernel has told of it, and the next call looks once more
        memory.keep(RULES, changes, known | frozenset(rules))


def drop_unused_rules(rules: Iterable[Rule], kernel: NodeKernel, records: Records) -> list[CniError]:
    """Removes the rules whose table has lost its last route of ours; returns the failures.

    Looked at twice: cheaply without the lock, which is nearly always enough, and under it.
    """
    unused = [rule for rule in rules if not kernel.is_table_in_use(rule.version, rule.table)]
    if not unused:
        return []
    with records.alone():
        return kernel.remove(rule for rule in unused if not kernel.is_table_in_use(rule.version, rule.table))
