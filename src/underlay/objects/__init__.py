"""Kernel objects as values: equal when they are the same thing in the kernel, printed as `ip` commands.

One file for each kind: its fields, its `ip` text, its wire format and how it is found again. A new
kind is a new file, a name in `Object` below and a row in tests/netns/test_kernel.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from json.encoder import encode_basestring_ascii
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
from underlay.objects.wire import IP, REMEMBERED, Interface, Network

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
    "as_text",
    "from_json",
    "links_of",
    "made_in",
    "quoted",
    "stands_on",
    "typed",
]


def as_json(obj: Object) -> dict[str, Any]:
    """An object as plain JSON."""
    raw: dict[str, Any] = json.loads(as_text(obj))
    return raw


def as_text(obj: Object) -> str:
    """An object as the text of its JSON: its kind, and the fields that differ from their defaults.

    It is put together here: a record is mostly objects, and by a dictionary of each it would take twice
    as long.
    """
    kind = type(obj)
    text = f'{{"kind": "{kind.__name__}"'
    for name, key, default in _written(kind):  # type: ignore[arg-type]
        value = getattr(obj, name)
        # An address says that it is not None by an exception that is caught, so it is not asked.
        if value is not default and (default is MISSING or default is None or value != default):
            text += key + WRITERS[type(value)](value)
    return text + "}"


@cache
def _written(kind: type) -> tuple[tuple[str, str, Any], ...]:
    """Of each field its name, what stands before its value, and its default, MISSING for none."""
    return tuple((field.name, f', "{field.name}": ', field.default) for field in fields(kind))


def quoted(value: IP | Interface | Network) -> str:
    """An address as the text of its JSON, put together once for those that are the same object, as parsed
    ones are."""
    known = _texts.get(id(value))
    if known is None:
        if len(_texts) >= REMEMBERED:
            _texts.clear()
        known = _texts[id(value)] = value, f'"{value}"'
    return known[1]


# By identity, for to hash an address takes as long as half its text; with the address, so that no other
# one comes to have that identity.
_texts: dict[int, tuple[IP | Interface | Network, str]] = {}


WRITERS: dict[type, Callable[[Any], str]] = {
    tuple: json.dumps,
    str: encode_basestring_ascii,
    Ns: encode_basestring_ascii,
    int: repr,
    bool: {False: "false", True: "true"}.__getitem__,
    **dict.fromkeys(
        (IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface), quoted
    ),
}


def from_json(raw: dict[str, Any]) -> Object:
    """The object that `as_json` wrote; KeyError, TypeError or ValueError where it did not."""
    values = dict(raw)
    kind: type[Object] = KINDS[values.pop("kind")]
    for name, parse in _parsers(kind):  # type: ignore[arg-type]
        value = values.get(name)
        if isinstance(value, str):
            values[name] = _parsed_text(parse, value)
        elif value is not None:
            values[name] = parse(value)
    return typed(kind, values)


@cache
def _parsers(kind: type) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """What makes the values of a dataclass's fields of plain JSON, for those that are not plain."""
    return tuple({"ns": Ns, **getattr(kind, "PARSE", {})}.items())


@lru_cache(REMEMBERED)
def _parsed_text(parse: Callable[[str], Any], text: str) -> Any:
    return parse(text)


def typed(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass of `values`; TypeError where a text, number or address is not what its field holds."""
    types = _types(kind)  # type: ignore[arg-type]
    for name, value in values.items():
        if name in types and not isinstance(value, types[name]):
            raise TypeError(f"{kind.__name__}.{name}: {value!r}")
    return kind(**values)


@cache
def _types(kind: type) -> dict[str, tuple[type, ...]]:
    """What a dataclass's fields hold, of those whose type is in TYPES."""
    return {field.name: TYPES[str(field.type)] for field in fields(kind) if str(field.type) in TYPES}
