"""Claims that vanish, fail or are killed on the way: none is lost, none is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

import underlay
from tests.netns.claiming import (
    BOTH,
    OTHER,
    POD,
    SHORT,
    Node,
    Rival,
    is_untouched,
    nodes,
    wish,
)
from underlay.claims import claim_route
from underlay.cni.claim import release
from underlay.cni.errors import CniError, Conflict, KernelError, TryAgainLater
from underlay.netlink.facts import HostRoutes, NodeKernel
from underlay.objects import IP, Object, Route
from underlay.plan import Outcome

PACKAGE_DIR = os.path.dirname(os.path.dirname(underlay.__file__))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with nodes(tmp_path, "claims") as (node,):
        yield node


# Claims that vanished


def test_claims_whose_link_went_down_and_up_are_made_again_by_the_next_call(node: Node) -> None:
    ips = node.claim(*BOTH)
    node.netns.ip("link set mv down", "link set mv up")
    assert node.routes() == set()

    others = node.claim(*BOTH, owner=OTHER)
    assert node.routes() == {*ips, *others}
    assert node.release(*ips) == []
    assert node.routes() == set(others)


def test_an_address_whose_route_has_vanished_is_given_to_nobody_else(node: Node) -> None:
    pair = wish("10.66.0.8/31")
    ips = node.claim(pair, pair)
    node.netns.ip("link set mv down", "link set mv up")

    with pytest.raises(TryAgainLater):
        node.claim(pair, owner=OTHER)
    assert node.routes() == set(ips)


@pytest.mark.parametrize("gone", ["link del red", "link set red down"])
def test_claims_by_a_link_that_carries_none_any_more_are_in_nobodys_way(node: Node, gone: str) -> None:
    node.netns.ip("link add name red type veth peer name red-lan", "link set red-lan up", "link set red up")
    node.claim(wish("10.77.0.0/24"), owner=OTHER, dev="red")
    node.netns.ip(gone)

    assert node.routes() == set()
    assert node.routes() | set(node.claim(*BOTH)) == node.routes()


def test_an_address_that_somebody_is_claiming_or_giving_back_is_taken_and_not_for_vanished(
    node: Node,
) -> None:
    pair = wish("10.66.0.8/31")
    node.claims.reserve(ip_address("10.66.0.9"), "mv", OTHER)
    with node.claims.sharing():
        assert node.claim(pair) == (ip_address("10.66.0.8"),)
        with pytest.raises(TryAgainLater, match="no address is free"):
            node.claim(pair)

    assert node.routes() == {ip_address("10.66.0.8")}


def test_a_claim_that_another_call_has_taken_for_vanished_is_the_owners_all_the_same(node: Node) -> None:
    class Overtaken(NodeKernel):
        """In the moment before its own route is made, somebody else makes it."""

        def add(self, objects: Sequence[Object]) -> list[Outcome]:
            node.kernel.add(objects)
            return super().add(objects)

    kernel = Overtaken(node.fd, None)
    ips = node.claim(*BOTH, kernel=kernel)
    kernel.close()

    assert node.routes() == set(node.claims.all()) == set(ips)


# What fails


class Stubborn(NodeKernel):
    """The real kernel, which will not remove a route to that address."""

    ip: IP

    def remove(self, objects: object) -> list[CniError]:
        wanted: list[Object] = list(objects)  # type: ignore[call-overload]
        kept = [obj for obj in wanted if isinstance(obj, Route) and obj.dst.network_address == self.ip]
        failures: list[CniError] = [KernelError(f"{obj}: Operation not permitted") for obj in kept]
        return failures + super().remove(obj for obj in wanted if obj not in kept)


@pytest.fixture
def stubborn(node: Node) -> Iterator[Stubborn]:
    kernel = Stubborn(node.fd, None)
    yield kernel
    kernel.close()


def test_an_entry_stays_as_long_as_its_route_can_not_be_removed(node: Node, stubborn: Stubborn) -> None:
    ips = node.claim(*BOTH)
    stubborn.ip = ips[0]
    routes = [claim_route(ip, "mv") for ip in ips]

    (failure,) = release(routes, POD, node.claims, stubborn)
    assert str(ips[0]) in failure.msg
    assert node.routes() == set(node.claims.all()) == {ips[0]}

    assert release(routes, POD, node.claims, node.kernel) == []
    assert is_untouched(node)


def test_what_could_not_be_given_back_is_said_with_the_error(node: Node, stubborn: Stubborn) -> None:
    stubborn.ip = ip_address("10.66.0.9")
    with pytest.raises(Conflict) as conflict:
        node.claim(
            wish("10.66.0.0/24", requested="10.66.0.9"), BOTH[1],
            wait=SHORT, remember=Rival(node, 1, version=4), kernel=stubborn,
        )  # fmt: skip

    assert conflict.value.__notes__ == [
        "and giving an address back failed:"
        " host: ip route add 10.66.0.9/32 dev mv scope link proto 202: Operation not permitted"
    ]
    assert list(node.claims.all()) == [ip_address("10.66.0.9")]


class Failing(NodeKernel):
    """The real kernel, until `left` calls of a claim have been answered: the next one fails, once."""

    left = 0
    error: type[BaseException] = KernelError

    def host_routes(self, version: int) -> HostRoutes:
        self.count()
        return super().host_routes(version)

    def is_own(self, ip: IP) -> bool:
        self.count()
        return super().is_own(ip)

    def add(self, objects: Sequence[Object]) -> list[Outcome]:
        self.count()
        made = super().add(objects)
        self.count()
        return made

    def count(self) -> None:
        self.left -= 1
        if self.left == -1:
            raise self.error("failed")


@pytest.mark.parametrize("error", [KernelError, KeyboardInterrupt])
def test_a_failure_at_any_step_leaves_no_claim(node: Node, error: type[BaseException]) -> None:
    kernel = Failing(node.fd, None)
    kernel.error = error
    failed, is_done = 0, False
    while not is_done:
        kernel.left = failed
        rival = Rival(node, 1, version=6)

        def remember(claims: tuple[Route, ...], rival: Rival = rival) -> None:
            kernel.count()
            rival(claims)

        try:
            node.release(*node.claim(*BOTH, wait=SHORT, kernel=kernel, remember=remember))
            is_done = True
        except error:
            failed += 1
        assert is_untouched(node)
    kernel.close()

    assert failed >= 15  # two rounds of looking, drawing, remembering and adding


KILLED = """
import json, os, signal, socket, subprocess, sys

