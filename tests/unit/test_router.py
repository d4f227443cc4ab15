"""What `router` wants, as `ip` commands: a change of behaviour shows here as a diff of commands."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from tests.unit.test_veth import DUAL, IPV4, NODE4, ON_NODE, SUBNETS, SUBNETS6, ipv6_lines
from underlay.cni.errors import CniError, InvalidConfig
from underlay.cni.keys import Keys
from underlay.cni.plugin import Attachment
from underlay.cni.result import parse as parse_result
from underlay.facts import Facts, OtherNic, Remains
from underlay.objects import HOST, POD, Object, Route, Rule
from underlay.objects.link import Link
from underlay.plan import MainDefault, Plan
from underlay.plugins.router import PLUGIN as ROUTER
from underlay.plugins.router import Config

NO_SETTINGS: dict[int, tuple[int, ...]] = {4: (), 6: ()}
POD_END = Link(2, "eth0", "02:00:00:00:00:0e", 1450, True, 9, NO_SETTINGS, kind="veth")
HOST_END = Link(9, "cali5", "ee:ee:ee:ee:ee:ee", 1450, True, 2, NO_SETTINGS, kind="veth")
OVERLAY = OtherNic(POD_END, (ip_interface("10.244.1.5/32"),), HOST_END)
GATEWAY = ip_address("169.254.1.1")
CALICO = (
    Route(POD, ip_network("0.0.0.0/0"), "eth0", via=GATEWAY, proto=3),
    Route(POD, ip_network("169.254.1.1/32"), "eth0", proto=3),
)
IN_POD = replace(
    ON_NODE,
    nic=replace(ON_NODE.nic, index=3, name="net1"),
    node_addresses=(NODE4,),
    other=OVERLAY,
    pod_routes=CALICO,
)


def parsed(config: dict[str, Any]) -> Config:
    found = ROUTER.parse(Keys(config, ROUTER.aliases))
    assert isinstance(found, Config)
    return found


def planned(config: dict[str, Any], previous: dict[str, Any], facts: Facts = IN_POD) -> Plan:
    pod = Attachment("c0ffee0123456789", "net1", "lan", "/run/netns/pod", parse_result(previous, "1.0.0"))
    return ROUTER.plan(parsed(config), pod, facts)


def test_a_macvlan_nic_beside_a_calico_like_one() -> None:
    assert str(planned(SUBNETS, IPV4)).splitlines() == [
        "pod:  sysctl -w net.ipv4.conf.net1.rp_filter=2",
        "pod:  sysctl -w net.ipv4.conf.net1.arp_ignore=1",
        "pod:  sysctl -w net.ipv4.conf.eth0.rp_filter=2",
        "host: sysctl -w net.ipv4.conf.cali5.rp_filter=2",
        "host: ip neigh add 10.6.0.9 lladdr 02:00:00:00:00:0e dev cali5 nud permanent proto 201",
        "host: ip route add 10.6.0.9/32 dev cali5 scope link src 10.6.0.1 table 500 proto 201",
        "pod:  ip neigh add 10.6.0.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent proto 201",
        "pod:  ip route add 10.6.0.1/32 dev eth0 scope link proto 201",
        "pod:  ip route add 10.96.0.0/12 via 169.254.1.1 dev eth0 proto 201 onlink",
        "pod:  ip route add 10.244.0.0/16 via 169.254.1.1 dev eth0 proto 201 onlink",
        "pod:  ip route add 169.254.1.1/32 dev eth0 scope link table 100 proto 201",
        "pod:  ip route add default via 169.254.1.1 dev eth0 table 100 proto 201",
        "pod:  ip route add 10.6.0.1/32 dev eth0 scope link table 100 proto 201",
        "pod:  ip route add 10.96.0.0/12 via 169.254.1.1 dev eth0 table 100 proto 201 onlink",
        "pod:  ip route add 10.244.0.0/16 via 169.254.1.1 dev eth0 table 100 proto 201 onlink",
        "pod:  ip route add 10.6.0.0/24 dev net1 scope link table 101 proto 201",
        "pod:  ip route add default via 10.6.0.254 dev net1 table 101 proto 201",
        "pod:  ip route add 10.6.0.1/32 dev eth0 scope link table 101 proto 201",
        "pod:  ip route add 10.96.0.0/12 via 169.254.1.1 dev eth0 table 101 proto 201 onlink",
        "pod:  ip route add 10.244.0.0/16 via 169.254.1.1 dev eth0 table 101 proto 201 onlink",
        "pod:  ip rule add from 10.6.0.9 lookup 101 priority 2000 proto 201",
        "pod:  ip rule add from 10.244.1.5 lookup 100 priority 2000 proto 201",
        "host: ip rule add from all lookup 500 priority 1000 proto 201",
    ]


def test_ipv6_is_the_same() -> None:
    fe80 = ip_address("fe80::ecee:eeff:feee:eeee")
    routes = (*CALICO, Route(POD, ip_network("::/0"), "eth0", via=fe80, proto=3))
    overlay = replace(OVERLAY, addresses=(*OVERLAY.addresses, ip_interface("fd00:244::5/128")))
    facts = replace(IN_POD, node_addresses=ON_NODE.node_addresses, other=overlay, pod_routes=routes)

    assert ipv6_lines(planned(SUBNETS6, DUAL, facts)) == [
        "pod:  sysctl -w net.ipv6.conf.net1.disable_ipv6=0",
        "pod:  sysctl -w net.ipv6.conf.eth0.disable_ipv6=0",
        "host: sysctl -w net.ipv6.conf.cali5.disable_ipv6=0",
        "host: ip -6 neigh add fd00:6::9 lladdr 02:00:00:00:00:0e dev cali5 nud permanent proto 201",
        "host: ip -6 route add fd00:6::9/128 dev cali5 table 500 proto 201",
        "pod:  ip -6 neigh add fd00:6::1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent proto 201",
        "pod:  ip -6 route add fd00:6::1/128 dev eth0 proto 201",
        f"pod:  ip -6 route add fd00:96::/108 via {fe80} dev eth0 proto 201",
        f"pod:  ip -6 route add fd00:244::/56 via {fe80} dev eth0 proto 201",
        f"pod:  ip -6 route add default via {fe80} dev eth0 table 100 proto 201",
        "pod:  ip -6 route add fd00:6::1/128 dev eth0 table 100 proto 201",
        f"pod:  ip -6 route add fd00:96::/108 via {fe80} dev eth0 table 100 proto 201",
        f"pod:  ip -6 route add fd00:244::/56 via {fe80} dev eth0 table 100 proto 201",
        "pod:  ip -6 route add fd00:6::/64 dev net1 table 101 proto 201",
        "pod:  ip -6 route add fe80::/64 dev net1 table 101 proto 201",
        "pod:  ip -6 route add default via fd00:6::fe dev net1 table 101 proto 201",
        "pod:  ip -6 route add fd00:6::1/128 dev eth0 table 101 proto 201",
        f"pod:  ip -6 route add fd00:96::/108 via {fe80} dev eth0 table 101 proto 201",
        f"pod:  ip -6 route add fd00:244::/56 via {fe80} dev eth0 table 101 proto 201",
        "pod:  ip -6 rule add from fd00:6::9 lookup 101 priority 2000 proto 201",
        "pod:  ip -6 rule add from fd00:244::5 lookup 100 priority 2000 proto 201",
        "host: ip -6 rule add from all lookup 500 priority 1000 proto 201",
    ]


def test_an_sriov_nic_gets_nothing_on_the_host_and_no_way_to_the_node() -> None:
    plan = planned({**SUBNETS, "sriov": True}, IPV4)

    assert [
        line
        for line in str(plan).splitlines()
        if "host:" in line or "10.6.0.1/32" in line or "neigh" in line
    ] == []
    assert plan.node_rules == ()
    assert "pod:  ip route add 10.96.0.0/12 via 169.254.1.1 dev eth0 table 101 proto 201 onlink" in str(plan)


def test_what_the_overlay_has_in_main_already_is_not_made_again() -> None:
    flannel = (
        Route(POD, ip_network("10.244.1.0/24"), "eth0", src=ip_address("10.244.1.5"), proto=2),
        Route(POD, ip_network("10.244.0.0/16"), "eth0", via=ip_address("10.244.1.1"), proto=3),
        Route(POD, ip_network("0.0.0.0/0"), "eth0", via=ip_address("10.244.1.1"), proto=3),
    )
    plan = str(planned(SUBNETS, IPV4, replace(IN_POD, pod_routes=flannel)))

    in_main = [line for line in plan.splitlines() if "10.244.0.0/16" in line and "table" not in line]
    assert in_main == []
    assert "pod:  ip route add 10.244.0.0/16 via 10.244.1.1 dev eth0 table 100 proto 201" in plan
    assert "pod:  ip route add 10.244.0.0/16 via 10.244.1.1 dev eth0 table 101 proto 201 onlink" in plan


def test_the_claims_on_mains_default() -> None:
    plan = planned({**SUBNETS, "migrate_route": 1, "default_route_nic": "eth0"}, IPV4)

    assert plan.defaults == (
        MainDefault("net1", 1, takes_over=True, prefers="eth0"),
        MainDefault("eth0", 0),
    )


def test_a_setting_of_a_link_that_is_not_ours_remembers_what_it_found() -> None:
    strict = replace(HOST_END, settings={4: (0,) * 7 + (1,), 6: ()})
    plan = planned(SUBNETS, IPV4, replace(IN_POD, other=replace(OVERLAY, host_end=strict)))

    (setting,) = (obj for obj in plan.present if "cali5.rp_filter" in str(obj))
    assert getattr(setting, "was", None) == 1


@pytest.mark.parametrize(
    ("config", "facts", "message"),
    [
        ({"overlay_interface": "net1"}, IN_POD, 'overlay_interface: "net1" is the NIC of this call itself'),
        ({}, replace(IN_POD, other=None), 'overlay_interface: there is no "eth0" in the pod'),
        (
            {},
            replace(IN_POD, other=replace(OVERLAY, link=replace(POD_END, kind="macvlan"), host_end=None)),
            'overlay_interface: "eth0" (macvlan) has no end on this node',
        ),
        (
            {},
            replace(IN_POD, pod_routes=(*CALICO, replace(CALICO[0], table=100))),
            "table 100 of the pod has a route that is not ours",
        ),
    ],
)
def test_an_overlay_that_does_not_fit_is_refused(config: dict[str, Any], facts: Facts, message: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        planned({**SUBNETS, **config}, IPV4, facts)

    assert refused.value.msg.startswith(message)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**SUBNETS, "overlay_interface": 1}, "overlay_interface: 1 is not a string"),
        ({**SUBNETS, "sriov": "yes"}, 'sriov: "yes" is not true or false'),
    ],
)
def test_bad_values_are_named_with_their_keys(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CniError) as refused:
        parsed(config)

    assert (refused.value.code, refused.value.msg[: len(message)]) == (7, message)


def test_the_traces_of_a_nic_without_a_record_are_only_behind_this_pods_overlay() -> None:
    source = ip_network("10.6.0.9/32")
    ours: frozenset[Object] = frozenset(
        [
            Rule(POD, 4, 101, 2000, src=source),
            Rule(POD, 4, 100, 2000, src=ip_network("10.244.1.5/32")),
            Route(POD, ip_network("10.6.0.0/24"), "net1", table=101),
        ]
    )
    pod = Attachment("c0ffee", "net1", "lan", "/run/netns/pod")

    plan = ROUTER.traces(parsed(SUBNETS), pod, Remains(ours, OVERLAY))
    blind = ROUTER.traces(None, pod, Remains(frozenset(), None))

    assert [str(obj) for obj in plan.present] == [
        "host: ip neigh add 10.6.0.9 lladdr 02:00:00:00:00:0e dev cali5 nud permanent proto 201",
        "host: ip route add 10.6.0.9/32 dev cali5 scope link table 500 proto 201",
        "pod:  ip route add 10.6.0.0/24 dev net1 scope link table 101 proto 201",
        "pod:  ip rule add from 10.6.0.9 lookup 101 priority 2000 proto 201",
    ]
    assert blind.present == ()
    assert {rule.ns for rule in blind.node_rules} == {HOST}
