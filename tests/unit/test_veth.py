"""What `veth` wants, as `ip` commands: a change of behaviour shows here as a diff of commands."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from underlay.cni.errors import InvalidConfig
from underlay.cni.keys import Keys
from underlay.cni.plugin import Attachment
from underlay.cni.result import parse as parse_result
from underlay.facts import Facts
from underlay.objects import HOST, POD, Route
from underlay.objects.link import Link
from underlay.plan import MainDefault, Plan
from underlay.plugins.nic import table_of
from underlay.plugins.veth import PLUGIN as VETH
from underlay.plugins.veth import Config

NIC = Link(
    index=2,
    name="eth0",
    mac="0a:00:00:00:00:09",
    mtu=1500,
    up=True,
    peer=3,
    peer_netns=0,
    kind="macvlan",
    tx_queue_len=1000,
    settings={4: (), 6: ()},
)
NODE4, NODE6, DOCKER = ip_address("10.6.0.1"), ip_address("fd00:6::1"), ip_address("172.17.0.1")
POD4, POD6 = ip_address("10.6.0.9"), ip_address("fd00:6::9")
HV, HOST_MAC, POD_MAC = "vethc0ffee01234", "02:2e:6e:0c:79:58", "02:29:69:d5:f7:47"
LINK_LOCAL = "fe80::2e:6eff:fe0c:7958"  # what the MAC of the host end makes
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
    assert str(planned(SUBNETS, IPV4)).splitlines() == [
        f"host: ip link add {HV} address {HOST_MAC} mtu 1500 type veth"
        f" peer name veth0 address {POD_MAC} mtu 1500 netns POD",
        f"host: ip link set dev {HV} up",
        f"host: sysctl -w net.ipv4.conf.{HV}.rp_filter=2",
        f"host: ip neigh add 10.6.0.9 lladdr {POD_MAC} dev {HV} nud permanent proto 201",
        f"host: ip route add 10.6.0.9/32 dev {HV} scope link src 10.6.0.1 table 500 proto 201",
        "pod:  ip link set dev veth0 up",
        "pod:  sysctl -w net.ipv4.conf.veth0.rp_filter=2",
        "pod:  sysctl -w net.ipv4.conf.eth0.rp_filter=2",
        "pod:  sysctl -w net.ipv4.conf.eth0.arp_ignore=1",
        f"pod:  ip neigh add 10.6.0.1 lladdr {HOST_MAC} dev veth0 nud permanent proto 201",
        f"pod:  ip neigh add 172.17.0.1 lladdr {HOST_MAC} dev veth0 nud permanent proto 201",
        "pod:  ip route add 10.6.0.1/32 dev veth0 scope link proto 201",
        "pod:  ip route add 172.17.0.1/32 dev veth0 scope link proto 201",
        "pod:  ip route add 10.96.0.0/12 via 10.6.0.1 dev veth0 proto 201 onlink",
        "pod:  ip route add 10.244.0.0/16 via 10.6.0.1 dev veth0 proto 201 onlink",
        "pod:  ip route add 10.6.0.0/24 dev eth0 scope link table 100 proto 201",
        "pod:  ip route add default via 10.6.0.254 dev eth0 table 100 proto 201",
        "pod:  ip route add 10.6.0.1/32 dev veth0 scope link table 100 proto 201",
        "pod:  ip route add 172.17.0.1/32 dev veth0 scope link table 100 proto 201",
        "pod:  ip route add 10.96.0.0/12 via 10.6.0.1 dev veth0 table 100 proto 201 onlink",
        "pod:  ip route add 10.244.0.0/16 via 10.6.0.1 dev veth0 table 100 proto 201 onlink",
        "pod:  ip rule add from 10.6.0.9 lookup 100 priority 2000 proto 201",
        "host: ip rule add from all lookup 500 priority 1000 proto 201",
    ]


def ipv6_lines(plan: Plan) -> list[str]:
    return [line for line in str(plan).splitlines() if "ip -6" in line or "ipv6" in line]


def test_what_ipv6_adds() -> None:
    assert ipv6_lines(planned(SUBNETS6, DUAL)) == [
        f"host: sysctl -w net.ipv6.conf.{HV}.disable_ipv6=0",
        f"host: ip -6 neigh add fd00:6::9 lladdr {POD_MAC} dev {HV} nud permanent proto 201",
        f"host: ip -6 route add fd00:6::9/128 dev {HV} table 500 proto 201",
        "pod:  sysctl -w net.ipv6.conf.veth0.disable_ipv6=0",
        "pod:  sysctl -w net.ipv6.conf.eth0.disable_ipv6=0",
        f"pod:  ip -6 neigh add fd00:6::1 lladdr {HOST_MAC} dev veth0 nud permanent proto 201",
        "pod:  ip -6 route add fd00:6::1/128 dev veth0 proto 201",
        "pod:  ip -6 route add fd00:96::/108 via fd00:6::1 dev veth0 proto 201 onlink",
        "pod:  ip -6 route add fd00:244::/56 via fd00:6::1 dev veth0 proto 201 onlink",
        "pod:  ip -6 route add fd00:6::/64 dev eth0 table 100 proto 201",
        "pod:  ip -6 route add fe80::/64 dev eth0 table 100 proto 201",
        "pod:  ip -6 route add default via fd00:6::fe dev eth0 table 100 proto 201",
        "pod:  ip -6 route add fd00:6::1/128 dev veth0 table 100 proto 201",
        "pod:  ip -6 route add fd00:96::/108 via fd00:6::1 dev veth0 table 100 proto 201 onlink",
        "pod:  ip -6 route add fd00:244::/56 via fd00:6::1 dev veth0 table 100 proto 201 onlink",
        "pod:  ip -6 rule add from fd00:6::9 lookup 100 priority 2000 proto 201",
        "host: ip -6 rule add from all lookup 500 priority 1000 proto 201",
    ]


def test_a_node_without_a_global_ipv6_address_is_the_gateway_by_its_link_local_one() -> None:
    node = replace(ON_NODE, node_addresses=(NODE4,), node_sources={POD4: NODE4})

    assert [line for line in ipv6_lines(planned(SUBNETS6, DUAL, node)) if "fe80::2e" in line] == [
        f"pod:  ip -6 neigh add {LINK_LOCAL} lladdr {HOST_MAC} dev veth0 nud permanent proto 201",
        f"pod:  ip -6 route add fd00:96::/108 via {LINK_LOCAL} dev veth0 proto 201",
        f"pod:  ip -6 route add fd00:244::/56 via {LINK_LOCAL} dev veth0 proto 201",
        f"pod:  ip -6 route add fd00:96::/108 via {LINK_LOCAL} dev veth0 table 100 proto 201",
        f"pod:  ip -6 route add fd00:244::/56 via {LINK_LOCAL} dev veth0 table 100 proto 201",
    ]


def test_a_further_nic_reuses_the_pair_and_has_a_table_of_its_own() -> None:
    first = planned(SUBNETS, IPV4)
    second = planned(
        {**SUBNETS, "veth_mtu": 1300},
        {"ips": [{"address": "10.7.0.9/24", "gateway": "10.7.0.254"}]},
        replace(ON_NODE, siblings=(first,)),
        "net1",
    )

    assert second.present[0] == first.present[0]
    assert second.reported == ()
    assert second.defaults == (MainDefault("net1", -1),)
    assert "pod:  ip route add default via 10.7.0.254 dev net1 table 101 proto 201" in str(second)
    assert "pod:  ip rule add from 10.7.0.9 lookup 101 priority 2000 proto 201" in str(second)


ANY = {"dst": "0.0.0.0/0"}


@pytest.mark.parametrize(
    ("previous", "expected"),
    [
        pytest.param(
            {"routes": [{"dst": "0.0.0.0/0", "gw": "10.6.0.253"}]}, "via 10.6.0.253 dev eth0", id="listed"
        ),
        pytest.param({"routes": [{"dst": "0.0.0.0/0"}]}, "via 10.6.0.254 dev eth0", id="listed without gw"),
        pytest.param({}, "via 10.6.0.254 dev eth0", id="announced and not used"),
        pytest.param(
            {"ips": [{"address": "10.6.0.9/24"}], "routes": [{"dst": "0.0.0.0/0"}]}, "dev eth0", id="link"
        ),
        pytest.param({"ips": [{"address": "10.6.0.9/24"}]}, None, id="none"),
        pytest.param(
            {"ips": [{"address": "10.6.0.9/32", "gateway": "169.254.1.1"}]},
            "via 169.254.1.1 dev eth0",
            id="a gateway off the link",
        ),
    ],
)
def test_the_default_of_a_nic(previous: dict[str, Any], expected: str | None) -> None:
    defaults = [
        line
        for line in str(planned(SUBNETS, IPV4 | {"routes": []} | previous)).splitlines()
        if "default" in line
    ]

    onlink = " onlink" if expected and "169.254" in expected else ""
    scope = " scope link" if expected == "dev eth0" else ""
    assert defaults == (
        [f"pod:  ip route add default {expected}{scope} table 100 proto 201{onlink}"] if expected else []
    )


def test_a_default_from_a_router_advertisement_is_the_nics_own() -> None:
    learnt = Route(POD, ip_network("::/0"), "eth0", via=ip_address("fe80::1"), proto=9)
    slaac = replace(ON_NODE, nic_addresses=(ip_interface("2001:db8::9/64"),), pod_routes=(learnt,))

    plan = str(planned(SUBNETS6, IPV4, slaac))

    assert "pod:  ip -6 route add default via fe80::1 dev eth0 table 100 proto 201" in plan
    assert "pod:  ip -6 rule add from 2001:db8::9 lookup 100 priority 2000 proto 201" in plan


def test_further_routes_of_the_result_are_copied_to_the_nics_table() -> None:
    routes = [
        {"dst": "192.0.2.0/24", "gw": "10.6.0.7", "mtu": 1400, "priority": 50},
        {"dst": "198.51.100.0/24"},
        {"dst": "203.0.113.0/24", "gw": "10.6.0.8", "table": 77},
        {"dst": "10.6.0.0/24"},
    ]
    plan = str(planned(SUBNETS, IPV4 | {"routes": routes}))

    assert "ip route add 192.0.2.0/24 via 10.6.0.7 dev eth0 metric 50 table 100 mtu 1400 proto 201" in plan
    assert "ip route add 198.51.100.0/24 via 10.6.0.254 dev eth0 table 100 proto 201" in plan
    assert "203.0.113.0/24" not in plan
    assert plan.count("10.6.0.0/24") == 1


def test_a_subnet_of_a_family_that_the_pod_lacks_is_left_out_and_said() -> None:
    plan = planned(SUBNETS6, IPV4)

    assert ipv6_lines(plan) == []
    assert plan.notes == (
        "service_hijack_subnet: fd00:96::/108 left out, eth0 has no IPv6 address",
        "overlay_hijack_subnet: fd00:244::/56 left out, eth0 has no IPv6 address",
    )


def test_a_subnet_of_a_family_that_the_node_lacks_is_left_out_and_said() -> None:
    node = replace(ON_NODE, node_addresses=(NODE6,), node_sources={POD6: NODE6})
    plan = planned(SUBNETS, DUAL, node)

    assert "10.96.0.0/12" not in str(plan)
    assert plan.notes[0] == "service_hijack_subnet: 10.96.0.0/12 left out, the node has no IPv4 address"


def test_a_nic_without_an_address_has_nothing_to_route() -> None:
    plan = planned(SUBNETS, {})

    assert plan == Plan((), notes=("eth0 has no address: there is nothing to route",))


def test_a_value_that_all_outranks_is_said() -> None:
    strict = replace(ON_NODE, rp_filter_of_all={HOST: 1, POD: 1})
    plan = planned({**SUBNETS, "rp_filter": {"value": 0}}, IPV4, strict)

    assert plan.notes == (
        "rp_filter: 0 on veth0 has no effect: conf.all is 1 on the pod",
        f"rp_filter: 0 on {HV} has no effect: conf.all is 1 on the host",
    )


def test_the_host_end_is_left_alone_without_set_host() -> None:
    plan = str(planned({**SUBNETS, "rp_filter": {"set_host": False}}, IPV4))

    assert "sysctl -w net.ipv4.conf.veth0.rp_filter=2" in plan
    assert "vethc0ffee01234.rp_filter" not in plan


def test_node_local_dns_may_be_a_bare_address_even_one_of_the_node() -> None:
    config = {**SUBNETS, "additional_hijack_subnet": ["169.254.25.10", "172.17.0.1"]}
    plan = str(planned(config, IPV4))

    assert "ip route add 169.254.25.10/32 via 10.6.0.1 dev veth0 proto 201 onlink" in plan
    assert plan.count("172.17.0.1/32") == 2  # in main and in table 100, as an address of the node


@pytest.mark.parametrize(
    ("config", "previous", "message"),
    [
        (
            {"overlay_hijack_subnet": ["10.6.0.0/24"]},
            IPV4,
            'overlay_hijack_subnet: "10.6.0.0/24" is the subnet of eth0 itself',
        ),
        (
            {"overlay_hijack_subnet": ["0.0.0.0/0"]},
            IPV4,
            'overlay_hijack_subnet: "0.0.0.0/0" is the default route of eth0 itself',
        ),
        (
            {"overlay_hijack_subnet": ["192.0.2.0/24"]},
            IPV4 | {"routes": [{"dst": "192.0.2.0/24"}]},
            'overlay_hijack_subnet: "192.0.2.0/24" is the route of eth0 itself',
        ),
    ],
)
def test_a_subnet_that_is_the_nics_own_is_refused(
    config: dict[str, Any], previous: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidConfig) as refused:
        planned({**SUBNETS, **config}, previous)

    assert refused.value.msg == message


def test_a_table_that_somebody_else_uses_is_refused_by_number() -> None:
    theirs = Route(POD, ip_network("10.6.0.0/24"), "eth0", table=100, proto=3)

    with pytest.raises(InvalidConfig, match="table 100 of the pod has a route that is not ours") as refused:
        planned(SUBNETS, IPV4, replace(ON_NODE, pod_routes=(theirs,)))

    assert "sbr" in refused.value.details


def test_an_address_of_the_node_is_refused() -> None:
    with pytest.raises(InvalidConfig, match=r"the address 10\.6\.0\.9 of eth0 is the node's own"):
        planned(SUBNETS, IPV4, replace(ON_NODE, node_addresses=(NODE4, POD4)))


def test_an_address_of_another_nic_of_the_pod_is_refused() -> None:
    siblings = (planned(SUBNETS, IPV4),)

    with pytest.raises(InvalidConfig, match=r"of net1 is that of another NIC of the pod already"):
        planned(SUBNETS, IPV4, replace(ON_NODE, siblings=siblings), "net1")


@pytest.mark.parametrize(
    ("dev", "index", "table"),
    [
        ("eth0", 2, 100),
        ("net1", 3, 101),
        ("net99", 3, 199),
        ("net100", 7, 1007),
        ("lan0", 4, 1004),
        ("net0", 5, 1005),
    ],
)
def test_tables_by_the_name_of_the_nic(dev: str, index: int, table: int) -> None:
    assert table_of(dev, index) == table


def test_a_mac_prefix_makes_the_mac_from_the_address() -> None:
    plan = planned({**SUBNETS, "mac_prefix": "0a:1b"}, IPV4)

    assert str(plan).splitlines()[0] == "pod:  ip link set dev eth0 address 0a:1b:0a:06:00:09"
    assert plan.reported == plan.present[:2]
    only6 = {"ips": [{"address": "fd00:6::9/64"}]}
    assert "eth0 address 0a:1b:00:00:00:09" in str(planned({**SUBNETS6, "mac_prefix": "0a:1b"}, only6))


def test_only_op_mac_does_that_and_nothing_else() -> None:
    plan = planned({"only_op_mac": True, "mac_prefix": "0a:1b"}, DUAL)

    assert str(plan) == "pod:  ip link set dev eth0 address 0a:1b:0a:06:00:09"
    assert (plan.node_rules, plan.defaults, plan.reported) == ((), (), plan.present)


def test_policy_routes_are_in_main_and_in_the_nics_table() -> None:
    routes = [{"dst": "192.0.2.0/24", "gw": "10.6.0.7"}, {"dst": "198.51.100.0/24"}]
    plan = str(planned({**SUBNETS, "policy_routes": routes}, IPV4))

    for table in ("", " table 100"):
        assert f"pod:  ip route add 192.0.2.0/24 via 10.6.0.7 dev eth0{table} proto 201" in plan
        assert f"pod:  ip route add 198.51.100.0/24 dev eth0 scope link{table} proto 201" in plan


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (
            {"dst": "fd00:9::/64"},
            'policy_routes[0].dst: "fd00:9::/64" is IPv6, of which eth0 has no address',
        ),
        ({"dst": "10.6.0.0/24"}, 'policy_routes[0].dst: "10.6.0.0/24" is the subnet of eth0 itself'),
        (
            {"dst": "0.0.0.0/0"},
            'policy_routes[0].dst: "0.0.0.0/0" is a default route;'
            " which NIC's is in the main table says default_route_nic",
        ),
        ({"dst": "10.96.0.0/12"}, 'service_hijack_subnet: "10.96.0.0/12" is the route of eth0 itself'),
    ],
)
def test_a_policy_route_that_cannot_be_is_refused(route: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        planned({**SUBNETS, "policy_routes": [route]}, IPV4)

    assert refused.value.msg == message


def test_the_length_of_the_transmit_queue() -> None:
    assert "pod:  ip link set dev eth0 txqueuelen 250" in str(
        planned({**SUBNETS, "tx_queue_len": 250}, IPV4)
    )


def test_the_preferred_nic_is_named_to_those_who_settle_it() -> None:
    plan = planned({**SUBNETS, "default_route_nic": "net1"}, IPV4)

    assert plan.defaults == (MainDefault("eth0", -1, prefers="net1"),)