left, state, package_dir = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def before_effect():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

class Socket(socket.socket):
    def send(self, data):
        if int.from_bytes(data[4:6], sys.byteorder) % 4 < 2:  # RTM_NEW… or RTM_DEL…, not RTM_GET…
            before_effect()
        return super().send(data)

def deadly(function):
    def call(*args, **keys):
        before_effect()
        return function(*args, **keys)
    return call

socket.socket = Socket
for name in ("mkdir", "symlink", "unlink", "rmdir"):
    setattr(os, name, deadly(getattr(os, name)))
sys.path.insert(0, package_dir)

from ipaddress import ip_network
from underlay.claims import DIRECTORY, Claims
from underlay.cni.claim import Claimant, Wish, claim
from underlay.netlink.facts import NodeKernel
from underlay.ranges import Range

is_first = True

def remember(claims):
    global is_first
    with open(state + ".remembered", "w") as file:
        json.dump([str(claim.dst.network_address) for claim in claims], file)
    if is_first:
        is_first = False
        heard = f"route add {claims[0].dst} via 10.66.0.2 metric 32 proto bird"
        subprocess.run(["ip", *heard.split()], check=True)

wishes = [Wish((Range(ip_network(subnet)),)) for subnet in ("10.66.0.0/24", "fd66::/64")]
kernel = NodeKernel(os.open("/proc/self/ns/net", os.O_RDONLY), None)
store = Claims(os.path.join(state, "1", DIRECTORY), state)
claim(wishes, Claimant("mv", "c1/lan:eth0:vxlan.json", 0.01), store, kernel, remember)
"""


def is_killed(node: Node, effects: int) -> bool:
    """Whether a claim in its own process was killed: after so many effects, unless it was done by then."""
    with node.netns.entered():
        done = subprocess.run(
            [sys.executable, "-IS", "-c", KILLED, str(effects), str(node.root), PACKAGE_DIR],
            capture_output=True, check=False,
        )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done
    return done.returncode != 0


def test_what_a_killed_call_has_made_is_released_by_what_it_remembered(node: Node) -> None:
    remembered, effects = Path(f"{node.root}.remembered"), 0
    while is_killed(node, effects):
        assert node.release(*map(ip_address, json.loads(remembered.read_text()))) == []
        assert is_untouched(node)
        effects += 1
    ips = set(map(ip_address, json.loads(remembered.read_text())))

    assert effects >= 9  # three directories, two entries, routes, one of each back, and anew
    assert node.routes() == set(node.claims.all()) == ips
