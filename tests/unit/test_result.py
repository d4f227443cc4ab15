"""Results in each version's shape: nothing that came in is lost, nothing goes out that its version lacks."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.cni.errors import CniError, InvalidConfig
from underlay.cni.result import NEW_SHAPE, OLD_SHAPE, Interface, IpConfig, Result, ResultRoute, parse, render

NETNS = "/var/run/netns/cni-1"
FULL = Result(
    interfaces=(
        Interface("lan", "02:00:00:00:00:01", mtu=9000),
        Interface("eth0", "02:00:00:00:00:02", NETNS, 1500, "/run/vhost.sock", "0000:01:10.2"),
    ),
    ips=(
        IpConfig(ip_interface("10.1.0.5/16"), ip_address("10.1.0.1"), 1),
        IpConfig(ip_interface("fd00::5/64")),
    ),
    routes=(
        ResultRoute(ip_network("0.0.0.0/0"), ip_address("10.1.0.1")),
        ResultRoute(ip_network("fd01::/64"), None, 1400, 1340, 100, 0, 253),
    ),
    dns={"nameservers": ["10.1.0.2"]},
)
FULL_1_1_0: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "interfaces": [
        {"name": "lan", "mac": "02:00:00:00:00:01", "mtu": 9000},
        {
            "name": "eth0",
            "mac": "02:00:00:00:00:02",
            "sandbox": NETNS,
            "mtu": 1500,
            "socketPath": "/run/vhost.sock",
            "pciID": "0000:01:10.2",
        },
    ],
    "ips": [
        {"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1},
        {"address": "fd00::5/64"},
    ],
    "routes": [
        {"dst": "0.0.0.0/0", "gw": "10.1.0.1"},
        {"dst": "fd01::/64", "mtu": 1400, "advmss": 1340, "priority": 100, "table": 0, "scope": 253},
    ],
    "dns": {"nameservers": ["10.1.0.2"]},
}
FULL_0_4_0: dict[str, Any] = {
    "cniVersion": "0.4.0",
    "interfaces": [
        {"name": "lan", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": NETNS},
    ],
    "ips": [
        {"version": "4", "address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 1},
        {"version": "6", "address": "fd00::5/64"},
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "fd01::/64"}],
    "dns": {"nameservers": ["10.1.0.2"]},
}


@pytest.mark.parametrize("version", NEW_SHAPE)
def test_a_result_of_the_new_shape_is_read_and_written_whole(version: str) -> None:
    raw = {**FULL_1_1_0, "cniVersion": version}

    assert parse(raw, version) == FULL
    assert render(FULL, version) == raw


@pytest.mark.parametrize("version", OLD_SHAPE)
def test_the_old_shape_has_a_version_in_each_address_and_lacks_the_newer_fields(version: str) -> None:
    assert render(FULL, version) == {**FULL_0_4_0, "cniVersion": version}


@pytest.mark.parametrize("version", OLD_SHAPE)
def test_a_result_of_the_old_shape_is_written_in_the_new_one_without_address_versions(version: str) -> None:
    rendered = render(parse({**FULL_0_4_0, "cniVersion": version}, "1.0.0"), "1.0.0")

    assert rendered["ips"] == FULL_1_1_0["ips"]


def test_a_result_without_a_version_is_read_in_that_of_the_configuration() -> None:
    raw = {"ips": [{"version": "4", "address": "10.1.0.5/16"}]}

    assert parse(raw, "0.3.1").ips[0].extra == {}
    assert parse(raw, "1.0.0").ips[0].extra == {"version": "4"}


def test_the_old_shape_keeps_the_newer_fields_that_it_came_with() -> None:
    raw = {"cniVersion": "0.4.0", "routes": [{"dst": "10.0.0.0/8", "mtu": 1400}]}

    assert render(parse(raw, "0.4.0"), "0.4.0") == raw


def test_an_empty_result_is_only_its_version() -> None:
    raw: dict[str, Any] = {"interfaces": None, "ips": [], "routes": None, "dns": {"nameservers": []}}

    assert render(parse(raw, "1.0.0"), "1.0.0") == {"cniVersion": "1.0.0"}


def test_keys_are_read_without_regard_to_case_and_written_as_specified() -> None:
    raw = {"CNIVersion": "1.0.0", "IPs": [{"Address": "10.1.0.5/16", "GATEWAY": "10.1.0.1"}]}

    assert render(parse(raw, "1.1.0"), "1.1.0") == {
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.1.0.5/16", "gateway": "10.1.0.1"}],
    }


def test_unknown_keys_are_kept_at_every_level() -> None:
    raw = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "metadata": {"a": "b"}}],
        "ips": [{"address": "10.1.0.5/16", "vendor": 1}],
        "routes": [{"dst": "10.0.0.0/8", "vendor": [2]}],
        "dns": {"vendor": 3},
        "vendor": {"x": None},
    }

    assert render(parse(raw, "1.0.0"), "1.0.0") == raw


def test_an_empty_gateway_is_none() -> None:
    result = parse(
        {"ips": [{"address": "10.1.0.5/16", "gateway": ""}], "routes": [{"dst": "::/0", "gw": ""}]}, "1.0.0"
    )

    assert result.ips[0].gateway is None
    assert result.routes[0].gw is None


def test_host_bits_of_an_address_are_kept() -> None:
    result = parse({"ips": [{"address": "10.1.0.5/16"}]}, "1.0.0")

    assert str(result.ips[0].address) == "10.1.0.5/16"
    assert render(result, "1.0.0")["ips"] == [{"address": "10.1.0.5/16"}]


A_HOST_ADDRESS = "is not an address with a prefix length; give one such as 10.1.0.5/16 or fd00::5/64"
AN_ADDRESS = "is not an IP address; give one such as 10.1.0.1 or fd00::1"
A_CIDR = "is not a CIDR; give an address with a prefix length such as 10.96.0.0/12 or fd00::/108"
IN_CHAIN = "the plugin before this one in the chain must give it"
NIC = [{"name": "eth0"}]
GOOD = "10.1.0.5/16"
BAD_RESULTS: list[tuple[dict[str, Any], str]] = [
    ({"cniVersion": 1}, 'cniVersion: 1 is not one of "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"'),
    (
        {"cniVersion": "0.2.0"},
        'cniVersion: "0.2.0" is not one of "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"',
    ),
    ({"ips": {}}, "ips: {} is not a list"),
    ({"ips": ["10.1.0.5/16"]}, 'ips[0]: "10.1.0.5/16" is not an object; write { … }'),
    ({"ips": [{}]}, f"ips[0].address is missing: {IN_CHAIN}"),
    ({"ips": [None]}, f"ips[0].address is missing: {IN_CHAIN}"),
    ({"ips": [{"address": "10.1.0.5"}]}, f'ips[0].address: "10.1.0.5" {A_HOST_ADDRESS}'),
    ({"ips": [{"address": GOOD}, {"address": 5}]}, f"ips[1].address: 5 {A_HOST_ADDRESS}"),
    ({"ips": [{"address": GOOD, "gateway": "gw"}]}, f'ips[0].gateway: "gw" {AN_ADDRESS}'),
    ({"ips": [{"address": GOOD, "gateway": GOOD}]}, f'ips[0].gateway: "{GOOD}" {AN_ADDRESS}'),
    (
        {"ips": [{"address": GOOD, "gateway": "fe80::1%eth0"}]},
        f'ips[0].gateway: "fe80::1%eth0" {AN_ADDRESS}',
    ),
    (
        {"ips": [{"address": GOOD, "interface": 0}]},
        "ips[0].interface: 0 points to an interface, but the result lists none",
    ),
    (
        {"interfaces": NIC, "ips": [{"address": GOOD, "interface": 1}]},
        "ips[0].interface: 1 is out of range; give 0 to 0",
    ),
    (
        {"interfaces": NIC, "ips": [{"address": GOOD, "interface": -1}]},
        "ips[0].interface: -1 is out of range; give 0 to 0",
    ),
    (
        {"interfaces": NIC, "ips": [{"address": GOOD, "interface": True}]},
        "ips[0].interface: true is not a whole number; give 0 to 0",
    ),
    ({"interfaces": [{}]}, f"interfaces[0].name is missing: {IN_CHAIN}"),
    ({"interfaces": [{"name": 5}]}, "interfaces[0].name: 5 is not a string"),
    (
        {"interfaces": [{"name": "a", "mtu": "9"}]},
        'interfaces[0].mtu: "9" is a string, not a whole number; write 9 without quotes',
    ),
    ({"routes": [{"gw": "10.1.0.1"}]}, f"routes[0].dst is missing: {IN_CHAIN}"),
    (
        {"routes": [{"dst": "default"}]},
        f'routes[0].dst: "default" {A_CIDR}',
    ),
    ({"routes": [{"dst": "::/0", "scope": 256}]}, "routes[0].scope: 256 is out of range; give 0 to 255"),
    ({"dns": []}, "dns: [] is not an object; write { … }"),
]


@pytest.mark.parametrize(("raw", "complaint"), BAD_RESULTS, ids=str)
def test_a_bad_result_is_refused_by_place_and_value(raw: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse(raw, "1.1.0")

    assert caught.value.msg == f"prevResult.{complaint}"


USUAL_PARTS: dict[str, dict[str, Any]] = {
    "interfaces": {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": NETNS, "mtu": 1500},
    "ips": {"version": "4", "address": GOOD, "gateway": "10.1.0.1", "interface": 0},
    "routes": {"dst": "0.0.0.0/0", "gw": "10.1.0.1"},
    "dns": {"nameservers": ["10.1.0.2"]},
}
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    1.0,
    1 << 32,
    "",
    "10.1.0.1",
    GOOD,
    "fe80::1%1",
    [],
    {},
    {"name": "a"},
)


def outcome(raw: dict[str, Any], version: str) -> Result | str:
    try:
        return parse(raw, version)
    except InvalidConfig as error:
        return error.msg.lower()


@given(
    st.sampled_from(OLD_SHAPE + NEW_SHAPE),
    st.sampled_from([(part, key) for part, given in USUAL_PARTS.items() for key in given]),
    st.sampled_from(ODD_VALUES),
    st.booleans(),
)
def test_what_is_usual_reads_as_what_has_to_be_looked_at_closely(
    version: str, place: tuple[str, str], value: Any, gone: bool
) -> None:
    part, key = place
    changed = {name: given for name, given in USUAL_PARTS[part].items() if name != key or not gone}
    parts = USUAL_PARTS | {part: changed if gone else changed | {key: value}}
    usual = {name: given if name == "dns" else [given] for name, given in parts.items()}
    other_case = {name.upper(): given for name, given in usual.items()}

    assert outcome(usual, version) == outcome(other_case, version)


def test_interfaces_are_appended_at_the_end() -> None:
    result = FULL.with_interfaces(Interface("veth1"), Interface("veth0", sandbox=NETNS))

    assert [interface.name for interface in result.interfaces] == ["lan", "eth0", "veth1", "veth0"]
    assert result.ips == FULL.ips
    assert FULL.with_interfaces() == FULL


def addresses(result: Result, *query: str) -> list[str]:
    return [str(ip.address) for ip in result.addresses_of(*query)]


def test_a_nic_has_the_addresses_that_point_to_it_and_those_that_point_nowhere() -> None:
    result = Result(
        interfaces=(Interface("eth0"), Interface("eth0", sandbox=NETNS), Interface("net1", sandbox=NETNS)),
        ips=(
            IpConfig(ip_interface("10.0.0.1/8"), interface=0),
            IpConfig(ip_interface("10.0.0.2/8"), interface=1),
            IpConfig(ip_interface("10.0.0.3/8"), interface=2),
            IpConfig(ip_interface("10.0.0.4/8")),
        ),
    )

    assert addresses(result, "eth0", NETNS) == ["10.0.0.2/8", "10.0.0.4/8"]
    assert addresses(result, "net1", NETNS) == ["10.0.0.3/8", "10.0.0.4/8"]
    assert addresses(result, "net2", NETNS) == ["10.0.0.4/8"]


def test_the_sandbox_decides_between_nics_of_one_name_and_only_between_them() -> None:
    result = Result(
        interfaces=(Interface("eth0", sandbox="/vm"), Interface("eth0", sandbox=NETNS)),
        ips=(
            IpConfig(ip_interface("10.0.0.1/8"), interface=0),
            IpConfig(ip_interface("10.0.0.2/8"), interface=1),
        ),
    )

    assert addresses(result, "eth0", NETNS) == ["10.0.0.2/8"]
    assert addresses(result, "eth0", "/proc/self/ns/net") == ["10.0.0.1/8", "10.0.0.2/8"]
    assert addresses(result, "eth0") == ["10.0.0.1/8", "10.0.0.2/8"]


def test_a_result_and_its_parts_can_be_members_of_a_set() -> None:
    assert len({FULL, parse(FULL_1_1_0, "1.1.0")}) == 1


VERSIONS = st.sampled_from([*OLD_SHAPE, *NEW_SHAPE])
ANY_ADDRESS = st.ip_addresses()
NUMBERS = st.integers(1, 2**31 - 1)
EXTRA = st.dictionaries(
    st.from_regex(r"\Ax-[a-z]{1,5}\Z"), st.none() | st.integers() | st.text(), max_size=2
)


@st.composite
def raw_results(draw: st.DrawFn) -> dict[str, Any]:
    """Results as a careful plugin writes them: no null, no empty member, canonical addresses."""
    version = draw(VERSIONS)
    interfaces = draw(st.lists(raw_interfaces(version), max_size=3))
    lists = {
        "interfaces": interfaces,
        "ips": draw(st.lists(raw_ips(version, len(interfaces)), max_size=3)),
        "routes": draw(st.lists(raw_routes(version), max_size=3)),
        "dns": draw(st.dictionaries(st.sampled_from(["nameservers", "search"]), st.just(["x"]))),
    }
    return {**draw(EXTRA), "cniVersion": version, **{key: value for key, value in lists.items() if value}}


@st.composite
def raw_interfaces(draw: st.DrawFn, version: str) -> dict[str, Any]:
    old = {"mac": st.text(min_size=1), "sandbox": st.text(min_size=1)}
    new = {"mtu": NUMBERS, "socketPath": st.text(min_size=1), "pciID": st.text(min_size=1)}
    optional = old if version in OLD_SHAPE else old | new
    return {**draw(EXTRA), **draw(st.fixed_dictionaries({"name": st.text()}, optional=optional))}


@st.composite
def raw_ips(draw: st.DrawFn, version: str, interfaces: int) -> dict[str, Any]:
    ip = draw(ANY_ADDRESS)
    raw = {**draw(EXTRA), "address": f"{ip}/{draw(st.integers(0, ip.max_prefixlen))}"}
    if version in OLD_SHAPE:
        raw["version"] = str(ip.version)
    if draw(st.booleans()):
        raw["gateway"] = str(draw(ANY_ADDRESS))
    if interfaces and draw(st.booleans()):
        raw["interface"] = draw(st.integers(0, interfaces - 1))
    return raw


@st.composite
def raw_routes(draw: st.DrawFn, version: str) -> dict[str, Any]:
    ip = draw(ANY_ADDRESS)
    raw = {**draw(EXTRA), "dst": str(ip_network((ip, draw(st.integers(0, ip.max_prefixlen))), strict=False))}
    optional: dict[str, st.SearchStrategy[Any]] = {"gw": ANY_ADDRESS.map(str)}
    if version in NEW_SHAPE:
        optional |= {"mtu": NUMBERS, "advmss": NUMBERS, "priority": st.integers(0, 9)}
        optional |= {"table": st.integers(0, 2**32 - 1), "scope": st.integers(0, 255)}
    return {**raw, **draw(st.fixed_dictionaries({}, optional=optional))}


@given(raw_results())
def test_a_result_that_goes_out_in_the_version_it_came_in_is_the_same(raw: dict[str, Any]) -> None:
    assert render(parse(raw, "1.1.0"), raw["cniVersion"]) == raw


@given(raw_results(), VERSIONS)
def test_every_result_can_be_written_in_every_version_and_read_again(
    raw: dict[str, Any], version: str
) -> None:
    result = parse(raw, "1.1.0")
    rendered = json.loads(json.dumps(render(result, version)))
    again = parse(rendered, "0.3.0")

    assert rendered["cniVersion"] == version
    assert [ip.address for ip in again.ips] == [ip.address for ip in result.ips]
    assert [(route.dst, route.gw) for route in again.routes] == [
        (route.dst, route.gw) for route in result.routes
    ]
    assert [interface.name for interface in again.interfaces] == [nic.name for nic in result.interfaces]
    assert render(again, version) == rendered


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text() | st.just("10.0.0.1/8"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["interfaces", "ips", "routes", "dns", "address", "dst", "name", "interface"]),
            inner,
        )
    ),
    max_leaves=12,
)
MEMBERS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("cniVersion", "interfaces", "ips", "routes", "dns"), ANYTHING)
)


@given(MEMBERS)
def test_no_result_raises_anything_but_an_error_of_cni(raw: dict[str, Any]) -> None:
    code = None
    try:
        render(parse(raw, "1.1.0"), "0.4.0")
    except CniError as error:
        code = error.code

    assert code in (None, 7)
