"""What a pod asks for, in all the places where runtimes put it, and the network that it joins."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.cni.errors import CniError, InvalidConfig
from underlay.cni.keys import Keys
from underlay.plugins.choice import NETWORK_NAME, REQUESTED_ADDRESS, Wishes, choose, wishes_of
from underlay.plugins.vxlan_config import ALIASES, Config, parse

NETWORKS = [
    {"name": "blue", "id": 1, "cidr": ["10.66.0.0/24", "fd66::/64"], "peers": []},
    {"name": "green", "id": 2, "cidr": "10.67.0.1/24", "excludeFirst": 100, "peers": []},
    {"name": "red", "id": 3, "cidr": "10.68.0.0/24", "gateway": "anycast", "peers": []},
]
CRI = "io.kubernetes.cri.pod-annotations"


def config_of(**keys: Any) -> Config:
    return parse(Keys({"vxlans": NETWORKS} | keys, ALIASES))


CONFIG = config_of()


def in_args(annotations: dict[str, Any]) -> dict[str, Any]:
    return {"args": {"annotations": annotations}}


def in_cni(annotations: dict[str, Any]) -> dict[str, Any]:
    return {"args": {"cni": annotations}}


def below_cni(annotations: dict[str, Any]) -> dict[str, Any]:
    return {"args": {"cni": {"annotations": annotations}}}


def from_cri(annotations: dict[str, Any]) -> dict[str, Any]:
    return {"runtimeConfig": {CRI: annotations}}


def wishes(
    raw: dict[str, Any] | None = None,
    args: dict[str, str] | None = None,
    api: dict[str, str] | None = None,
) -> Wishes:
    return wishes_of(raw or {}, args or {}, api or {})


def asking(network: str, *addresses: str) -> Wishes:
    return wishes(in_args({NETWORK_NAME: network, REQUESTED_ADDRESS: ", ".join(addresses)}))


def chosen(config: Config, wishes: Wishes) -> str:
    return choose(config, wishes).name


def complaint(config: Config, raw: dict[str, Any], args: dict[str, str] | None = None) -> str:
    with pytest.raises(InvalidConfig) as caught:
        choose(config, wishes(raw, args))
    return caught.value.msg


def test_a_call_that_says_nothing_wishes_nothing() -> None:
    assert wishes() == Wishes()
    assert wishes({"args": None, "runtimeConfig": None}) == Wishes()
    assert (Wishes().addresses, Wishes().mac) == ((), "")


@pytest.mark.parametrize("place", [in_args, in_cni, below_cni, from_cri])
def test_an_annotation_is_found_wherever_a_runtime_puts_it(place: Any) -> None:
    found = wishes(place({NETWORK_NAME: "blue", REQUESTED_ADDRESS: "10.66.0.9"}))

    assert chosen(CONFIG, found) == "blue"
    assert found.addresses == (ip_address("10.66.0.9"),)


def test_an_annotation_of_the_api_counts_where_the_runtime_gave_none() -> None:
    api = {NETWORK_NAME: "green", REQUESTED_ADDRESS: "10.67.0.9"}
    found = wishes(in_args({NETWORK_NAME: "blue", REQUESTED_ADDRESS: ""}), api=api)

    assert found.network
    assert (found.network.raw, found.addresses) == ("blue", (ip_address("10.67.0.9"),))
    assert chosen(CONFIG, wishes(api=api)) == "green"


def test_each_annotation_comes_from_the_first_place_that_has_it() -> None:
    raw: dict[str, Any] = {
        "args": {
            "annotations": {NETWORK_NAME: "blue"},
            "cni": {NETWORK_NAME: "green", "annotations": {NETWORK_NAME: "red"}},
        },
        "runtimeConfig": {CRI: {NETWORK_NAME: "red", REQUESTED_ADDRESS: "10.66.0.9"}},
    }

    assert chosen(CONFIG, wishes(raw)) == "blue"
    assert wishes(raw).addresses == (ip_address("10.66.0.9"),)
    del raw["args"]["annotations"]
    assert wishes({**raw, "runtimeConfig": {}}).network == wishes(in_cni({NETWORK_NAME: "green"})).network


def test_the_annotation_goes_before_the_namespace_and_that_before_the_default() -> None:
    config = config_of(k8sNetworkFromNamespace=True, defaultNetwork="red")
    annotated = in_args({NETWORK_NAME: "blue"})

    assert chosen(config, wishes(annotated, {"K8S_POD_NAMESPACE": "green"})) == "blue"
    assert chosen(config, wishes({}, {"K8S_POD_NAMESPACE": "green"})) == "green"
    assert chosen(config, wishes({}, {"K8S_POD_NAMESPACE": "kube-system"})) == "red"
    assert chosen(config, wishes()) == "red"


def test_a_namespace_chooses_only_where_that_is_configured() -> None:
    assert chosen(config_of(defaultNetwork="red"), wishes({}, {"K8S_POD_NAMESPACE": "green"})) == "red"


def test_where_nothing_chooses_the_three_ways_are_named() -> None:
    message = complaint(CONFIG, {}, {"K8S_POD_NAMESPACE": "shop"})

    assert message == (
        'nothing says which network the pod in namespace "shop" joins: annotate it with'
        " vxlan-cni.travishegner.com/NetworkName, or set k8sNetworkFromNamespace and name a network like its"
        ' namespace, or set defaultNetwork; there are "blue", "green", "red"'
    )
    assert complaint(CONFIG, {}).startswith("nothing says which network the pod joins: ")


def test_an_annotation_that_names_no_network_is_no_reason_for_another_one() -> None:
    config = config_of(defaultNetwork="red")

    assert complaint(config, from_cri({NETWORK_NAME: "Blue"})) == (
        f'runtimeConfig.{CRI}.{NETWORK_NAME}: "Blue" is not the name of a network in vxlans;'
        ' there are "blue", "green", "red"'
    )
    with pytest.raises(
        InvalidConfig, match=r'^metadata\.annotations\..*/NetworkName: "pink" is not the name'
    ):
        choose(config, wishes(api={NETWORK_NAME: "pink"}))


def test_addresses_are_one_of_each_family_with_ipv4_first() -> None:
    assert asking("blue", "fd66::9", "10.66.0.9").addresses == (
        ip_address("10.66.0.9"),
        ip_address("fd66::9"),
    )


PLACES_OF_ADDRESSES: list[tuple[dict[str, Any], dict[str, str]]] = [  # the first that counts first
    ({"runtimeConfig": {"ips": ["10.66.0.1/24"]}}, {}),
    ({"args": {"cni": {"ips": ["10.66.0.2"]}}}, {}),
    ({}, {"IP": "10.66.0.3"}),
    (in_args({REQUESTED_ADDRESS: "10.66.0.4"}), {}),
]


def test_an_address_for_the_attachment_goes_before_one_for_the_pod() -> None:
    raw: dict[str, Any] = {"args": {"cni": {}, "annotations": {}}, "runtimeConfig": {}}
    args: dict[str, str] = {}
    for number, (more, more_args) in reversed(list(enumerate(PLACES_OF_ADDRESSES, start=1))):
        raw["runtimeConfig"] |= more.get("runtimeConfig", {})
        for key, value in more.get("args", {}).items():
            raw["args"][key] |= value
        args |= more_args

        assert wishes(raw, args).addresses == (ip_address(f"10.66.0.{number}"),)


def test_empty_lists_and_texts_ask_for_nothing() -> None:
    raw = {"runtimeConfig": {"ips": [], "mac": ""}, "args": {"cni": {"ips": None}}}

    assert wishes(raw, {"IP": "", "MAC": ""}) == Wishes()


@pytest.mark.parametrize(
    ("raw", "args"),
    [
        ({"runtimeConfig": {"mac": "02-00-00-00-00-0A"}}, {"MAC": "02:00:00:00:00:01"}),
        ({"args": {"cni": {"mac": "0200.0000.000a"}}}, {}),
        ({}, {"MAC": "02:00:00:00:00:0a"}),
    ],
)
def test_a_mac_is_found_in_any_spelling(raw: dict[str, Any], args: dict[str, str]) -> None:
    assert wishes(raw, args).mac == "02:00:00:00:00:0a"


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("blue", "10.66.0.1"),
        ("blue", "10.66.0.254/24"),
        ("blue", "10.66.0.9/32"),
        ("blue", "fd66::1/64"),
        ("blue", "fd66::ffff:ffff:ffff:ffff/128"),
        ("green", "10.67.0.9"),  # excluded from what is drawn, for pods that ask
    ],
)
def test_an_address_of_the_network_may_be_asked_for(network: str, address: str) -> None:
    assert chosen(CONFIG, asking(network, address)) == network


ARGS_PATH = f"args.annotations.{REQUESTED_ADDRESS}"
STRANGERS = [
    (
        "blue",
        "10.67.0.9",
        '"10.67.0.9" is not in 10.66.0.0/24 (network "blue"); ask for another, or for none',
    ),
    ("blue", "10.66.0.0", '"10.66.0.0" is the network address of 10.66.0.0/24 (network "blue"); ask for'),
    ("blue", "10.66.0.255", '"10.66.0.255" is the broadcast address of 10.66.0.0/24 (network "blue"); ask'),
    (
        "blue",
        "fd66::",
        '"fd66::" is the subnet-router anycast address of fd66::/64 (network "blue"); ask for',
    ),
    (
        "green",
        "10.67.0.1",
        '"10.67.0.1" is the gateway (network "green"); ask for another, or for none',
    ),
    ("red", "10.68.0.1", '"10.68.0.1" is the gateway (network "red"); ask for another, or for none'),
    (
        "green",
        "fd66::9",
        '"fd66::9" is IPv6, of which network "green" has no subnet; ask for one of 10.67.0.0/24',
    ),
    (
        "blue",
        "10.66.0.9/16",
        '"10.66.0.9/16" has another prefix length than 10.66.0.0/24 (network "blue"); leave it out',
    ),
    ("blue", "banana", '"banana" is not an IP address; give one such as 10.1.0.1 or fd00::1'),
    ("blue", "10.66.0.9/33", '"10.66.0.9/33" is not an address with a prefix length; give one such as'),
    ("blue", "10.66.0.9,", '"" is not an IP address; give one such as 10.1.0.1 or fd00::1'),
    (
        "blue",
        "10.66.0.9,10.66.0.8",
        '"10.66.0.8" is a second IPv4 address beside 10.66.0.9; ask for one of each family',
    ),
]


@pytest.mark.parametrize(("network", "address", "message"), STRANGERS, ids=str)
def test_an_address_that_cannot_be_had_is_refused_and_never_replaced(
    network: str, address: str, message: str
) -> None:
    annotations = {NETWORK_NAME: network, REQUESTED_ADDRESS: address}

    assert complaint(CONFIG, in_args(annotations)).startswith(f"{ARGS_PATH}: {message}")


WRONG: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({"args": 5}, {}, "args: 5 is not an object; write { … }"),
    ({"args": {"cni": "x"}}, {}, 'args.cni: "x" is not an object; write { … }'),
    (in_args({NETWORK_NAME: ["blue"]}), {}, f'args.annotations.{NETWORK_NAME}: ["blue"] is not a string'),
    (in_args({REQUESTED_ADDRESS: 5}), {}, f"{ARGS_PATH}: 5 is not a string"),
    (
        {"runtimeConfig": {"ips": "10.66.0.9"}},
        {},
        'runtimeConfig.ips: "10.66.0.9" is not a list; write ["10.',
    ),
    ({"runtimeConfig": {"ips": [5]}}, {}, "runtimeConfig.ips[0]: 5 is not an IP address; give one such as"),
    (
        {"args": {"cni": {"ips": ["x/y"]}}},
        {},
        'args.cni.ips[0]: "x/y" is not an address with a prefix length',
    ),
    (
        {},
        {"IP": "10.66.0.9,x"},
        'CNI_ARGS IP: "x" is not an IP address; give one such as 10.1.0.1 or fd00::1',
    ),
    (
        {"runtimeConfig": {"mac": 5}},
        {},
        "runtimeConfig.mac: 5 is not a MAC; give six bytes such as 02:00:00",
    ),
    ({}, {"MAC": "01:00:5e:00:00:01"}, 'CNI_ARGS MAC: "01:00:5e:00:00:01" is a multicast MAC; the second'),
    (
        {"args": {"cni": {"mac": "eth0"}}},
        {},
        'args.cni.mac: "eth0" is not a MAC; give six bytes such as 02:',
    ),
]


@pytest.mark.parametrize(("raw", "args", "message"), WRONG, ids=str)
def test_a_bad_wish_is_named_with_its_place_and_value(
    raw: dict[str, Any], args: dict[str, str], message: str
) -> None:
    assert complaint(config_of(defaultNetwork="blue"), raw, args).startswith(message)


def test_annotations_that_are_not_ours_are_never_looked_at() -> None:
    others = {"kubernetes.io/config.seen": 5, "k8s.v1.cni.cncf.io/networks": [{}]}

    assert wishes(in_args(others)) == wishes(from_cri(others)) == Wishes()


@given(st.integers(0, 2**32 - 1) | st.integers(0x0A42_0000 - 300, 0x0A42_0000 + 600))
def test_an_address_is_taken_exactly_if_a_pod_of_the_network_can_have_it(number: int) -> None:
    ip = ip_address(number)
    network, found = ip_network("10.66.0.0/24"), asking("blue", str(ip))

    if ip in network and ip not in (network[0], network[-1]):
        assert chosen(CONFIG, found) == "blue"
        assert found.addresses == (ip,)
    else:
        with pytest.raises(InvalidConfig, match=f'RequestedAddress: "{ip}" is '):
            choose(CONFIG, found)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["10.66.0.9", "blue", "fd66::9/64"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NOTES = st.fixed_dictionaries({}, optional=dict.fromkeys((NETWORK_NAME, REQUESTED_ADDRESS, "ips"), ANYTHING))
CALLS = st.fixed_dictionaries(
    {},
    optional={
        "args": ANYTHING | st.fixed_dictionaries({}, optional={"annotations": NOTES, "cni": NOTES}),
        "runtimeConfig": ANYTHING
        | st.fixed_dictionaries({}, optional={CRI: NOTES, "ips": ANYTHING, "mac": ANYTHING}),
    },
)
TEXTS = st.dictionaries(st.sampled_from(["IP", "MAC", "K8S_POD_NAMESPACE"]), st.text())


def outcome(raw: dict[str, Any], args: dict[str, str]) -> str | CniError:
    try:
        return chosen(CONFIG, wishes(raw, args))
    except CniError as error:
        return error


@given(CALLS, TEXTS)
def test_whatever_a_runtime_sends_is_either_understood_or_refused(
    raw: dict[str, Any], args: dict[str, str]
) -> None:
    found = outcome(raw, args)

    if isinstance(found, CniError):
        assert (found.code, found.msg.splitlines()) == (7, [found.msg])
    else:
        assert found in ("blue", "green", "red")
