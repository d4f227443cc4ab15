"""IPAM plugin `routetable`: the node's routing table is the store of addresses.

A claim is a route to one address through a link of the node, with a protocol number of its own. A
routing daemon that exports that protocol spreads it, and the routes that it brings from other nodes
make their addresses taken here: cluster-wide addresses without a database. docs/routing.md has the
daemon's configuration, `cni/claim.py` how a claim is made.

In the process of `vxlan`, or as an executable behind any main plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network

from underlay.claims import CLAIM
from underlay.cni.call import Call
from underlay.cni.errors import CniError, InvalidConfig
from underlay.cni.keys import Keys
from underlay.cni.plugin import Attachment, Given, IpamPlugin, Wanted
from underlay.cni.result import Result, ResultRoute, configured_route, parse
from underlay.cni.value import Value
from underlay.cni.wish import Wish
from underlay.facts import Remains
from underlay.objects import HOST, IP, LinkUp, Route, VethPair
from underlay.plan import Plan
from underlay.plugins.choice import wishes_of
from underlay.plugins.veth import veth_pair
from underlay.ranges import Range
from underlay.values import dataclass

NAMES = ("routetable", "routetable-ipam")  # the second is that of the plugin before it
LARGEST = 2**32  # addresses that may be excluded at an end
OF_MAIN = ("master", "bridge")  # what the usual main plugins call the link of the node that they work on
LEGACY = ("CIDR", "EXCLUDE_FIRST", "EXCLUDE_LAST", "LINK_INDEX")  # in CNI_ARGS


@dataclass(frozen=True, slots=True)
class Options:
    """What any user of claims may say. `propagation_wait` is in seconds, None for the usual."""

    propagation_wait: float | None
    routes: tuple[ResultRoute, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """`dev` names the link that claims lead through, None where CNI_ARGS has to say it."""

    options: Options
    ranges: tuple[Range, ...]
    dev: Value | None


def parse_options(ipam: Keys) -> Options:
    return Options(
        propagation_wait=ipam.duration("propagation_wait", -1.0)
        if ipam.present("propagation_wait")
        else None,
        routes=tuple(map(configured_route, ipam.sections("routes"))),
    )


def parse_config(keys: Keys) -> Config:
    ipam = keys.section("ipam")
    ipam.text("type", "")
    first = ipam.integer("exclude_first", 0, 0, LARGEST)
    last = ipam.integer("exclude_last", 0, 0, LARGEST)
    ranges = tuple(Range(subnet, first, last) for subnet in ipam.cidrs("ranges"))
    for range_ in ranges:
        if range_.why_empty:
            raise InvalidConfig(
                f"ipam.ranges: {range_.why_empty}", "exclude fewer addresses, or give a larger range"
            )
    devs = [ipam.value("dev"), *(keys.value(key) for key in OF_MAIN)]
    dev = next((value for value in devs if value and value.text()), None)
    return Config(parse_options(ipam), ranges, dev)


def wanted(config: Config, call: Call) -> Wanted:
    """One address of each family that there is a range for."""
    legacy = {key: Value(f"CNI_ARGS {key}", call.args[key]) for key in LEGACY if call.args.get(key)}
    if "CIDR" in legacy:
        wish = _legacy_wish(legacy)
        return _wanted(config, legacy, (wish,))
    if not config.ranges:
        raise InvalidConfig(
            "ipam.ranges is missing: routetable draws addresses from there",
            'give CIDRs such as ["10.66.0.0/24", "fd00:66::/64"]',
        )
    requested: dict[int, IP] = {ip.version: ip for ip in wishes_of(call.config, call.args, {}).addresses}
    versions: dict[int, None] = dict.fromkeys(r.subnet.version for r in config.ranges)
    _refuse_families_without_range(requested, versions)
    wishes = tuple(
        Wish(tuple(r for r in config.ranges if r.subnet.version == version), requested.get(version))
        for version in versions
    )
    return _wanted(config, legacy, wishes)


def _wanted(config: Config, args: Mapping[str, Value], wishes: tuple[Wish, ...]) -> Wanted:
    options = config.options
    dev: str | int
    if "LINK_INDEX" in args:
        dev, key = _number(args["LINK_INDEX"], 2**31 - 1), args["LINK_INDEX"].name
    elif config.dev:
        dev, key = config.dev.text(), config.dev.name
    else:
        raise InvalidConfig(
            "ipam.dev is missing: a claim is a route, and needs the link of the node that the pod is behind",
            "name it in ipam.dev; the master or bridge of the main plugin is taken where there is one",
        )
    return Wanted(dev, wishes, options.propagation_wait, options.routes, key)


def _refuse_families_without_range(requested: Mapping[int, IP], versions: Mapping[int, None]) -> None:
    for version, ip in requested.items():
        if version not in versions:
            raise InvalidConfig(
                f"the address {ip} is asked for, and ipam.ranges has none of IPv{version}",
                "add a range that it is in, or ask for another address",
            )


def _legacy_wish(args: Mapping[str, Value]) -> Wish:
    """`CIDR` is a range, or with host bits the one address that is asked for."""
    cidr = args["CIDR"].interface_address()
    first, last = (_number(args[key], LARGEST) if key in args else 0 for key in LEGACY[1:3])
    is_one = cidr.ip != cidr.network.network_address or cidr.network.prefixlen == cidr.max_prefixlen
    return Wish((Range(cidr.network, first, last),), cidr.ip if is_one else None)


def _number(value: Value, most: int) -> int:
    """CNI_ARGS has text only."""
    text = str(value.raw)
    if not text.isascii() or not text.isdigit():
        raise value.wrong("is not a whole number")
    return Value(value.name, int(text)).integer(0, most)


def traces(_config: Config | None, _pod: Attachment, _remains: Remains) -> Plan:
    """Nothing in the kernel but claims: see `given`."""
    return Plan(())


def given(_config: Config, call: Call) -> Given:
    """By the addresses of prevResult."""
    return Given(tuple(previous_addresses(call)))


def previous_addresses(call: Call) -> list[IP]:
    """A prevResult that can't be read says nothing, and never makes DEL fail."""
    try:
        previous = parse(call.prev_result, call.cni_version) if call.prev_result else Result()
    except CniError:
        return []
    return [ip.address.ip for ip in previous.ips]


SAMPLE: VethPair = veth_pair("sample", 1500)

PLUGIN = IpamPlugin(
    name="routetable",
    parse=parse_config,
    traces=traces,
    given=given,
    wanted=wanted,
    needs=Plan(
        present=(
            SAMPLE,
            LinkUp(HOST, SAMPLE.host_dev),
            Route(HOST, ip_network("192.0.2.1/32"), SAMPLE.host_dev, proto=CLAIM),  # RFC 5737
        )
    ),
)
