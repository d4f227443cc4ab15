"""Kernel objects as values: equal when they are the same thing in the kernel, printed as `ip` commands.

One file for each kind: its fields, its `ip` text, its wire format and how it is found again. A new
kind is a new file, a name in `Object` below and a row in tests/netns/test_kernel.py.
"""

from __future__ import annotations

from dataclasses import fields
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any, TypeVar, get_args

from underlay.objects.address import Address
from underlay.objects.fdb import Fdb
from underlay.objects.link_address import LinkAddress
from underlay.objects.link_alias import LinkAlias
from underlay.objects.link_up import LinkUp
from underlay.objects.macvlan import Macvlan
from underlay.objects.neigh import Neigh
from underlay.objects.place import (
    HOST,
    MAIN,
    OURS,
    POD,
    Ns,
    Request,
    View,
    Write,
    links_of,
    made_in,
    stands_on,
)
from underlay.objects.route import Route
from underlay.objects.rule import Rule
from underlay.objects.sysctl import Sysctl
from underlay.objects.tx_queue_len import TxQueueLen
from underlay.objects.veth_pair import VethPair
from underlay.objects.vxlan import Vxlan
from underlay.objects.wire import IP, Interface, Network

Object = (
    VethPair
    | Vxlan
    | Macvlan
    | LinkUp
    | LinkAddress
    | LinkAlias
    | TxQueueLen
    | Sysctl
    | Address
    | Neigh
    | Fdb
    | Route
    | Rule
)

T = TypeVar("T")
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "int | None": (int, type(None)),
    "IP": (IPv4Address, IPv6Address),
    "IP | None": (IPv4Address, IPv6Address, type(None)),
    "Interface": (IPv4Interface, IPv6Interface),
    "Network": (IPv4Network, IPv6Network),
    "Network | None": (IPv4Network, IPv6Network, type(None)),
}
KINDS = {kind.__name__: kind for kind in get_args(Object)}

__all__ = [
    "HOST",
    "IP",
    "MAIN",
    "OURS",
    "POD",
    "Address",
    "Fdb",
    "Interface",
    "LinkAddress",
    "LinkAlias",
    "LinkUp",
    "Macvlan",
    "Neigh",
    "Network",
    "Ns",
    "Object",
    "Request",
    "Route",
    "Rule",
    "Sysctl",
    "TxQueueLen",
    "VethPair",
    "View",
    "Vxlan",
    "Write",
    "as_json",
    "from_json",
    "links_of",
    "made_in",
    "stands_on",
    "typed",
]


def as_json(obj: Object) -> dict[str, Any]:
    """An object as plain JSON: its kind, and the fields that differ from their defaults."""
    values = {field.name: getattr(obj, field.name) for field in fields(obj)}
    wanted = {f.name for f in fields(obj) if values[f.name] != f.default}
    return {"kind": type(obj).__name__} | {name: _plain(values[name]) for name in values if name in wanted}


def from_json(raw: dict[str, Any]) -> Object:
    """The object that `as_json` wrote; KeyError, TypeError or ValueError where it did not."""
    kind: type[Object] = KINDS[raw["kind"]]
    parse = {"ns": Ns, **getattr(kind, "PARSE", {})}
    values = {k: v for k, v in raw.items() if k != "kind"}
    return typed(kind, {k: parse[k](v) if k in parse and v is not None else v for k, v in values.items()})


def typed(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass of `values`; TypeError where a text, number or address is not what its field holds."""
    for field in fields(kind):  # type: ignore[arg-type]
        wanted = TYPES.get(str(field.type))
        if wanted and field.name in values and not isinstance(values[field.name], wanted):
            raise TypeError(f"{kind.__name__}.{field.name}: {values[field.name]!r}")
    return kind(**values)


def _plain(value: Any) -> Any:
    addresses = (IPv4Address, IPv6Address, IPv4Network, IPv6Network)
    return str(value) if isinstance(value, addresses) else value
