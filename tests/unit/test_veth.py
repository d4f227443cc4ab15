"""What `veth` wants, as `ip` commands: a change of behaviour shows here as a diff of commands."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from underlay.cni.errors import CniError, InvalidConfig, UnsupportedField
from underlay.cni.keys import Keys
from underlay.cni.plugin import Attachment
from underlay.cni.result import parse as parse_result
from underlay.facts import Facts
from underlay.objects import HOST, POD, Route, Rule
from underlay.objects.link import Link
from underlay.plan import MainDefault, Plan
from underlay.plugins import PLUGINS
from underlay.plugins.nic import table_of
from underlay.plugins.veth import Config

VETH = PLUGINS["veth"]
NIC = Link(index=2, name="eth0", mac="0a:00:00:00:00:09", mtu=1500, up=True, peer=3, settings={4: (), 6: ()})
NODE4, NODE6, DOCKER = ip_address("10.6.0.1"), ip_address("fd00:6::1"), ip_address("172.17.0.1")
POD4, POD6 = ip_address("10.6.0.9"), ip_address("fd00:6::9")
SUBNETS: dict[str, Any] = {
    "service_hijack_subnet": ["10.96.0.0/12"],
    "overlay_hijack_subnet": ["10.244.0.0/16"],
}
SUBNETS6: dict[str, Any] = {
    "service_hijack_subnet": ["10.96.0.0/12", "fd00:96::/108"],
    "overlay_hijack_subnet": ["10.244.0.0/16", "fd00:244::/56"],
}
IPV4 = {"ips": [{"address": "10.6.0.9/24", "gateway": "10.6.0.254"}], "routes": [{"dst": "0.0.0.0/0"}]}
DUAL = {
    "ips": [
        {"address": "10.6.0.9/24", "gateway": "10.6.0.254"},
        {"address": "fd00:6::9/64", "gateway": "fd00:6::fe"},
    ],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
}
ON_NODE = Facts(
    nic=NIC,
    node_addresses=(DOCKER, NODE4, NODE6),
    node_sources={POD4: NODE4, POD6: NODE6},
)


def parsed(config: dict[str, Any]) -> Config:
    found = VETH.parse(Keys(config, VETH.aliases))
    assert isinstance(found, Config)
    return found


def planned(
    config: dict[str, Any], previous: dict[str, Any], facts: Facts = ON_NODE, ifname: str = "eth0"
) -> Plan:
    pod = Attachment("c0ffee0123456789", ifname, "lan", "/run/netns/pod", parse_result(previous, "1.0.0"))
    return VETH.plan(parsed(config), pod, facts)


def test_a_macvlan_pod_with_one_address() -> None:
    assert str(planned(SUBNETS, IPV4)) == (
        "host: ip link add vethc0ffee01234 address 02:54:ac:e6:89:1b mtu 1500 type veth"
        " peer name veth0 address 02:88:e8:56:e6:3d mtu 1500 netns POD"
    )
