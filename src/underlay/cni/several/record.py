"""What was called for a pod, written down before it is called."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from underlay.networks.conflist import Conflist
from underlay.networks.delegates import Delegate
from underlay.record import record_name
from underlay.store import UNREADABLE, Store
from underlay.values import dataclass

Json = dict[str, Any]
FORMAT = 1
TEXTS = ("plugin", "network", "ifname", "container_id", "netns", "netns_id", "created")


@dataclass(frozen=True, slots=True)
class Delegation:
    """One attachment of a meta plugin: the NICs that were begun, in order; only the last may lack a result.

    `path` are the directories of plugins. `created` is in seconds since the epoch.
    """

    plugin: str
    network: str
    ifname: str
    container_id: str
    netns: str
    netns_id: str
    created: int
    path: tuple[str, ...]
    delegates: tuple[Delegate, ...] = ()

    def __str__(self) -> str:
        """The attachment as a person looks for it."""
        nics = ", ".join(delegate.ifname for delegate in self.delegates) or self.ifname
        return f"{nics} of container {self.container_id}, in {self.network}"

    @property
    def owner(self) -> str:
        return f"{self.container_id}/{self.name}"

    @property
    def name(self) -> str:
        return record_name(self.network, self.ifname, self.plugin)

    def extended(self, delegate: Delegate) -> Delegation:
        return replace(self, delegates=(*self.delegates, delegate))

    def answered(self, result: Json) -> Delegation:
        """With what the last NIC's chain has answered."""
        *others, last = self.delegates
        return replace(self, delegates=(*others, replace(last, result=result)))

    def is_of(self, wanted: tuple[Delegate, ...]) -> bool:
        """Whether all of that, and nothing else, was called and has answered."""
        return len(self.delegates) == len(wanted) and all(
            known.result and known.is_same_as(each)
            for known, each in zip(self.delegates, wanted, strict=True)
        )


def write(delegation: Delegation, store: Store) -> None:
    store.store(delegation.name, encode(delegation))


def read(name: str, store: Store) -> Delegation | None:
    """None where there is none or it can't be read (damaged, or of a newer format)."""
    try:
        return decode(store.load(name))
    except UNREADABLE:
        return None


def read_all(store: Store) -> list[Delegation]:
    return [found for name in store.listed() if (found := read(name, store))]


def encode(delegation: Delegation) -> Json:
    return {
        "format": FORMAT,
        **{name: getattr(delegation, name) for name in TEXTS},
        "path": list(delegation.path),
        "delegates": list(map(_encoded, delegation.delegates)),
    }


def decode(raw: Json) -> Delegation:
    """What `encode` wrote; one of UNREADABLE where it did not."""
    if raw["format"] != FORMAT:
        raise ValueError(f"a record of format {raw['format']}")
    return Delegation(
        **{name: raw[name] for name in TEXTS},
        path=tuple(raw["path"]),
        delegates=tuple(map(_decoded, raw["delegates"])),
    )


def _encoded(delegate: Delegate) -> Json:
    conflist, gateways = delegate.conflist, delegate.default_route
    return {
        "ifname": delegate.ifname,
        "network": delegate.network,
        "conflist": {
            "name": conflist.name,
            "cniVersion": conflist.cni_version,
            "plugins": list(conflist.plugins),
            "disableCheck": conflist.disable_check,
            "disableGC": conflist.disable_gc,
        },
        "capabilities": delegate.capabilities,
        "args": delegate.args,
        "default_route": None if gateways is None else list(map(str, gateways)),
        "result": delegate.result,
    }


def _decoded(raw: Json) -> Delegate:
    conflist, gateways = raw["conflist"], raw["default_route"]
    return Delegate(
        ifname=raw["ifname"],
        network=raw["network"],
        conflist=Conflist(
            name=conflist["name"],
            cni_version=conflist["cniVersion"],
            plugins=tuple(conflist["plugins"]),
            disable_check=conflist["disableCheck"],
            disable_gc=conflist["disableGC"],
        ),
        capabilities=raw["capabilities"],
        args=raw["args"],
        default_route=None if gateways is None else tuple(map(ip_address, gateways)),
        result=raw["result"],
    )
