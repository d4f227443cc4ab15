"""What was done for one attachment, and its JSON.

A record is plain JSON that a person can read: what the attachment is, and its plan, object by object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field
from functools import lru_cache
from typing import Any

from underlay.digest import sha256
from underlay.objects import Object, Route, Rule, as_text, from_json, typed
from underlay.plan import MainDefault, Plan
from underlay.store import ENCODER
from underlay.values import dataclass

FORMAT = 1
NAME_MAX = 255  # bytes in a file name, of which the record's own ending takes some
OF_DEFAULT = ("dev", "migrate", "takes_over", "prefers", "versions", "is_asked")  # fields of a MainDefault
FIELDS = ("plugin", "network", "container_id", "ifname", "netns", "netns_id", "inputs", "created")
LATER = ("ipam", "segment", "result", "pod")  # fields that only some records have
RECORD = re.compile(r"([^:]+):([^:]+):([^:]+)\.json")  # network, ifname, plugin


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken away from a NIC to be put back: defaults of the main table, settings.

    `index` is the NIC's in the pod: a later one of the same name has another, and gets none of it.
    """

    index: int
    objects: tuple[Object, ...]


Displaced = dict[str, Taken]


@dataclass(frozen=True, slots=True)
class Record:
    """One attachment of one plugin. `inputs` is the digest of all that the plan was made from, "" while
    that is not known yet.

    `netns` is the pod's namespace, as path and as identity. `created` is in seconds since the epoch.
    `claims` are the addresses that were claimed for it, `ipam` is the configuration that another IPAM
    plugin was called with, `segment` the one it is in, `result` what its ADD answers. `pod` is namespace
    and name of the pod, "" where the runtime has not said.
    """

    plugin: str
    network: str
    container_id: str
    ifname: str
    netns: str
    netns_id: str
    inputs: str
    created: int
    plan: Plan
    claims: tuple[Route, ...] = ()
    ipam: dict[str, Any] = field(default_factory=dict)
    segment: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    pod: str = ""

    def __str__(self) -> str:
        """The attachment as a person looks for it."""
        container = f"container {self.container_id}"
        whose = f"{self.pod}, {container}" if self.pod else container
        return f"{self.ifname} of {whose}, in {self.network}"

    @property
    def name(self) -> str:
        return record_name(self.network, self.ifname, self.plugin)

    @property
    def owner(self) -> str:
        """Whose a claim or a place in a segment is."""
        return f"{self.container_id}/{self.name}"


@lru_cache(maxsize=256)
def record_name(network: str, ifname: str, plugin: str) -> str:
    """The name of a record's file: the three parts hold no colon, and a long network name is hashed."""
    name = f"{network}:{ifname}:{plugin}.json"
    return name if len(name.encode()) <= NAME_MAX - 4 else f"{hashed(network)}:{ifname}:{plugin}.json"


def encode(record: Record) -> str:
    """A record as plain JSON; its objects have a faster way to become text than the rest."""
    plan = record.plan
    rest = {
        "format": FORMAT,
        **{field: getattr(record, field) for field in FIELDS},
        **{field: value for field in LATER if (value := getattr(record, field))},
        "plan": {
            "defaults": [{name: getattr(default, name) for name in OF_DEFAULT} for default in plan.defaults],
            "notes": plan.notes,
        },
    }
    claims = f', "claims": {_texts(record.claims)}' if record.claims else ""
    return (
        f'{ENCODER.encode(rest).removesuffix("}}")}, "present": {_texts(plan.present)},'
        f' "node_rules": {_texts(plan.node_rules)}, "reported": {_texts(plan.reported)}}}{claims}}}'
    )


def _texts(objects: Iterable[Object]) -> str:
    return f"[{', '.join(map(as_text, objects))}]"


def decode(raw: dict[str, Any]) -> Record:
    """The record that `encode` wrote; ValueError, KeyError or TypeError where it did not."""
    if raw["format"] != FORMAT:
        raise ValueError(f"a record of format {raw['format']}")
    plan = raw["plan"]
    rules = [obj for obj in map(from_json, plan["node_rules"]) if isinstance(obj, Rule)]
    claims = [obj for obj in map(from_json, raw.get("claims", ())) if isinstance(obj, Route)]
    return Record(
        **{k: v for k, v in raw.items() if k not in ("format", "plan", "claims")},
        claims=tuple(claims),
        plan=Plan(
            present=tuple(map(from_json, plan["present"])),
            node_rules=tuple(rules),
            defaults=tuple(map(_default, plan["defaults"])),
            reported=tuple(map(from_json, plan["reported"])),
            notes=tuple(plan["notes"]),
        ),
    )


def _default(raw: dict[str, Any]) -> MainDefault:
    return typed(MainDefault, {**raw, "versions": tuple(raw.get("versions", (4, 6)))})


def hashed(text: str) -> str:
    """What stands for a name that is too long for a file."""
    return sha256(text.encode()).hexdigest()[:40]
