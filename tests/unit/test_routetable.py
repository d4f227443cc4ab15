"""What a call asks `routetable` for, from its configuration and from the older CNI_ARGS."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from underlay.cni.call import Call
from underlay.cni.errors import CniError
from underlay.cni.keys import Keys
from underlay.cni.plugin import Wanted
from underlay.plugins.routetable import PLUGIN as ROUTETABLE

RANGES = ["10.66.0.0/24", "fd00:66::/64"]


def wanted(main: dict[str, Any], args: dict[str, str] | None = None, **ipam: Any) -> Wanted:
    """What a call wants, by the main plugin's keys, CNI_ARGS and the keys of `ipam`."""
    config = {**main, "ipam": {"type": "routetable", **ipam}}
    parsed = ROUTETABLE.parse(Keys(config))
    assert parsed
    return ROUTETABLE.wanted(parsed, Call("ADD", config=config, args=args or {}))


def test_one_address_of_each_family() -> None:
    found = wanted({"master": "eth0"}, ranges=RANGES, exclude_first=10)

    assert found.dev == "eth0"
    assert [wish.requested for wish in found.wishes] == [None, None]
    assert [str(wish.ranges[0].subnet) for wish in found.wishes] == RANGES
    assert ip_address("10.66.0.9") not in found.wishes[0].ranges[0]
    assert ip_address("10.66.0.10") in found.wishes[0].ranges[0]
    assert found.wait is None


def test_several_ranges_of_a_family_are_one_pool() -> None:
    (wish,) = wanted({"bridge": "br0"}, ranges=["10.66.0.0/24", "10.67.0.0/24"]).wishes

    assert [str(each.subnet) for each in wish.ranges] == ["10.66.0.0/24", "10.67.0.0/24"]


@pytest.mark.parametrize(
    ("main", "args", "ipam", "dev"),
    [
        ({"master": "eth0"}, {}, {}, "eth0"),
        ({"bridge": "br0"}, {}, {}, "br0"),
        ({"master": "eth0"}, {}, {"dev": "eth1"}, "eth1"),
        ({"master": "eth0"}, {"LINK_INDEX": "7"}, {"dev": "eth1"}, 7),
    ],
)
def test_the_link_that_claims_lead_through(
    main: dict[str, Any], args: dict[str, str], ipam: dict[str, Any], dev: str | int
) -> None:
    assert wanted(main, args, ranges=RANGES, **ipam).dev == dev


@pytest.mark.parametrize(
    ("cidr", "requested"),
    [
        ("10.66.0.0/24", None),
        ("10.66.0.5/24", "10.66.0.5"),
        ("10.66.0.5/32", "10.66.0.5"),
        ("fd00:66::/64", None),
        ("fd00:66::5/64", "fd00:66::5"),
    ],
)
def test_the_older_cidr_is_a_range_or_one_address(cidr: str, requested: str | None) -> None:
    args = {"CIDR": cidr, "EXCLUDE_FIRST": "20", "EXCLUDE_LAST": "5", "LINK_INDEX": "3"}
    (wish,) = wanted({}, args).wishes

    assert wish.requested == (ip_address(requested) if requested else None)
    assert wish.ranges[0].subnet == ip_network(cidr, strict=False)
    assert (wish.ranges[0].exclude_first, wish.ranges[0].exclude_last) == (20, 5)


def test_addresses_that_are_asked_for() -> None:
    found = wanted(
        {"master": "eth0", "runtimeConfig": {"ips": ["10.66.0.9/24", "fd00:66::9"]}}, ranges=RANGES
    )

    assert [str(wish.requested) for wish in found.wishes] == ["10.66.0.9", "fd00:66::9"]


def test_what_the_result_carries_along() -> None:
    found = wanted({"master": "eth0"}, ranges=RANGES, propagation_wait="1s", routes=[{"dst": "10.0.0.0/8"}])

    assert found.wait == 1.0
    assert [str(route.dst) for route in found.routes] == ["10.0.0.0/8"]


@pytest.mark.parametrize(
    ("main", "args", "ipam", "message"),
    [
        ({}, {}, {"ranges": RANGES}, "ipam.dev is missing: a claim is a route"),
        ({"master": "eth0"}, {}, {}, "ipam.ranges is missing: routetable draws addresses from there"),
        ({"master": "eth0"}, {}, {"ranges": "10.0.0.0/8"}, 'ipam.ranges: "10.0.0.0/8" is not a list'),
        (
            {"master": "eth0"},
            {},
            {"ranges": ["10.66.0.0/30"], "exclude_first": 4},
            "ipam.ranges: exclude_first 4 and exclude_last 0 leave nothing of the 4 addresses of 10.66.",
        ),
        ({}, {"CIDR": "10.66.0.0"}, {}, 'CNI_ARGS CIDR: "10.66.0.0" is not an address with a prefix length'),
        (
            {},
            {"CIDR": "10.66.0.0/24", "LINK_INDEX": "eth0"},
            {},
            'CNI_ARGS LINK_INDEX: "eth0" is not a whole number',
        ),
        (
            {"master": "eth0"},
            {"IP": "fd00:66::9"},
            {"ranges": ["10.66.0.0/24"]},
            "the address fd00:66::9 is asked for, and ipam.ranges has none of IPv6",
        ),
        (
            {"master": "eth0"},
            {},
            {"ranges": RANGES, "propagation_wait": 250},
            "ipam.propagation_wait: 250 is not a duration",
        ),
    ],
)
def test_what_is_wrong_is_named(
    main: dict[str, Any], args: dict[str, str], ipam: dict[str, Any], message: str
) -> None:
    with pytest.raises(CniError) as refused:
        wanted(main, args, **ipam)
    assert refused.value.code == 7
    assert refused.value.msg.startswith(message)
