"""Plans on a kernel in memory: made whole or not at all, taken back, compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from tests.fake_kernel import NIC, FakeKernel
from underlay.cni.errors import CniError, Conflict, KernelError
from underlay.objects import (
    HOST,
    POD,
    Address,
    Fdb,
    LinkAlias,
    LinkUp,
    Macvlan,
    Neigh,
    Object,
    Route,
    Rule,
    Sysctl,
    VethPair,
    Vxlan,
)
from underlay.objects.fdb import FLOOD
from underlay.plan import Plan, apply, missing, revert

PAIR = VethPair("vethabc", "02:00:00:00:00:01", "veth0", "02:00:00:00:00:02", 1500)
PRESENT: tuple[Object, ...] = (
    PAIR,
    LinkUp(HOST, "vethabc"),
    Neigh(HOST, ip_address("10.6.0.9"), PAIR.pod_mac, "vethabc"),
    Route(HOST, ip_network("10.6.0.9/32"), "vethabc", table=500),
    LinkUp(POD, "veth0"),
    Sysctl(POD, 4, "eth0", "rp_filter", 2),
    Route(POD, ip_network("10.6.0.1/32"), "veth0"),
    Rule(POD, 4, 100, 2000, src=ip_network("10.6.0.9/32")),
)
VX = Vxlan("vx_blue", 5001, "02:00:00:00:50:01", 1450, 4789)
BYPASS = Rule(HOST, 4, 501, 1100, src=ip_network("10.66.0.0/24"), dst=ip_network("10.66.0.0/24"))
ETH0 = Macvlan(POD, "eth1", "vx_blue", "02:00:00:00:60:02", 1450)
NETWORK: tuple[Object, ...] = (
    VX,
    LinkAlias(HOST, "vx_blue", "blue"),
    Fdb(HOST, "vx_blue", FLOOD, ip_address("192.168.50.12")),
    LinkUp(HOST, "vx_blue"),
    Macvlan(HOST, "mv_blue", "vx_blue", "02:00:00:00:60:01", 1450),
    Address(HOST, "mv_blue", ip_interface("10.66.0.1/24")),
    LinkUp(HOST, "mv_blue"),
    Route(HOST, ip_network("10.66.0.0/24"), "mv_blue", table=501),
    BYPASS,
)
OF_POD: tuple[Object, ...] = (
    ETH0,
    Address(POD, "eth1", ip_interface("10.66.0.11/24")),
    LinkUp(POD, "eth1"),
    Route(POD, ip_network("0.0.0.0/0"), "eth1", via=ip_address("10.66.0.1")),
)
CLAIM = Route(HOST, ip_network("10.66.0.11/32"), "mv_blue", proto=202)
STALE = Route(HOST, ip_network("10.6.0.9/32"), "vethold", table=500)


def test_a_plan_that_is_applied_is_all_there() -> None:
    kernel = FakeKernel(NIC)

    apply(PRESENT, kernel)

    assert missing(PRESENT, kernel) == []


@pytest.mark.parametrize("broken", PRESENT, ids=str)
def test_a_plan_that_fails_at_any_object_leaves_the_kernel_as_it_was(broken: Object) -> None:
    kernel = FakeKernel(NIC, refused=broken)
    before = str(kernel)

    with pytest.raises(KernelError, match="Operation not permitted"):
        apply(PRESENT, kernel)

    assert str(kernel) == before


def test_applying_twice_changes_nothing_the_second_time() -> None:
    kernel = FakeKernel(NIC)
    apply(PRESENT, kernel)

    assert apply(PRESENT, kernel) == ((), ())


def test_what_an_earlier_pod_left_is_replaced_and_comes_back_when_the_plan_fails() -> None:
    kernel = FakeKernel(NIC, (HOST, "vethold"), refused=PRESENT[-1])
    kernel.add([STALE])

    with pytest.raises(KernelError):
        apply(PRESENT, kernel)

    assert str(kernel) == str(STALE)


def test_what_is_not_ours_is_never_taken_over() -> None:
    foreign = Route(HOST, ip_network("10.6.0.9/32"), "vethold", table=500, proto=4)
    kernel = FakeKernel(NIC, (HOST, "vethold"))
    kernel.add([foreign])

    with pytest.raises(Conflict) as refused:
        apply(PRESENT, kernel)

    assert str(kernel) == str(foreign)
    assert refused.value.msg == f"{PRESENT[3]}: something else is there that is not ours"
    assert "there is: host: ip route add 10.6.0.9/32 dev vethold" in refused.value.details


def test_a_pair_of_the_same_name_with_other_macs_is_not_ours() -> None:
    kernel = FakeKernel(NIC)
    other = VethPair("vethabc", "02:00:00:00:00:aa", "veth0", "02:00:00:00:00:bb", 1500)
    kernel.add([other])

    with pytest.raises(Conflict):
        apply(PRESENT, kernel)

    assert str(kernel) == str(other)


def test_reverting_removes_all_but_what_is_kept() -> None:
    kernel = FakeKernel(NIC)
    apply(PRESENT, kernel)

    revert(Plan(PRESENT), frozenset(PRESENT[:6]), kernel)

    assert [obj for obj, _ in missing(PRESENT, kernel)] == list(PRESENT[6:])


class Asked(FakeKernel):
    """Remembers what it was asked to remove."""

    def remove(self, objects: Iterable[Object]) -> list[CniError]:
        self.asked = list(objects)
        return super().remove(self.asked)


@pytest.mark.parametrize(
    ("plan", "asked"),
    [(PRESENT, [PRESENT[7], PRESENT[5], PAIR]), (NETWORK, [BYPASS, VX]), ((*OF_POD, CLAIM), [CLAIM, ETH0])],
    ids=["veth", "network", "macvlan"],
)
def test_what_stands_on_a_link_that_goes_needs_no_message(
    plan: tuple[Object, ...], asked: list[Object]
) -> None:
    kernel = Asked(NIC)
    apply([*NETWORK, *plan], kernel)

    assert revert(Plan(plan), frozenset(), kernel) == []

    assert kernel.asked == asked
    assert [obj for obj, _ in missing(plan, kernel)] == [obj for obj in plan if not isinstance(obj, Sysctl)]


@pytest.mark.parametrize("link", [PAIR, VX, ETH0], ids=str)
def test_a_link_that_another_plan_wants_too_stays_whatever_its_mtu(link: VethPair | Vxlan | Macvlan) -> None:
    kernel = FakeKernel(NIC)
    apply([PAIR, *NETWORK, *OF_POD], kernel)

    assert revert(Plan((link,)), frozenset({replace(link, mtu=1280)}), kernel) == []

    assert missing([PAIR, *NETWORK, *OF_POD], kernel) == []


def test_reverting_what_was_never_made_is_no_error() -> None:
    assert revert(Plan(PRESENT), frozenset(), FakeKernel(NIC)) == []


def test_a_lost_object_is_named_with_what_stands_in_its_place() -> None:
    kernel = FakeKernel(NIC)
    apply(PRESENT, kernel)
    kernel.replace(PRESENT[3], STALE)
    kernel.remove([PRESENT[-1]])

    assert missing(PRESENT, kernel) == [(PRESENT[3], STALE), (PRESENT[-1], None)]
