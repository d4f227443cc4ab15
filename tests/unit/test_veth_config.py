"""The configuration of `veth`: older keys, defaults, and what is refused with which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.test_veth import SUBNETS, parsed
from underlay.cni.errors import CniError
from underlay.cni.keys import Keys
from underlay.cni.probing import Patience
from underlay.plugins.veth import PLUGIN as VETH

OLD = {"service_cidr": ["10.96.0.0/12"], "cluster_cidr": ["10.244.0.0/16"]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SUBNETS, {}),
        (OLD, {}),
        ({**OLD, "move_routes": 0}, {"migrate_route": 1}),
        ({**OLD, "move_routes": 1}, {"migrate_route": -1}),
        ({**OLD, "move_routes": 2}, {"migrate_route": 0}),
        ({**OLD, "rp_filter": {"enabled": False}}, {"rp_filter_on_host": False}),
        ({**SUBNETS, "rp_filter": {"value": 0}}, {"rp_filter": 0}),
        ({**SUBNETS, "host_rule_table": 600}, {"host_rule_table": 600}),
        ({**SUBNETS, "mac_prefix": "", "only_op_mac": False, "ip_conflict": {"enabled": False}}, {}),
        ({**SUBNETS, "mac_prefix": "0a-1B"}, {"mac_prefix": b"\x0a\x1b"}),
        ({**SUBNETS, "hardware_prefix": "0a:1b"}, {"mac_prefix": b"\x0a\x1b"}),
        ({**SUBNETS, "ip_conflict": {"enabled": True}}, {"ip_conflict": Patience(1.0, 3)}),
        (
            {**SUBNETS, "detect_gateway": {"enabled": True, "interval": "1m300ms", "retries": 5}},
            {"detect_gateway": Patience(60.3, 5)},
        ),
        ({**SUBNETS, "tx_queue_len": 0}, {"tx_queue_len": 0}),
        ({**SUBNETS, "default_route_nic": "net1"}, {"default_route_nic": "net1"}),
    ],
)
def test_configurations_and_what_they_mean(config: dict[str, Any], expected: dict[str, Any]) -> None:
    default = parsed(SUBNETS).chained
    found = parsed(config).chained

    assert [hijack.subnet for hijack in found.hijacks] == [hijack.subnet for hijack in default.hijacks]
    assert replace(found, hijacks=default.hijacks) == replace(default, **expected)


def test_the_mtu_of_the_pair() -> None:
    assert (parsed(SUBNETS).veth_mtu, parsed({**SUBNETS, "veth_mtu": 1400}).veth_mtu) == (0, 1400)


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        ({}, 7, "service_hijack_subnet is missing"),
        ({"service_cidr": []}, 7, "overlay_hijack_subnet is missing"),
        (
            {**SUBNETS, "service_cidr": []},
            7,
            "service_hijack_subnet and service_cidr are two names of one key",
        ),
        ({"service_cidr": ["10.96.0.0/33"]}, 7, 'service_cidr[0]: "10.96.0.0/33" is not a CIDR'),
        ({**SUBNETS, "migrate_route": 2}, 7, "migrate_route: 2 is not one of -1, 0, 1"),
        ({**SUBNETS, "move_routes": -1}, 7, "move_routes: -1 is not one of 0, 1, 2"),
        ({**SUBNETS, "rp_filter": {"value": 3}}, 7, "rp_filter.value: 3 is not one of 0, 1, 2"),
        ({**SUBNETS, "rp_filter": 2}, 7, "rp_filter: 2 is not an object"),
        ({**SUBNETS, "veth_mtu": 67}, 7, "veth_mtu: 67 is out of range; give 68 to 65535"),
        ({**SUBNETS, "host_rule_table": "500"}, 7, 'host_rule_table: "500" is a string'),
        ({**SUBNETS, "skip_call": "yes"}, 7, 'skip_call: "yes" is not true or false'),
        ({**SUBNETS, "host_rule_table": 254}, 7, "host_rule_table: 254 is a table of the system"),
        ({"only_op_mac": True}, 7, "mac_prefix is missing: only_op_mac sets nothing else"),
        ({"only_hardware": True}, 7, "mac_prefix is missing: only_op_mac sets nothing else"),
        ({**SUBNETS, "mac_prefix": "0a:1b:2c"}, 7, 'mac_prefix: "0a:1b:2c" is not the first two bytes'),
        ({**SUBNETS, "mac_prefix": "zz:zz"}, 7, 'mac_prefix: "zz:zz" is not the first two bytes'),
        ({**SUBNETS, "mac_prefix": "0a1b"}, 7, 'mac_prefix: "0a1b" is not the first two bytes'),
        ({**SUBNETS, "hardware_prefix": "0b:1b"}, 7, 'hardware_prefix: "0b:1b" makes a multicast MAC'),
        ({**SUBNETS, "mac_preifx": "ff-ff"}, 7, 'mac_preifx: "ff-ff" makes a multicast MAC'),
        ({**SUBNETS, "mac_prefix": 10}, 7, "mac_prefix: 10 is not a string"),
        ({**SUBNETS, "ip_conflict": True}, 7, "ip_conflict: true is not an object"),
        ({**SUBNETS, "ip_conflict": {"enabled": "yes"}}, 7, 'ip_conflict.enabled: "yes" is not true or'),
        ({**SUBNETS, "ip_conflict": {"interval": "1"}}, 7, 'ip_conflict.interval: "1" is not a duration'),
        ({**SUBNETS, "ip_conflict": {"interval": 1}}, 7, "ip_conflict.interval: 1 is not a duration"),
        ({**SUBNETS, "ip_conflict": {"retries": 0}}, 7, "ip_conflict.retries: 0 is out of range"),
        ({**SUBNETS, "detect_gateway": {"interval": "1d"}}, 7, 'detect_gateway.interval: "1d" is not a'),
        ({**SUBNETS, "tx_queue_len": -1}, 7, "tx_queue_len: -1 is out of range; give 0 to"),
        ({**SUBNETS, "default_route_nic": 1}, 7, "default_route_nic: 1 is not a string"),
        ({**SUBNETS, "policy_routes": {}}, 7, "policy_routes: {} is not a list"),
        ({**SUBNETS, "policy_routes": [{}]}, 7, "policy_routes[0].dst is missing"),
        ({**SUBNETS, "policy_routes": [{"dst": "x"}]}, 7, 'policy_routes[0].dst: "x" is not a CIDR'),
        (
            {**SUBNETS, "policy_routes": [{"dst": "192.0.2.0/24", "gw": "fd00::1"}]},
            7,
            'policy_routes[0].gw: "fd00::1" is not of the family of 192.0.2.0/24',
        ),
    ],
)
def test_bad_configurations_are_named_by_key_and_value(
    config: dict[str, Any], code: int, message: str
) -> None:
    with pytest.raises(CniError) as refused:
        parsed(config)

    assert (refused.value.code, refused.value.msg[: len(message)]) == (code, message)


def test_a_call_that_is_to_be_skipped_reads_nothing_else() -> None:
    assert VETH.parse(Keys({"skip_call": True, "veth_mtu": "nonsense"}, VETH.aliases)) is None


def test_only_op_mac_needs_no_subnets() -> None:
    assert parsed({"only_op_mac": True, "mac_prefix": "0a:1b"}).chained.hijacks == ()
