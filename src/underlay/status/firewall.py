"""What drops forwarded packets, as nftables describe it; iptables of today are nftables as well."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from underlay.status.facts import Firewall

# Where kube-proxy drops what conntrack calls invalid, with iptables and with nftables.
OF_KUBE_PROXY = {("filter", "KUBE-FORWARD"), ("kube-proxy", "filter-forward"), ("kube-proxy", "forward")}
DROPS_INVALID = re.compile(r'(?:ct state \(?invalid|ctstate INVALID|xt match "conntrack").*\bdrop\b')


class Chain(NamedTuple):
    """A chain by its family, its table and its name. `hook` and `policy` are "" for one that others call."""

    family: str
    table: str
    name: str
    hook: str
    policy: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}"


def chains(listed: str) -> tuple[Chain, ...]:
    """Of the output of `nft -j list chains`; ValueError where it is none."""
    found = json.loads(listed)["nftables"]
    return tuple(
        Chain(c["family"], c["table"], c["name"], c.get("hook", ""), c.get("policy", ""))
        for each in found
        if (c := each.get("chain"))
    )


def dropping(every: tuple[Chain, ...]) -> tuple[str, ...]:
    """Those that packets pass when they are forwarded, and that drop what no rule accepts."""
    return tuple(str(chain) for chain in every if (chain.hook, chain.policy) == ("forward", "drop"))


def of_kube_proxy(every: tuple[Chain, ...]) -> Iterator[Chain]:
    """The chains in which a rule against invalid packets would be."""
    return (chain for chain in every if (chain.table, chain.name) in OF_KUBE_PROXY)


def drops_invalid(listed: str) -> bool:
    """Whether a chain, as `nft list chain` prints it, drops what conntrack calls invalid."""
    return DROPS_INVALID.search(listed) is not None


def unknown(why: str) -> Firewall:
    return Firewall(unknown=why)
