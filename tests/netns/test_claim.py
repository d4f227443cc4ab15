"""Claims on the real kernel: free addresses only, each to one owner, none that another node has."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.netns.claiming import (
    BIRD,
    BOTH,
    OTHER,
    OVER4,
    OVER6,
    OWN4,
    POD,
    SHORT,
    Node,
    Rival,
    addresses,
    is_untouched,
    nodes,
    wish,
)
from underlay.claims import CLAIM, Claimed, claim_route
from underlay.cni.errors import Conflict, InvalidConfig, KernelError, TryAgainLater
from underlay.cni.wish import Way, Wish
from underlay.objects import HOST, IP, Route
from underlay.ranges import Range


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with nodes(tmp_path, "claims") as (node,):
        yield node


# What is claimed


def test_a_claim_is_a_free_address_of_each_family_with_a_route_and_an_owner(node: Node) -> None:
    ips = node.claim(*BOTH)

    assert [ip in wish.ranges[0] for ip, wish in zip(ips, BOTH, strict=True)] == [True, True]
    assert node.routes() == set(ips)
    assert node.claims.all() == dict.fromkeys(ips, Claimed("mv", POD))


def test_a_claim_is_remembered_before_anything_is_made(node: Node) -> None:
    remembered: list[tuple[Route, ...]] = []

    def remember(claims: tuple[Route, ...]) -> None:
        assert is_untouched(node)
        remembered.append(claims)

    ips = node.claim(*BOTH, remember=remember)

    assert remembered == [tuple(claim_route(ip, "mv") for ip in ips)]


def test_none_is_excluded_none_is_the_nodes_own_and_none_is_given_twice_until_all_are_taken(
    node: Node,
) -> None:
    given = [node.claim(wish("10.66.0.0/28", 0, 5), owner=f"c{number}")[0] for number in range(9)]

    assert sorted(map(str, given)) == [f"10.66.0.{number}" for number in (10, 2, 3, 4, 5, 6, 7, 8, 9)]


def test_the_nodes_own_address_is_never_given(node: Node) -> None:
    assert node.claim(wish("10.66.0.0/30")) == (OVER4,)
    assert node.claim(wish("fd66::/127")) == (ip_address("fd66::"),)
    with pytest.raises(TryAgainLater):
        node.claim(wish("10.66.0.0/30"))


def test_two_addresses_of_one_range_are_different_ones(node: Node) -> None:
    pair = wish("10.66.0.8/31")

    assert set(node.claim(pair, pair)) == {ip_address("10.66.0.8"), ip_address("10.66.0.9")}


def test_a_drawn_address_is_not_the_one_that_another_wish_asks_for(node: Node) -> None:
    asked = wish("10.66.0.8/31", requested="10.66.0.9")

    assert node.claim(wish("10.66.0.8/31"), asked) == (ip_address("10.66.0.8"), ip_address("10.66.0.9"))


def test_all_ranges_of_a_wish_are_used(node: Node) -> None:
    ranges = tuple(
        Range(ip_network(subnet)) for subnet in ("10.66.0.8/31", "10.66.0.16/32", "10.66.0.20/30")
    )
    given = {node.claim(Wish(ranges), owner=f"c{number}")[0] for number in range(5)}

    assert {int(ip) & 0xFF for ip in given} == {8, 9, 16, 21, 22}
    with pytest.raises(
        TryAgainLater, match=r"free in 10.66.0.8/31 or 10.66.0.16/32 or 10.66.0.20/30: all 5"
    ):
        node.claim(Wish(ranges))


@pytest.mark.parametrize(
    "route",
    [
        "10.66.0.8/32 via 10.66.0.2 proto bird",
        "10.66.0.8/32 dev mv proto static",
        "10.66.0.8/32 dev mv proto 202",  # an owner is not known: somebody's nevertheless
        "blackhole 10.66.0.8/32",
        "10.66.0.8/32 nexthop via 10.66.0.2 nexthop via 10.66.0.3",
        "10.66.0.8/32 via inet6 fd66::2 dev mv",
    ],
)
def test_an_address_is_taken_by_whatever_route_there_is_to_it(node: Node, route: str) -> None:
    node.netns.ip(f"route add {route}")

    assert node.claim(wish("10.66.0.8/31")) == (ip_address("10.66.0.9"),)


def test_routes_to_more_than_an_address_and_in_other_tables_take_none(node: Node) -> None:
    node.netns.ip(
        "route add 10.66.0.8/31 via 10.66.0.2 proto bird", "route add 10.66.0.8/32 dev mv table 100",
        "route add 10.66.0.9/32 dev mv table 100",
    )  # fmt: skip

    assert len(set(node.claim(wish("10.66.0.8/31"), wish("10.66.0.8/31")))) == 2


# What is refused


def test_an_exhausted_range_is_refused_at_once_by_name(node: Node) -> None:
    for number in range(2):
        node.claim(wish("10.66.0.8/29", 3, 3), owner=f"c{number}")
    with pytest.raises(TryAgainLater) as refused:
        node.claim(*BOTH, wish("10.66.0.8/29", 3, 3), wait=1e9)

    assert refused.value.msg == (
        "no address is free in 10.66.0.8/29 (exclude_first 3, exclude_last 3): all 2 that it has are taken"
    )
    assert len(node.routes()) == 2


@pytest.mark.parametrize(
    ("requested", "why"),
    [
        ("10.66.0.0", "is the network address of 10.66.0.0/24"),
        ("10.66.0.255", "is the broadcast address of 10.66.0.0/24"),
        ("10.67.0.1", "is not in 10.66.0.0/24"),
        ("fd66::9", "is not in 10.66.0.0/24"),
    ],
)
def test_an_address_that_nobody_can_have_is_a_wrong_configuration(
    node: Node, requested: str, why: str
) -> None:
    with pytest.raises(InvalidConfig, match=f"^the requested address {requested} {why}$"):
        node.claim(BOTH[1], wish("10.66.0.0/24", requested=requested))

    assert is_untouched(node)


def test_a_requested_address_may_be_an_excluded_one(node: Node) -> None:
    assert node.claim(wish("10.66.0.0/24", 20, 20, "10.66.0.9")) == (ip_address("10.66.0.9"),)


def refused(node: Node, requested: str, wait: float = 1e9) -> str:
    """Why a request for an address is a conflict, at once unless a wait is given."""
    with pytest.raises(Conflict) as conflict:
        node.claim(BOTH[1], wish("10.66.0.0/24", requested=requested), wait=wait)
    return conflict.value.msg


def test_a_requested_address_that_a_pod_of_this_node_has_is_refused_with_its_owner(node: Node) -> None:
    node.claim(wish("10.66.0.0/24", requested="10.66.0.9"), owner=OTHER)

    assert refused(node, "10.66.0.9") == (
        f"the requested address 10.66.0.9 is in use on this node: {OTHER} has it, by mv"
    )
    assert node.claims.all() == {ip_address("10.66.0.9"): Claimed("mv", OTHER)}


def test_a_requested_address_that_another_node_has_is_refused_with_that_node(node: Node) -> None:
    node.learns(ip_address("10.66.0.9"))

    assert refused(node, "10.66.0.9") == (
        "the requested address 10.66.0.9 is in use: the node 10.66.0.2 has it, which a route of protocol"
        " 12 by mv leads to"
    )
    assert is_untouched(node)


def test_a_requested_address_with_a_route_that_names_no_node_is_refused_with_the_route(node: Node) -> None:
    node.netns.ip("route add 10.66.0.9/32 dev lan proto static", "route add blackhole 10.66.0.8/32")

    assert refused(node, "10.66.0.9") == (
        "the requested address 10.66.0.9 is in use: there is a route to it by lan (protocol 4), and no claim"
        " of this node's for that"
    )
    assert "there is a route to it (protocol 3)" in refused(node, "10.66.0.8")


def test_the_nodes_own_address_is_refused_where_it_is_requested(node: Node) -> None:
    assert refused(node, str(OWN4)) == f"the requested address {OWN4} is the node's own"
    assert is_untouched(node)


def test_a_requested_address_that_its_owner_has_already_is_given_again_and_survives_a_failure(
    node: Node,
) -> None:
    asked = wish("10.66.0.0/24", requested="10.66.0.9")
    assert node.claim(asked) == node.claim(asked)

    lost = wish("fd66::/64", requested="fd66::9")
    with pytest.raises(Conflict):
        node.claim(asked, lost, wait=SHORT, remember=Rival(node, 1, version=6))
    assert node.routes() == set(node.claims.all()) == {ip_address("10.66.0.9")}


def test_a_link_that_is_not_there_or_down_is_named_and_leaves_no_entry(node: Node) -> None:
    node.netns.ip("link set mv down")
    with pytest.raises(KernelError, match=r"ip route add 10\.66\.0\.\d+/32 dev mv .*: Network is down"):
        node.claim(*BOTH)
    node.netns.ip("link del mv")
    with pytest.raises(KernelError, match="there is no link mv in the host namespace"):
        node.claim(*BOTH)

    assert is_untouched(node)


# Other nodes


def test_a_node_that_sees_a_second_claim_yields_and_keeps_what_was_confirmed(node: Node) -> None:
    remembered: list[list[IP]] = []
    rival = Rival(node, 1, version=4)

    def remember(claims: tuple[Route, ...]) -> None:
        remembered.append(addresses(claims))
        rival(claims)

    ips = node.claim(*BOTH, wait=SHORT, remember=remember)

    (lost,) = rival.seen
    assert lost not in ips
    assert node.routes(BIRD) == {lost}
    assert node.routes() == set(node.claims.all()) == set(ips)
    assert remembered == [[lost, ips[1]], [ips[1], ips[0]]]


@pytest.mark.parametrize("version", [4, 6])
def test_a_requested_address_that_is_lost_is_refused_with_the_node_that_has_it(
    node: Node, version: int
) -> None:
    asked = (wish("10.66.0.0/24", requested="10.66.0.9"), wish("fd66::/64", requested="fd66::9"))
    with pytest.raises(
        Conflict, match=rf"{'10.66.0.9' if version == 4 else 'fd66::9'} .* the node \S+2 has"
    ):
        node.claim(*asked, wait=SHORT, remember=Rival(node, 1, version))

    assert is_untouched(node)


def test_without_a_wait_there_is_no_second_look(node: Node) -> None:
    rival = Rival(node, 1)

    assert list(node.claim(*BOTH, wait=0.0, remember=rival)) == rival.seen


@pytest.mark.parametrize(("daemon", "yields"), [("proto bird", True), ("proto static", False)])
def test_the_usual_wait_is_one_where_a_routing_daemon_has_routes(
    node: Node, monkeypatch: pytest.MonkeyPatch, daemon: str, yields: bool
) -> None:
    monkeypatch.setattr("underlay.cni.claim.SPREADING", SHORT)
    node.netns.ip(f"route add 192.0.2.0/24 via {OVER4} {daemon}")
    rival = Rival(node, 1, version=4)
    ips = node.claim(*BOTH, wait=None, remember=rival)

    assert (ips[0] not in rival.seen) == yields


def test_who_is_never_alone_with_an_address_gives_up_and_says_what_was_tried(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("underlay.cni.claim.SECONDS", 0.5)
    rival = Rival(node, -1)
    with pytest.raises(TryAgainLater, match=r"no address was to be had in 0\.5 s") as refused:
        node.claim(BOTH[0], wait=SHORT, remember=rival)

    assert len(rival.seen) > 1
    assert f"claimed {len(rival.seen)} times: {rival.seen[0]}, {rival.seen[1]}" in refused.value.details
    assert is_untouched(node)


# Giving back


def test_what_is_released_is_free_again_and_to_release_it_twice_is_fine(node: Node) -> None:
    ips = node.claim(*BOTH)

    assert node.release(*ips) == []
    assert node.release(*ips) == []
    assert is_untouched(node)


def test_nothing_of_another_owner_is_ever_released(node: Node) -> None:
    ips = node.claim(*BOTH)

    assert node.release(*ips, owner=OTHER) == []
    assert node.routes() == set(node.claims.all()) == set(ips)


def test_a_route_that_the_store_does_not_know_stays(node: Node) -> None:
    node.netns.ip("route add 10.66.0.9/32 dev mv proto 202")

    assert node.release(ip_address("10.66.0.9")) == []
    assert node.routes() == {ip_address("10.66.0.9")}


def test_claims_whose_link_is_gone_are_released(node: Node) -> None:
    ips = node.claim(*BOTH)
    node.netns.ip("link del mv")

    assert node.release(*ips) == []
    assert is_untouched(node)


# What the kernel is asked


def test_every_next_hop_of_every_route_to_an_address_is_read(node: Node) -> None:
    node.netns.ip(  # a number: in a batch `ip` takes the name of a protocol for the last number there was
        f"route add 10.66.0.9/32 proto 12 nexthop via {OVER4} nexthop via 10.66.0.3",
        "route add 10.66.0.9/32 dev mv metric 7 proto 202",
        f"route add fd66::9/128 proto 12 nexthop via {OVER6} nexthop via fd66::3",
        "route add blackhole 10.66.0.8/32",
    )
    mv = node.kernel.index(HOST, "mv")
    four, six = node.kernel.host_routes(4), node.kernel.host_routes(6)

    assert sorted(four.ways(ip_address("10.66.0.9"))) == [
        Way(BIRD, mv, OVER4), Way(BIRD, mv, ip_address("10.66.0.3")), Way(CLAIM, mv, None)
    ]  # fmt: skip
    assert sorted(six.ways(ip_address("fd66::9"))) == [
        Way(BIRD, mv, OVER6), Way(BIRD, mv, ip_address("fd66::3"))
    ]  # fmt: skip
    assert four.ways(ip_address("10.66.0.8")) == [Way(3, 0, None)]
    assert four.ways(ip_address("10.66.0.7")) == []
    assert set(four.numbers) == {int(ip_address("10.66.0.9")), int(ip_address("10.66.0.8"))}
    assert set(six.numbers) == {int(ip_address("fd66::9"))}


def test_each_look_is_a_new_one(node: Node) -> None:
    before = node.kernel.host_routes(4)
    node.learns(ip_address("10.66.0.9"))

    assert set(before.numbers) == set()
    assert set(node.kernel.host_routes(4).numbers) == {int(ip_address("10.66.0.9"))}


@pytest.mark.parametrize(
    ("ip", "is_own"),
    [
        *(("10.66.0.1", True), ("10.66.0.255", True), ("127.0.0.1", True), ("10.66.0.9", False)),
        *(
            ("192.0.2.1", False),
            ("fd66::1", True),
            ("::1", True),
            ("fd66::9", False),
            ("2001:db8::1", False),
        ),
    ],
)
def test_the_nodes_own_addresses_are_known(node: Node, ip: str, is_own: bool) -> None:
    assert node.kernel.is_own(ip_address(ip)) == is_own
