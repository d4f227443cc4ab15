"""A node's state as a person or a program reads it: rows and plain JSON, from facts alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from underlay.record import Record
from underlay.status.facts import OURS, NodeFacts
from underlay.status.findings import Finding, Level, addresses_of, pod_of

UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
GATEWAYS = "gateways"


class Nic(NamedTuple):
    """One attachment; `is_whole` says whether the kernel has all that was made for it."""

    pod: str
    ifname: str
    network: str
    plugin: str
    addresses: tuple[str, ...]
    age: float
    is_whole: bool


class Network(NamedTuple):
    """A network that pods of the node are in; `node` is what the node itself has there."""

    name: str
    plugin: str
    pods: int
    node: tuple[str, ...]


def nics(facts: NodeFacts) -> tuple[Nic, ...]:
    return tuple(
        Nic(
            pod_of(record),
            record.ifname,
            _network_of(record),
            record.plugin,
            tuple(map(str, addresses_of(record))),
            max(0.0, facts.now - record.created),
            record.owner not in facts.missing,
        )
        for record in facts.attached
    )


def networks(facts: NodeFacts) -> tuple[Network, ...]:
    counted: dict[tuple[str, str], set[str]] = {}
    for record in facts.attached:
        counted.setdefault((_network_of(record), record.plugin), set()).add(record.container_id)
    return tuple(
        Network(name, plugin, len(pods), tuple(_of_node(f"{plugin}:{name}", facts)))
        for (name, plugin), pods in sorted(counted.items())
    )


def _network_of(record: Record) -> str:
    """A segment's name, where the pod is in one: that of the CNI network may stand for several."""
    return record.segment.partition(":")[2] or record.network


def _of_node(name: str, facts: NodeFacts) -> Iterator[str]:
    for segment in facts.seen.segments:
        if segment.name == name and segment.record:
            yield from segment.record.result.get(GATEWAYS, ())
            yield f"by {segment.record.ifname}"


def age_text(seconds: float) -> str:
    """The two largest units that say something: "2 d 3 h"."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in UNITS:
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts[:2])


def is_wrong(findings: tuple[Finding, ...]) -> bool:
    return any(each.level is Level.WRONG for each in findings)


def as_json(facts: NodeFacts, findings: tuple[Finding, ...]) -> dict[str, Any]:
    """All of it; times in seconds, ages too."""
    installed = facts.installed
    return {
        "version": facts.version,
        "agent": {"error": facts.agent} if isinstance(facts.agent, str) else facts.agent.as_json(),
        "installed": {
            "binDir": installed.bin_dir,
            "version": installed.version,
            "executables": {name: state == OURS for name, state in installed.executables.items()},
            "worksWithoutAgent": installed.has_fallback,
        },
        "networks": [{**each._asdict(), "node": list(each.node)} for each in networks(facts)],
        "attachments": [_attachment(record, facts) for record in facts.attached],
        "leftovers": [
            {"what": str(each.thing), "why": each.why, "doubt": each.doubt} for each in facts.leftovers
        ],
        "findings": [
            {"level": each.level.value, "what": each.what, "remedy": each.remedy} for each in findings
        ],
        "ok": not is_wrong(findings),
    }


def _attachment(record: Record, facts: NodeFacts) -> dict[str, Any]:
    return {
        "pod": record.pod,
        "containerID": record.container_id,
        "ifname": record.ifname,
        "network": record.network,
        "segment": record.segment,
        "plugin": record.plugin,
        "addresses": list(map(str, addresses_of(record))),
        "netns": record.netns,
        "created": record.created,
        "age": int(max(0.0, facts.now - record.created)),
        "missing": list(facts.missing.get(record.owner, ())),
    }
