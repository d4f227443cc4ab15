"""Many claims at once, on one node and on two: no address twice, and nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.netns.claiming import (
    BIRD,
    BOTH,
    OTHER,
    OVER4,
    OWN4,
    OWN6,
    POD,
    Node,
    is_untouched,
    nodes,
    wish,
)
from underlay.claims import CLAIM, Claimed, claim_route
from underlay.cni.claim import release
from underlay.cni.errors import Conflict, TryAgainLater
from underlay.lab.errors import CommandError
from underlay.netlink.facts import NodeKernel
from underlay.objects import HOST, IP, Route


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with nodes(tmp_path, "claims") as (node,):
        yield node


Call = Callable[[NodeKernel, str], None]


def at_once(node: Node, calls: int, call: Call) -> None:
    """Calls so many times, each in a thread with a kernel of its own and for an owner of its own."""
    together = threading.Barrier(calls)

    def run(number: int) -> None:
        with closing(NodeKernel(node.fd, None)) as kernel:
            together.wait()
            call(kernel, f"c{number}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_calls_at_once_get_different_addresses_of_a_small_range(node: Node) -> None:
    given: list[IP] = []

    def add(kernel: NodeKernel, owner: str) -> None:
        given.extend(node.claim(wish("10.66.0.0/27"), wish("fd66::/123"), owner=owner, kernel=kernel))

    at_once(node, 25, add)

    assert len(set(given)) == len(given) == 50
    assert not {OWN4, OWN6} & set(given)
    assert node.routes() == set(node.claims.all()) == set(given)


def test_calls_at_once_for_one_address_get_it_once(node: Node) -> None:
    given: list[str] = []

    def add(kernel: NodeKernel, owner: str) -> None:
        with suppress(Conflict):
            node.claim(wish("10.66.0.0/24", requested="10.66.0.9"), owner=owner, kernel=kernel)
            given.append(owner)

    at_once(node, 10, add)

    assert [Claimed("mv", owner) for owner in given] == list(node.claims.all().values())
    assert node.routes() == {ip_address("10.66.0.9")}


def test_calls_that_come_and_go_at_once_leave_nothing(node: Node) -> None:
    def come_and_go(kernel: NodeKernel, owner: str) -> None:
        for _ in range(10):
            routes = [claim_route(ip, "mv") for ip in node.claim(*BOTH, owner=owner, kernel=kernel)]
            assert release(routes, owner, node.claims, kernel) == []

    at_once(node, 8, come_and_go)

    assert is_untouched(node)


def test_claims_that_vanish_under_many_calls_are_neither_lost_nor_left(node: Node) -> None:
    """Claims are made again by some calls while others give theirs back."""
    pods = {ip for _ in range(20) for ip in node.claim(*BOTH, owner=POD)}

    def come_and_go(kernel: NodeKernel, owner: str) -> None:
        for _ in range(10):
            if owner == "c0":  # what a link that goes down does to its routes
                for version in ("-4", "-6"):
                    with suppress(CommandError):  # `ip` gives up at a route that a call has just taken off
                        node.netns.run("ip", version, "route", "flush", "dev", "mv", "proto", str(CLAIM))
            routes = [claim_route(ip, "mv") for ip in node.claim(*BOTH, owner=owner, kernel=kernel)]
            assert release(routes, owner, node.claims, kernel) == []

    at_once(node, 8, come_and_go)
    ips = node.claim(*BOTH, owner=OTHER)

    assert node.routes() == set(node.claims.all()) == {*pods, *ips}


class Daemon(threading.Thread):
    """Spreads the claims of two nodes as a routing daemon does.

    Which prefers what it hears from the other to the route that its own node has made, so it stops
    telling of that: of two nodes with one claim, often only one is ever shown it.
    """

    def __init__(self, *nodes: Node) -> None:
        super().__init__()
        self.kernels = [NodeKernel(node.fd, None) for node in nodes]
        self.done = threading.Event()

    def run(self) -> None:
        known: list[set[int]] = [set(), set()]
        while not self.done.wait(0.002):
            for here, there in ((0, 1), (1, 0)):
                claimed = set(claimed_numbers(self.kernels[here])) - known[here]
                new, gone = claimed - known[there], known[there] - claimed
                known[there] = claimed
                if new:
                    self.kernels[there].add([self.heard(number) for number in new])
                self.kernels[there].remove(self.heard(number) for number in gone)
        for kernel in self.kernels:
            kernel.close()

    def heard(self, number: int) -> Route:
        return Route(HOST, ip_network(number), "mv", via=OVER4, metric=32, proto=BIRD)


def claimed_numbers(kernel: NodeKernel) -> Iterator[int]:
    seen = kernel.host_routes(4)
    for number in seen.numbers:
        if any(way.proto == CLAIM for way in seen.ways(ip_address(number))):
            yield number


def test_two_nodes_that_fill_a_range_at_once_give_no_address_twice(tmp_path: Path) -> None:
    """Both draw before either hears of the other, so nearly always several addresses are drawn twice."""
    given: list[IP] = []
    with nodes(tmp_path, "one", "two") as both:

        def seven_pods(node: Node) -> None:
            at_once(node, 7, lambda kernel, owner: given.extend(patiently(node, kernel, owner)))

        callers = [threading.Thread(target=seven_pods, args=(node,)) for node in both]
        for caller in callers:
            caller.start()
        deadline = time.monotonic() + 10
        while sum(len(node.claims.all()) for node in both) < 14 and time.monotonic() < deadline:
            time.sleep(0.002)
        daemon = Daemon(*both)
        daemon.start()
        for caller in callers:
            caller.join()
        daemon.done.set()
        daemon.join()

    assert sorted(map(int, given)) == [int(ip_address("10.66.0.17")) + number for number in range(14)]


def patiently(node: Node, kernel: NodeKernel, owner: str) -> tuple[IP, ...]:
    """Claims as a runtime does, which comes again: while two have one address, the range may look full."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return node.claim(wish("10.66.0.16/28"), owner=owner, wait=1.0, kernel=kernel)
        except TryAgainLater:
            assert time.monotonic() < deadline
            time.sleep(0.01)
