"""Which NIC keeps the default route of a pod's main table."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.main_default import keeps_anyway, loses, nic_order
from underlay.objects import POD, Route
from underlay.objects.route import Hop
from underlay.plan import MainDefault

AUTO, NEVER, ALWAYS = -1, 0, 1


def default(dev: str) -> Route:
    return Route(POD, ip_network("0.0.0.0/0"), dev, via=ip_address("10.6.0.1"), proto=3)


def losers(claims: dict[str, int], main: list[Route], taken: tuple[str, ...] = ()) -> list[str]:
    every = [MainDefault(dev, migrate) for dev, migrate in claims.items()]
    holders = {dev for route in main for dev in route.devs} | {*taken}
    return [claim.dev for claim in every if loses(claim, every, holders)]


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
        pytest.param({"net1": ALWAYS}, ["net1"], (), [], id="1 gives way to nobody where nobody is"),
        pytest.param(
            {"net1": ALWAYS, "net2": ALWAYS}, ["net1", "net2"], (), ["net2"], id="of two the first keeps it"
        ),
        pytest.param(
            {"eth0": ALWAYS, "net1": AUTO}, ["eth0", "net1"], (), ["eth0"], id="1 leaves it to the next"
        ),
    ],
)
def test_who_gives_way(
    claims: dict[str, int], main: list[str], taken: tuple[str, ...], expected: list[str]
) -> None:
    assert losers(claims, [default(dev) for dev in main], taken) == expected


@pytest.mark.parametrize(
    ("claims", "main", "expected"),
    [
        pytest.param({"net1": AUTO}, ["eth0", "net1"], ["eth0"], id="the overlay's NIC gives way"),
        pytest.param({"net1": AUTO}, ["eth0"], [], id="not to one that has no default"),
        pytest.param(
            {"net1": AUTO, "net2": AUTO}, ["eth0", "net1", "net2"], ["eth0", "net1"], id="the newest has it"
        ),
        pytest.param({"net1": NEVER}, ["eth0", "net1"], [], id="0 takes it from nobody"),
        pytest.param(
            {"net1": AUTO, "net2": NEVER}, ["eth0", "net1", "net2"], ["eth0"], id="0 leaves the others to it"
        ),
        pytest.param(
            {"net1": ALWAYS, "net2": AUTO}, ["eth0", "net1", "net2"], ["eth0", "net2"], id="1 before order"
        ),
        pytest.param(
            {"net1": ALWAYS, "net2": ALWAYS}, ["net1", "net2"], ["eth0", "net1"], id="of two the newest"
        ),
    ],
)
def test_who_gives_way_to_nics_that_take_over(
    claims: dict[str, int], main: list[str], expected: list[str]
) -> None:
    every = [MainDefault(dev, migrate, takes_over=True) for dev, migrate in claims.items()]
    every.append(MainDefault("eth0", NEVER))

    assert sorted(claim.dev for claim in every if loses(claim, every, {*main})) == expected


@pytest.mark.parametrize(("prefers", "expected"), [("net1", ["eth0", "net2"]), ("net7", ["net1", "net2"])])
def test_a_nic_that_is_preferred_has_it_if_it_has_one(prefers: str, expected: list[str]) -> None:
    every = [
        MainDefault("eth0", AUTO),
        MainDefault("net1", AUTO),
        MainDefault("net2", AUTO, prefers=prefers),
    ]

    assert [claim.dev for claim in every if loses(claim, every, {"eth0", "net1", "net2"})] == expected


def test_a_multipath_default_counts_for_each_of_its_links() -> None:
    both = Route(
        POD, ip_network("0.0.0.0/0"), hops=(Hop("eth0", "10.6.0.1"), Hop("net1", "10.7.0.1")), proto=3
    )

    assert losers({"net1": AUTO}, [both]) == ["net1"]
    assert both.without("net1") == default("eth0")
    assert [hop.via for hop in both.hops_by("net1")] == [ip_address("10.7.0.1")]


NICS = st.sampled_from(["eth0", "net1", "net2", "lan0"])
CLAIMS = st.builds(
    MainDefault, NICS, st.sampled_from([AUTO, NEVER, ALWAYS]), st.booleans(), st.sampled_from(["", "net1"])
)


@given(CLAIMS, st.sets(NICS))
def test_who_keeps_it_anyway_never_loses_it(claim: MainDefault, holders: set[str]) -> None:
    if keeps_anyway(claim, [claim]):
        assert not loses(claim, [claim], holders)


def test_a_pod_with_one_nic_keeps_its_default_without_a_look() -> None:
    alone = MainDefault("eth0", AUTO)

    assert keeps_anyway(alone, [alone])
    assert not keeps_anyway(alone, [alone, MainDefault("net1", AUTO)])


@pytest.mark.parametrize(
    ("holders", "expected"),
    [
        pytest.param({"eth0", "net1", "net2"}, ["eth0", "net2"], id="all others leave it"),
        pytest.param({"eth0", "net2"}, ["eth0", "net1"], id="without a default it asks in vain"),
    ],
)
def test_what_the_pod_asks_for_goes_before_every_configuration(
    holders: set[str], expected: list[str]
) -> None:
    claims = [
        MainDefault("eth0", ALWAYS, prefers="net2"),
        MainDefault("net1", ALWAYS, is_asked=True),
        MainDefault("net2", ALWAYS, takes_over=True),
    ]

    assert [claim.dev for claim in claims if loses(claim, claims, holders)] == expected
