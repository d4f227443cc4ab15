"""Which NIC keeps the default route of a pod's main table."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from underlay.main_default import Claim, loses, nic_order
from underlay.objects import POD, Route
from underlay.plan import MainDefault

AUTO, NEVER, ALWAYS = -1, 0, 1


def default(dev: str, version: int = 4) -> Route:
    dst, via = ("0.0.0.0/0", "10.6.0.1") if version == 4 else ("::/0", "fd00:6::1")
    return Route(POD, ip_network(dst), dev, via=ip_address(via), proto=3)


def losers(
    claims: dict[str, int], main: list[Route], taken: tuple[str, ...] = (), version: int = 4
) -> list[str]:
    all_of_them = [
        Claim(MainDefault(dev, migrate), (default(dev, version),) if dev in taken else ())
        for dev, migrate in claims.items()
    ]
    return [claim.default.dev for claim in all_of_them if loses(claim, version, all_of_them, main)]


def test_nics_are_ordered_eth0_then_by_number_then_by_name() -> None:
    assert sorted(["net10", "lan0", "net2", "eth0", "blue"], key=nic_order) == [
        "eth0",
        "net2",
        "net10",
        "blue",
        "lan0",
    ]


@pytest.mark.parametrize(
    ("claims", "main", "taken", "expected"),
    [
        pytest.param({"eth0": AUTO}, ["eth0"], (), [], id="a single NIC keeps its default"),
        pytest.param(
            {"eth0": AUTO, "net1": AUTO}, ["eth0", "net1"], (), ["net1"], id="the later NIC gives way"
        ),
        pytest.param(
            {"eth0": AUTO, "net1": AUTO}, ["eth0"], ("net1",), ["net1"], id="what was taken stays away"
        ),
        pytest.param({"net1": AUTO}, [], ("net1",), [], id="the last NIC gets its default back"),
        pytest.param(
            {"net1": AUTO, "net2": AUTO}, [], ("net1", "net2"), ["net2"], id="the first of those left"
        ),
        pytest.param(
            {"eth0": AUTO, "net1": AUTO}, ["net1"], (), [], id="one without a default holds nothing"
        ),
        pytest.param({"net1": AUTO}, ["eth0", "net1"], (), ["net1"], id="a NIC that is not ours counts"),
        pytest.param(
            {"eth0": AUTO}, ["eth0", "net1"], (), [], id="a later NIC that is not ours is left alone"
        ),
        pytest.param({"eth0": NEVER, "net1": NEVER}, ["eth0", "net1"], (), [], id="0 leaves main alone"),
        pytest.param(
            {"eth0": AUTO, "net1": NEVER}, ["eth0", "net1"], (), [], id="0 keeps it beside the first"
        ),
        pytest.param({"net1": ALWAYS}, ["net1"], (), ["net1"], id="1 gives way even alone"),
        pytest.param(
            {"eth0": ALWAYS, "net1": AUTO}, ["eth0", "net1"], (), ["eth0"], id="1 leaves it to the next"
        ),
    ],
)
def test_who_gives_way(
    claims: dict[str, int], main: list[str], taken: tuple[str, ...], expected: list[str]
) -> None:
    assert losers(claims, [default(dev) for dev in main], taken) == expected


def test_families_are_decided_apart() -> None:
    main = [default("eth0"), default("net1"), default("net1", version=6)]

    assert losers({"eth0": AUTO, "net1": AUTO}, main, version=4) == ["net1"]
    assert losers({"eth0": AUTO, "net1": AUTO}, main, version=6) == []


def test_a_multipath_default_counts_for_each_of_its_links() -> None:
    both = Route(POD, ip_network("0.0.0.0/0"), hops=(("eth0", "10.6.0.1"), ("net1", "10.7.0.1")), proto=3)

    assert losers({"net1": AUTO}, [both]) == ["net1"]
    assert both.without("net1") == default("eth0")
    assert [hop.via for hop in both.hops_by("net1")] == [ip_address("10.7.0.1")]
