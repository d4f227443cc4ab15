"""What an agent remembers of the routing table gives nobody an address that somebody has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.netns.claiming import OTHER, POD, Node, nodes, wish
from underlay.cni.errors import TryAgainLater
from underlay.netlink.facts import NodeKernel
from underlay.netlink.watch import Watch
from underlay.objects import IP

FOUR = wish("10.66.0.0/29", 2)  # 10.66.0.2 to 10.66.0.6, of which the first is the gateway's
SIX = wish("fd66::/125", 3, 1)  # fd66::3 to fd66::6


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with nodes(tmp_path, "remembered") as (node,):
        yield node


@pytest.fixture
def staying(node: Node) -> Iterator[NodeKernel]:
    """The kernel as a process that stays sees it, which has looked once."""
    with (
        closing(Watch(node.fd)) as watch,
        closing(NodeKernel(node.fd, None, memory=watch)) as kernel,
    ):
        node.release(*node.claim(FOUR, SIX, kernel=kernel))
        for version in (4, 6):
            kernel.host_routes(version)
            assert kernel.unchanged_routes(version) is not None
        yield kernel


def number_of(*ips: IP) -> int:
    return len(set(ips))


def test_a_claim_of_another_node_is_noticed_before_the_next_one(node: Node, staying: NodeKernel) -> None:
    others = [ip_address(f"10.66.0.{n}") for n in (2, 3, 4)] + [ip_address(f"fd66::{n}") for n in (3, 4, 5)]
    node.learns(*others)

    assert staying.unchanged_routes(4) is None
    assert not {*node.claim(FOUR, SIX, kernel=staying)} & {*others}


def test_claims_of_this_node_are_no_reason_to_look_again(node: Node, staying: NodeKernel) -> None:
    node.claim(FOUR, SIX, owner=OTHER)  # by another process

    assert staying.unchanged_routes(4) is not None
    assert staying.unchanged_routes(6) is not None


def test_no_address_is_given_twice_until_all_are_and_then_none(node: Node, staying: NodeKernel) -> None:
    given = [ip for n in range(4) for ip in node.claim(FOUR, SIX, owner=f"{POD}-{n}", kernel=staying)]

    assert number_of(*given) == 8
    node.claim(FOUR, owner=f"{POD}-4", kernel=staying)
    with pytest.raises(TryAgainLater, match="no address is free"):
        node.claim(SIX, owner=f"{POD}-5", kernel=staying)


def test_what_was_given_back_is_free_although_it_was_remembered_as_taken(
    node: Node, staying: NodeKernel
) -> None:
    given = {f"{POD}-{n}": node.claim(SIX, owner=f"{POD}-{n}", kernel=staying) for n in range(4)}
    staying.host_routes(6)  # now all four are remembered
    owner, freed = next(iter(given.items()))
    node.release(*freed, owner=owner)

    assert node.claim(SIX, owner=OTHER, kernel=staying) == freed
