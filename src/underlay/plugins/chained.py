"""What `veth` and `router` have in common: the keys of their configuration and what follows from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from underlay.cni.keys import Alias, Aliases, Keys
from underlay.facts import Facts
from underlay.objects import POD, LinkUp, Ns, Object
from underlay.objects.link import Link
from underlay.objects.sysctl import setting
from underlay.plugins.hijack import ALIASES as HIJACK_ALIASES
from underlay.plugins.hijack import Hijack, parse_hijacks
from underlay.plugins.way import HOST_TABLE

SYSTEM_TABLES = range(253, 256)
LOOSE = 2  # rp_filter: a packet is welcome if any way leads back to its source
ALIASES: Aliases = {"migrate_route": (Alias("move_routes", {0: 1, 1: -1, 2: 0}),), **HIJACK_ALIASES}
LATER = (
    "mac_prefix",
    "only_op_mac",
    "ip_conflict",
    "detect_gateway",
    "default_route_nic",
    "policy_routes",
    "tx_queue_len",
)


@dataclass(frozen=True, slots=True)
class Chained:
    """The common keys; docs/configuration.md has each of them."""

    hijacks: tuple[Hijack, ...]
    migrate_route: int
    rp_filter: int
    rp_filter_on_host: bool
    host_rule_table: int


def parse_chained(keys: Keys) -> Chained | None:
    """The common keys; None where the call is to be skipped, whatever the rest says."""
    if keys.flag("skip_call", False):
        return None
    for key in LATER:
        keys.unsupported(key)
    rp_filter = keys.section("rp_filter", {"set_host": ("enabled",)})
    return Chained(
        hijacks=parse_hijacks(keys),
        migrate_route=keys.choice("migrate_route", (-1, 0, 1), -1),
        rp_filter=rp_filter.choice("value", (0, 1, 2), LOOSE),
        rp_filter_on_host=rp_filter.flag("set_host", True),
        host_rule_table=_host_rule_table(keys),
    )


def _host_rule_table(keys: Keys) -> int:
    table = keys.integer("host_rule_table", HOST_TABLE, 1, 2**32 - 1)
    if value := keys.value("host_rule_table") if table in SYSTEM_TABLES else None:
        raise value.wrong("is a table of the system (default, main, local); give another, such as 500")
    return table


def nic_settings(config: Chained, link: Link, versions: tuple[int, ...]) -> Iterator[Object]:
    """What every NIC of the pod needs to answer for itself."""
    if not link.up:
        yield LinkUp(POD, link.name)  # a route through a link that is down is refused
    yield setting(POD, link, 4, "rp_filter", config.rp_filter)
    if 6 in versions:
        yield setting(POD, link, 6, "disable_ipv6", 0)
    yield setting(POD, link, 4, "arp_ignore", 1)  # or two NICs on one subnet answer for each other


def outranked(config: Chained, ends: Mapping[Ns, str], facts: Facts) -> Iterator[str]:
    """The kernel takes the higher of a link's rp_filter and that of `all`, which is not ours to change."""
    for ns, dev in ends.items():
        of_all = facts.rp_filter_of_all.get(ns, 0)
        if of_all > config.rp_filter and (ns == POD or config.rp_filter_on_host):
            yield f"rp_filter: {config.rp_filter} on {dev} has no effect: conf.all is {of_all} on the {ns}"
