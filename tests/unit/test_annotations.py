"""The annotations by which pods ask for networks: all of the grammar, and each mistake with its place."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.cni.errors import CniError, InvalidConfig, UnsupportedField
from underlay.networks.annotations import (
    DEFAULT_NETWORK,
    NETWORKS,
    Selection,
    selected_default,
    selected_networks,
)

FIRST, SECOND = f"{NETWORKS}[0]", f"{NETWORKS}[1]"


def selected(text: str | list[dict[str, Any]]) -> tuple[Selection, ...]:
    return selected_networks({NETWORKS: text if isinstance(text, str) else json.dumps(text)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lan-a", [Selection(FIRST, "lan-a")]),
        ("shop/lan-a", [Selection(FIRST, "lan-a", "shop")]),
        ("lan-a@lan0", [Selection(FIRST, "lan-a", ifname="lan0")]),
        (" shop / lan-a @ lan0 ", [Selection(FIRST, "lan-a", "shop", "lan0")]),
        ("a,\n  shop/b@net9", [Selection(FIRST, "a"), Selection(SECOND, "b", "shop", "net9")]),
        ("lan.a", [Selection(FIRST, "lan.a")]),
        ("a,a", [Selection(FIRST, "a"), Selection(SECOND, "a")]),
        ("", []),
        ("  ", []),
    ],
)
def test_the_short_form(text: str, expected: list[Selection]) -> None:
    assert list(selected(text)) == expected


WHOLE: dict[str, Any] = {
    "name": "lan-a",
    "namespace": "shop",
    "interface": "lan0",
    "ips": ["10.6.0.9/24", "fd00:6::9"],
    "mac": "02-00-00-00-00-0A",
    "infiniband-guid": "02:00:00:00:00:00:00:0A",
    "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "UDP", "hostIP": "192.0.2.1"}],
    "bandwidth": {"ingressRate": 1000, "ingressBurst": 10},
    "deviceID": "0000:01:00.0",
    "cni-args": {"flavour": ["salt"]},
    "default-route": ["10.6.0.1", "fd00:6::1"],
}


def test_the_json_form_with_all_that_it_can_say() -> None:
    (found,) = selected([WHOLE])

    assert found == Selection(
        place=FIRST,
        name="lan-a",
        namespace="shop",
        ifname="lan0",
        ips=("10.6.0.9/24", "fd00:6::9"),
        mac="02:00:00:00:00:0a",
        infiniband_guid="02:00:00:00:00:00:00:0a",
        port_mappings=({"hostPort": 8080, "containerPort": 80, "protocol": "udp", "hostIP": "192.0.2.1"},),
        bandwidth={"ingressRate": 1000, "ingressBurst": 10},
        device_id="0000:01:00.0",
        cni_args={"flavour": ["salt"]},
        default_route=(ip_address("10.6.0.1"), ip_address("fd00:6::1")),
    )


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ({}, Selection(FIRST, "a")),
        ({"namespace": "", "interface": "", "mac": "", "ips": []}, Selection(FIRST, "a")),
        ({"namespace": None, "default-route": None, "bandwidth": None}, Selection(FIRST, "a")),
        ({"default-route": []}, Selection(FIRST, "a", default_route=())),
        ({"interfaceRequest": "lan0"}, Selection(FIRST, "a", ifname="lan0")),
        ({"ipam-claim-reference": ""}, Selection(FIRST, "a")),
        (
            {"portMappings": [{"HostPort": 1, "ContainerPort": 2}]},  # as containerd writes them
            Selection(FIRST, "a", port_mappings=({"hostPort": 1, "containerPort": 2, "protocol": "tcp"},)),
        ),
    ],
    ids=str,
)
def test_what_is_left_out_or_empty_is_not_asked_for(element: dict[str, Any], expected: Selection) -> None:
    assert selected([{"name": "a", **element}]) == (expected,)


def test_the_json_form_of_no_network_is_none() -> None:
    assert selected([]) == ()


NAME_RULE = 'is not a name of Kubernetes: lower case letters, digits, "-" and "."'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lan-a,", f'{SECOND}: "" is empty; name a network, or take the comma away'),
        ("lan-a, Lan-B", f'{SECOND}, the name: "Lan-B" {NAME_RULE}'),
        ("lan_a", f'{FIRST}, the name: "lan_a" {NAME_RULE}'),
        ("/lan-a", f'{FIRST}, the namespace: "" {NAME_RULE}'),
        ("a/b/c", f'{FIRST}, the namespace: "a/b" {NAME_RULE}'),
        ("lan-a@", f'{FIRST}, the interface: "" is not an interface name'),
        ("lan-a@a b", f'{FIRST}, the interface: "a b" is not an interface name'),
        ("lan-a@longer-than-15-b", f'{FIRST}, the interface: "longer-than-15-b" is not an interface name'),
        ('{"name": "a"}', f'{NETWORKS}: {{"name": "a"}} is not a list'),
        ('["a"]', f'{FIRST}: "a" is not an object'),
        (
            '[{"name": "a" "ips": []}]',
            f"{NETWORKS} is not valid JSON: Expecting ',' delimiter at char",
        ),
        ('"a', f"{NETWORKS} is not valid JSON"),
        ("[" * 100_000, f"{NETWORKS} is not JSON that can be read: it is too deep"),
    ],
)
def test_a_mistake_in_the_form_names_its_place_and_quotes_the_annotation(
    text: str, message: str | None
) -> None:
    if message is None:
        assert selected(text)[0].ifname == "a@b"  # a name that the kernel takes
        return
    with pytest.raises(InvalidConfig) as refused:
        selected(text)

    assert refused.value.msg.startswith(message)
    assert refused.value.details.startswith(f"the annotation is {text}")


@pytest.mark.parametrize(
    ("element", "message"),
    [
        ({"name": None}, ".name is missing: an element needs the name of a NetworkAttachmentDefinition"),
        ({"name": 5}, ".name: 5 is not a string"),
        ({"name": "A"}, f'.name: "A" {NAME_RULE}'),
        ({"namespace": "a b"}, f'.namespace: "a b" {NAME_RULE}'),
        ({"interface": "a/b"}, '.interface: "a/b" is not an interface name'),
        ({"ips": "10.6.0.9"}, '.ips: "10.6.0.9" is not a list; write ["10.6.0.9"]'),
        ({"ips": ["10.6.0.300"]}, '.ips[0]: "10.6.0.300" is not an IP address'),
        ({"ips": ["10.6.0.9/33"]}, '.ips[0]: "10.6.0.9/33" is not an address with a prefix length'),
        ({"mac": "02:00"}, '.mac: "02:00" is not a MAC'),
        ({"mac": "01:00:00:00:00:01"}, '.mac: "01:00:00:00:00:01" is a multicast MAC'),
        ({"infiniband-guid": "02:00"}, '.infiniband-guid: "02:00" is not a GUID'),
        ({"portMappings": {}}, ".portMappings: {} is not a list"),
        ({"portMappings": [{"hostPort": 80}]}, ".portMappings[0].containerPort is missing"),
        (
            {"portMappings": [{"hostPort": 0, "containerPort": 80}]},
            ".portMappings[0].hostPort: 0 is out of range; give 1 to 65535",
        ),
        (
            {"portMappings": [{"hostPort": 1, "containerPort": 80, "protocol": "icmp"}]},
            '.portMappings[0].protocol: "icmp" is not one of tcp, udp, sctp',
        ),
        ({"bandwidth": {"ingressRate": "1G"}}, '.bandwidth.ingressRate: "1G" is a string'),
        ({"deviceID": 1}, ".deviceID: 1 is not a string"),
        ({"cni-args": []}, ".cni-args: [] is not an object"),
        ({"default-route": "10.6.0.1"}, '.default-route: "10.6.0.1" is not a list'),
        ({"default-route": ["10.6.0.1/24"]}, '.default-route[0]: "10.6.0.1/24" is not an IP address'),
        (
            {"default-route": ["10.6.0.1", "10.6.0.2"]},
            '.default-route[1]: "10.6.0.2" is a second IPv4 gateway beside 10.6.0.1',
        ),
    ],
    ids=json.dumps,
)
def test_a_mistake_in_an_element_names_the_key_and_the_value(element: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        selected([{"name": "first"}, {"name": "second", **element}])

    assert refused.value.msg.startswith(f"{SECOND}{message}")
    assert refused.value.details.startswith('the annotation is [{"name": "first"}, {')


def test_what_is_known_and_not_supported_is_refused() -> None:
    with pytest.raises(UnsupportedField, match="ipam-claim-reference"):
        selected([{"name": "a", "ipam-claim-reference": "claim"}])


def test_a_key_that_nobody_knows_is_noted_for_the_log() -> None:
    (found,) = selected([{"name": "a", "interfaces": "lan0"}])

    assert found.notes == (
        f'unknown key "{FIRST}.interfaces" is not used; did you mean "{FIRST}.interface"?',
    )


def test_the_default_network_is_one() -> None:
    assert selected_default({}) is None
    assert selected_default({DEFAULT_NETWORK: "lan-a"}) == Selection(f"{DEFAULT_NETWORK}[0]", "lan-a")
    with pytest.raises(InvalidConfig, match=f"{DEFAULT_NETWORK} names 2 networks") as refused:
        selected_default({DEFAULT_NETWORK: "lan-a,lan-b"})
    assert refused.value.details == f"the annotation is lan-a,lan-b; the others belong into {NETWORKS}"


@given(
    st.text() | st.lists(st.sampled_from(['[{"name":', '"a"', "}]", ",", "@", "/", " ", "1"])).map("".join)
)
def test_any_text_is_a_list_of_networks_or_a_refusal_that_quotes_it(text: str) -> None:
    outcome = outcome_of(text)

    if isinstance(outcome, CniError):
        assert outcome.details.startswith("the annotation is ")
    else:
        assert all(each.name for each in outcome)


def outcome_of(text: str) -> tuple[Selection, ...] | CniError:
    try:
        return selected(text)
    except CniError as error:
        return error
