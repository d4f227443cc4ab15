"""The keys that `veth` and `router` have in common; docs/configuration.md has each of them."""

from __future__ import annotations

import re

from underlay.cni.keys import Alias, Aliases, Keys
from underlay.cni.probing import Patience, patience_of
from underlay.cni.result import ResultRoute, configured_route
from underlay.plugins.hijack import ALIASES as HIJACK_ALIASES
from underlay.plugins.hijack import Hijack, parse_hijacks
from underlay.plugins.way import HOST_TABLE
from underlay.values import dataclass

SYSTEM_TABLES = range(253, 256)  # default, main, local
LOOSE = 2  # rp_filter: a packet is welcome if any way leads back to its source
MULTICAST = 0x01  # in the first byte of a MAC (IEEE 802)
MAC_PREFIX = re.compile(r"([0-9a-f]{2})[:-]([0-9a-f]{2})", re.IGNORECASE)
ALIASES: Aliases = {
    "migrate_route": (Alias("move_routes", {0: 1, 1: -1, 2: 0}),),
    "mac_prefix": ("mac_preifx", "hardware_prefix", "hardware_preifx"),
    "only_op_mac": ("only_hardware",),
    **HIJACK_ALIASES,
}


@dataclass(frozen=True, slots=True)
class Chained:
    """The common keys. `mac_prefix` is two bytes or none; `tx_queue_len` is in packets, −1 for as it is."""

    hijacks: tuple[Hijack, ...]
    migrate_route: int
    default_route_nic: str
    policy_routes: tuple[ResultRoute, ...]
    rp_filter: int
    rp_filter_on_host: bool
    host_rule_table: int
    mac_prefix: bytes
    only_op_mac: bool
    tx_queue_len: int
    ip_conflict: Patience | None
    detect_gateway: Patience | None


def parse_chained(keys: Keys) -> Chained | None:
    """The common keys; None where the call is to be skipped, whatever the rest says."""
    if keys.flag("skip_call", False):
        return None
    mac_prefix = _mac_prefix(keys)
    only_op_mac = keys.flag("only_op_mac", False)
    if only_op_mac and not mac_prefix:
        raise keys.missing("mac_prefix", "only_op_mac sets nothing else; give two bytes such as 0a:1b")
    rp_filter = keys.section("rp_filter", {"set_host": ("enabled",)})
    return Chained(
        hijacks=parse_hijacks(keys, is_required=not only_op_mac),
        migrate_route=keys.choice("migrate_route", (-1, 0, 1), -1),
        default_route_nic=keys.text("default_route_nic", ""),
        policy_routes=tuple(map(configured_route, keys.sections("policy_routes"))),
        rp_filter=rp_filter.choice("value", (0, 1, 2), LOOSE),
        rp_filter_on_host=rp_filter.flag("set_host", True),
        host_rule_table=_host_rule_table(keys),
        mac_prefix=mac_prefix,
        only_op_mac=only_op_mac,
        tx_queue_len=keys.integer("tx_queue_len", -1, 0, 2**31 - 1),
        ip_conflict=patience_of(keys.section("ip_conflict")),
        detect_gateway=patience_of(keys.section("detect_gateway")),
    )


def _mac_prefix(keys: Keys) -> bytes:
    value = keys.value("mac_prefix")
    if value is None or value.text() == "":
        return b""
    match = MAC_PREFIX.fullmatch(value.text())
    if not match:
        raise value.wrong("is not the first two bytes of a MAC; give four hexadecimal digits such as 0a:1b")
    prefix = bytes.fromhex(match[1] + match[2])
    if prefix[0] & MULTICAST:
        raise value.wrong("makes a multicast MAC; the second digit must be even, such as in 0a:1b")
    return prefix


def _host_rule_table(keys: Keys) -> int:
    value = keys.value("host_rule_table")
    table = HOST_TABLE if value is None else value.integer(1, 2**32 - 1)
    if value and table in SYSTEM_TABLES:
        raise value.wrong("is a table of the system (default, main, local); give another, such as 500")
    return table
