"""Ranges: against a list of all addresses on small subnets, and by number on large ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.objects import IP, Network
from underlay.ranges import Range

SUBNETS = (
    *("10.0.0.0/24", "10.0.0.240/28", "10.0.0.8/29", "0.0.0.0/30", "255.255.255.252/30"),
    *("10.0.0.4/31", "10.0.0.9/32", "10.0.255.128/25"),
    *("fd00::/120", "fd00::f0/124", "fd00::4/126", "fd00::6/127", "fd00::9/128", "::/126"),
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126",
)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    subnet = ip_network(draw(st.sampled_from(SUBNETS)))
    excluded = st.integers(0, min(subnet.num_addresses + 3, 20)) | st.integers(0, subnet.num_addresses + 3)
    reserved = draw(st.lists(st.sampled_from(around(subnet)), max_size=3))
    return Range(subnet, draw(excluded), draw(excluded), tuple(reserved))


def around(subnet: Network) -> list[IP]:
    """Every address of a subnet, some of its neighbours, and one of the other version."""
    first, last = int(subnet.network_address), int(subnet.broadcast_address)
    most = (1 << subnet.max_prefixlen) - 1
    kind = type(subnet.network_address)
    other = ip_address("fd00::1" if subnet.version == 4 else "10.0.0.1")
    return [kind(number) for number in range(max(first - 2, 0), min(last + 2, most) + 1)] + [other]


def listed(given: Range) -> list[IP]:
    """The addresses of a range, one by one."""
    every = [ip for ip in around(given.subnet) if ip in given.subnet]
    left = every[given.exclude_first : max(len(every) - given.exclude_last, 0)]
    return [ip for ip in left if not is_nobodys(ip, given.subnet) and ip not in given.reserved]


def is_nobodys(ip: IP, subnet: Network) -> bool:
    if subnet.num_addresses <= 2:
        return False
    return ip == subnet.network_address or (ip.version == 4 and ip == subnet.broadcast_address)


@given(ranges())
def test_a_range_has_the_addresses_that_are_left(given: Range) -> None:
    expected = listed(given)

    assert [ip for ip in around(given.subnet) if ip in given] == expected
    assert given.size == len(expected)
    assert (given.why_empty == "") == bool(expected)


@given(ranges(), st.data())
def test_each_free_address_is_drawn_for_one_number_and_no_other_ever_is(
    given: Range, data: st.DataObject
) -> None:
    taken = set(data.draw(st.lists(st.sampled_from(around(given.subnet)))))
    free = [ip for ip in listed(given) if ip not in taken]
    numbers = [int(ip) for ip in taken]
    asked: list[int] = []

    def drawn(place: int) -> IP | None:
        def below(limit: int) -> int:
            asked.append(limit)
            return place

        return given.draw(numbers, below)

    assert [drawn(place) for place in range(len(free))] == free
    assert set(asked) <= {len(free)}
    assert given.free(numbers) == len(free)
    if not free:
        assert drawn(0) is None
        assert asked == []


@given(ranges())
def test_what_may_be_asked_for_is_the_subnet_without_what_is_nobodys_or_reserved(given: Range) -> None:
    for ip in around(given.subnet):
        may = ip in given.subnet and not is_nobodys(ip, given.subnet) and ip not in given.reserved

        assert (given.refusal(ip) == "") == may


@given(ranges())
def test_what_is_drawn_may_also_be_asked_for(given: Range) -> None:
    assert [given.refusal(ip) for ip in listed(given)] == [""] * given.size


def middle(limit: int) -> int:
    return limit // 2


def until_none(given: Range) -> Iterator[IP]:
    """Draws until nothing is left."""
    taken: set[int] = set()
    while ip := given.draw(taken, middle):
        taken.add(int(ip))
        yield ip


@pytest.mark.parametrize(
    ("subnet", "first", "last", "expected"),
    [
        ("10.0.0.0/30", 0, 0, ["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.0/30", 1, 1, ["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.0/30", 2, 1, ["10.0.0.2"]),  # R4: of a pool of one the walk left the subnet
        ("10.0.0.0/31", 0, 0, ["10.0.0.0", "10.0.0.1"]),  # R12, RFC 3021
        ("10.0.0.7/32", 0, 0, ["10.0.0.7"]),  # R12
        ("10.0.0.0/31", 1, 0, ["10.0.0.1"]),
        ("fd00::/126", 0, 0, ["fd00::1", "fd00::2", "fd00::3"]),  # R12: the last one, not the first
        ("fd00::/127", 0, 0, ["fd00::", "fd00::1"]),  # RFC 6164
        ("fd00::7/128", 0, 0, ["fd00::7"]),
        ("10.0.0.0/29", 3, 3, ["10.0.0.3", "10.0.0.4"]),
        ("10.0.0.0/29", 4, 4, []),  # exclusions that meet
        ("10.0.0.0/29", 8, 8, []),  # and that overlap
        ("10.0.0.0/31", 1, 1, []),
        ("fd00::/126", 0, 3, []),
    ],
)
def test_small_subnets_give_what_they_have_and_then_nothing(
    subnet: str, first: int, last: int, expected: list[str]
) -> None:
    given = Range(ip_network(subnet), first, last)

    assert sorted(until_none(given), key=int) == [ip_address(ip) for ip in expected]


def test_the_last_address_before_the_excluded_ones_is_given() -> None:  # R5
    given = Range(ip_network("10.66.0.0/24"), 10, 10)

    assert min(until_none(given), key=int) == ip_address("10.66.0.10")
    assert max(until_none(given), key=int) == ip_address("10.66.0.245")


def test_to_exclude_one_excludes_nothing_but_the_network_address() -> None:
    subnet = ip_network("10.66.0.0/24")

    assert Range(subnet, 1).size == Range(subnet).size == 254
    assert Range(subnet, 0, 1).size == 254


def test_a_sixteen_with_exclusions_has_a_size_to_the_address() -> None:  # R6: it was 65521
    given = Range(ip_network("10.66.0.0/16"), 20, 250)

    assert given.size == 65536 - 20 - 250
    assert ip_address("10.66.0.19") not in given
    assert ip_address("10.66.0.20") in given
    assert ip_address("10.66.255.5") in given
    assert ip_address("10.66.255.6") not in given


@pytest.mark.parametrize("subnet", ["fd00:66::/64", "fd00::/8", "::/0"])
def test_an_ipv6_subnet_of_any_size_gives_addresses(subnet: str) -> None:  # R6: a /64 was "exhausted" always
    given = Range(ip_network(subnet), 16, 16)
    taken = [int(given.subnet.network_address) + number for number in range(16, 5000)]
    ip = given.draw(taken, middle)

    assert ip is not None
    assert ip in given
    assert int(ip) not in taken
    assert given.draw(taken, lambda _: 0) == given.subnet.network_address + 5000
    assert given.draw(taken, lambda limit: limit - 1) == given.subnet.broadcast_address - 16


@pytest.mark.parametrize(
    ("ip", "why"),
    [
        ("10.66.0.0", "is the network address of 10.66.0.0/24"),
        ("10.66.0.255", "is the broadcast address of 10.66.0.0/24"),
        ("10.66.1.1", "is not in 10.66.0.0/24"),
        ("fd00::1", "is not in 10.66.0.0/24"),
        ("10.66.0.77", "is reserved in 10.66.0.0/24"),
        ("10.66.0.1", ""),
        ("10.66.0.254", ""),
    ],
)
def test_why_an_address_can_not_be_asked_for_is_said(ip: str, why: str) -> None:
    given = Range(ip_network("10.66.0.0/24"), 10, 10, (ip_address("10.66.0.77"),))

    assert given.refusal(ip_address(ip)) == why


def test_the_anycast_address_of_routers_can_not_be_asked_for() -> None:
    given = Range(ip_network("fd00:66::/64"))

    assert given.refusal(ip_address("fd00:66::")) == "is the subnet-router anycast address of fd00:66::/64"
    assert given.refusal(ip_address("fd00:66::ffff:ffff:ffff:ffff")) == ""


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            Range(ip_network("10.66.0.0/24"), 200, 56),
            "exclude_first 200 and exclude_last 56 leave nothing of the 256 addresses of 10.66.0.0/24,"
            " whose network and broadcast address are never given",
        ),
        (
            Range(ip_network("fd00::/126"), 0, 3),
            "exclude_first 0 and exclude_last 3 leave nothing of the 4 addresses of fd00::/126,"
            " whose first is the subnet-router anycast address",
        ),
        (
            Range(ip_network("10.0.0.1/32"), reserved=(ip_address("10.0.0.1"),)),
            "exclude_first 0 and exclude_last 0 leave only reserved ones of the 1 addresses of 10.0.0.1/32",
        ),
    ],
)
def test_why_a_range_is_empty_is_said(given: Range, why: str) -> None:
    assert given.why_empty == why


@pytest.mark.parametrize("excluded", [(-1, 0), (0, -1)])
def test_a_negative_exclusion_is_refused(excluded: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not negative"):
        Range(ip_network("10.66.0.0/24"), *excluded)


def test_a_range_reads_as_its_subnet_and_its_exclusions() -> None:
    subnet = ip_network("10.66.0.0/24")
    texts = [str(Range(subnet, *excluded)) for excluded in itertools.product((0, 9), (0, 5))]

    assert texts == [
        "10.66.0.0/24",
        "10.66.0.0/24 (exclude_last 5)",
        "10.66.0.0/24 (exclude_first 9)",
        "10.66.0.0/24 (exclude_first 9, exclude_last 5)",
    ]
