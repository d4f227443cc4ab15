"""What `vxlan` wants, as `ip` commands: a change of behaviour shows here as a diff of commands."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from underlay.cni.call import Call
from underlay.cni.errors import CniError, InvalidConfig
from underlay.cni.keys import Keys
from underlay.cni.plugin import Attachment, Delegated, Joining, Membership, Wanted
from underlay.cni.result import IpConfig, Result, ResultRoute, render
from underlay.facts import Underlay, VxlanLink
from underlay.objects import Macvlan, Vxlan
from underlay.objects.link import Link
from underlay.plugins.vxlan import PLUGIN as VXLAN

ETH0 = Link(
    index=2,
    name="eth0",
    mac="0a:00:00:00:00:01",
    mtu=1500,
    up=True,
    peer=0,
    settings={4: (0,), 6: (0,)},
)
LAN = Underlay(ETH0, (ip_interface("192.168.50.11/24"), ip_interface("fd50::11/64")))
WITHOUT_IPV6 = Underlay(replace(ETH0, settings={4: (0,), 6: ()}), LAN.addresses[:1])
CIDRS = ["10.66.0.0/24", "fd00:66::/64"]
PEERS = ["192.168.50.11", "192.168.50.12"]
GATEWAYS = ip_interface("10.66.0.7/24"), ip_interface("fd00:66::7/64")
POD = Attachment("c0ffee0123456789", "eth0", "vx", "/run/netns/pod")
GIVEN = Result(ips=tuple(IpConfig(ip_interface(text)) for text in ("10.66.0.9/24", "fd00:66::9/64")))


def joining(
    ipam: dict[str, Any] | None = None, args: dict[str, str] | None = None, **network: Any
) -> Joining:
    """A pod's way into `blue`, defined by these keys beside the usual ones; None leaves one out."""
    every = {"name": "blue", "id": 5001, "cidr": CIDRS, "peers": PEERS, **network}
    blue = {key: value for key, value in every.items() if value is not None}
    config = {"vxlans": [blue], "defaultNetwork": blue["name"], "ipam": ipam or {"type": "routetable"}}
    parsed = VXLAN.parse(Keys(config, VXLAN.aliases))
    assert parsed
    return VXLAN.choose(parsed, Call("ADD", config=config, args=args or {}), {})


def commands(plan: Any) -> list[str]:
    return [str(obj) for obj in plan.present]


def test_a_node_that_joins_by_unicast() -> None:
    plan = joining().node(LAN, GATEWAYS)
    vx, mv = (obj.mac for obj in plan.present if isinstance(obj, Vxlan | Macvlan))

    assert commands(plan) == [
        f"host: ip link add vx_blue address {vx} mtu 1450 type vxlan id 5001 dstport 4789 local {PEERS[0]}",
        "host: sysctl -w net.ipv4.conf.vx_blue.arp_ignore=8",
        "host: sysctl -w net.ipv6.conf.vx_blue.addr_gen_mode=1",
        "host: bridge fdb append 00:00:00:00:00:00 dev vx_blue dst 192.168.50.12 self permanent",
        "host: ip link set dev vx_blue up",
        f"host: ip link add mv_blue link vx_blue address {mv} mtu 1450 type macvlan mode bridge",
        "host: sysctl -w net.ipv4.conf.mv_blue.rp_filter=2",
        "host: sysctl -w net.ipv4.conf.mv_blue.forwarding=1",
        "host: sysctl -w net.ipv4.conf.mv_blue.send_redirects=0",
        "host: sysctl -w net.ipv4.conf.mv_blue.arp_notify=1",
        "host: sysctl -w net.ipv6.conf.mv_blue.disable_ipv6=0",
        "host: ip link set dev mv_blue up",
        "host: ip addr add 10.66.0.7/24 dev mv_blue",
        "host: ip -6 addr add fd00:66::7/64 dev mv_blue nodad",
        "host: ip route add 10.66.0.0/24 dev mv_blue scope link table 1000005001 proto 201",
        "host: ip -6 route add fd00:66::/64 dev mv_blue table 1000005001 proto 201",
        "host: ip rule add from 10.66.0.0/24 to 10.66.0.0/24 lookup 1000005001 priority 1500 proto 201",
        "host: ip -6 rule add from fd00:66::/64 to fd00:66::/64 lookup 1000005001 priority 1500 proto 201",
    ]


def test_a_node_that_joins_a_multicast_group_is_bound_to_the_link_of_its_default_route() -> None:
    vxlan = joining(peers=None, options={"group": "239.1.1.1"}).node(LAN, ()).present[0]

    assert isinstance(vxlan, Vxlan)
    assert (vxlan.underlay, vxlan.group, vxlan.local) == ("eth0", ip_address("239.1.1.1"), None)


def test_with_anycast_every_node_has_one_address_and_mac_and_no_bypass() -> None:
    here = joining(gateway="anycast")
    there = Underlay(replace(ETH0, mac="0a:00:00:00:00:02"), (ip_interface("192.168.50.12/24"),))
    gateways = here.gateways
    assert gateways == (ip_interface("10.66.0.1/24"), ip_interface("fd00:66::1/64"))

    plans = [here.node(underlay, gateways) for underlay in (LAN, there)]
    vxlans, links = zip(
        *([o for o in p.present if isinstance(o, Vxlan | Macvlan)] for p in plans), strict=True
    )

    assert links[0].mac == links[1].mac
    assert vxlans[0].mac != vxlans[1].mac
    assert f"host: bridge fdb add {links[0].mac} dev vx_blue dst 192.168.50.11 self permanent" in commands(
        plans[0]
    )
    assert not [line for line in commands(plans[0]) if "rule" in line or "table" in line]


def test_the_shared_gateway_is_given_to_no_pod() -> None:
    ipam = joining(gateway="anycast", cidr="10.66.0.0/30").ipam

    assert isinstance(ipam, Wanted)
    assert ipam.wishes[0].ranges[0].size == 1


def test_a_node_whose_kernel_has_no_ipv6_joins_a_network_of_ipv4() -> None:
    plan = joining(cidr="10.66.0.0/24").node(WITHOUT_IPV6, GATEWAYS[:1])

    assert not [line for line in commands(plan) if "ipv6" in line]


def test_the_nic_of_a_pod() -> None:
    here = joining(routes=[{"dst": "10.99.0.0/16"}])
    member = Membership(GATEWAYS, here.node(LAN, GATEWAYS))

    plan, result = here.nic(POD, GIVEN, member)

    assert commands(plan) == [
        "host: ip link add eth0 netns POD link vx_blue address 02:c4:93:4e:e0:34 mtu 1450"
        " type macvlan mode bridge",
        "pod:  sysctl -w net.ipv6.conf.eth0.disable_ipv6=0",
        "pod:  ip addr add 10.66.0.9/24 dev eth0",
        "pod:  ip -6 addr add fd00:66::9/64 dev eth0 nodad",
        "pod:  ip link set dev eth0 up",
        "pod:  ip route add 10.99.0.0/16 via 10.66.0.7 dev eth0 proto 4",
        "pod:  ip route add default via 10.66.0.7 dev eth0 proto 4",
        "pod:  ip -6 route add default via fd00:66::7 dev eth0 proto 4",
    ]
    assert render(result, "1.1.0")["ips"] == [
        {"address": "10.66.0.9/24", "gateway": "10.66.0.7", "interface": 1},
        {"address": "fd00:66::9/64", "gateway": "fd00:66::7", "interface": 1},
    ]


def test_a_default_of_the_ipam_takes_the_place_of_the_networks() -> None:
    here = joining()
    given = replace(GIVEN, routes=(ResultRoute(ip_network("0.0.0.0/0"), ip_address("10.66.0.99")),))

    plan, _ = here.nic(POD, given, Membership(GATEWAYS, here.node(LAN, GATEWAYS)))

    assert [line for line in commands(plan) if "default" in line] == [
        "pod:  ip route add default via 10.66.0.99 dev eth0 proto 4",
        "pod:  ip -6 route add default via fd00:66::7 dev eth0 proto 4",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Result(), "the IPAM plugin host-local gave no address"),
        (
            Result(ips=(IpConfig(ip_interface("10.77.0.9/24")),)),
            "the IPAM plugin host-local gave 10.77.0.9/24,"
            " which is not in vxlans[0].cidr (10.66.0.0/24, fd00:66::/64)",
        ),
    ],
)
def test_addresses_of_an_ipam_that_knows_nothing_of_the_network_are_refused(
    given: Result, message: str
) -> None:
    here = joining({"type": "host-local"})

    with pytest.raises(InvalidConfig) as refused:
        here.nic(POD, given, Membership(GATEWAYS, here.node(LAN, GATEWAYS)))
    assert refused.value.msg == message


def test_another_ipam_reads_the_whole_configuration_and_what_was_asked_for() -> None:
    here = joining({"type": "host-local"}, {"IP": "10.66.0.9", "K8S_POD_NAME": "web"})
    ipam, of_node = here.ipam, here.ipam_of_node

    assert isinstance(ipam, Delegated)
    assert isinstance(of_node, Delegated)
    assert ipam.config["ipam"] == {"type": "host-local"}
    assert ipam.config["runtimeConfig"] == {"ips": ["10.66.0.9/24"]}
    assert ipam.args == "IP=10.66.0.9;K8S_POD_NAME=web"
    assert "runtimeConfig" not in of_node.config
    assert of_node.args == ""


def test_the_node_asks_for_the_address_that_the_configuration_names() -> None:
    of_node = joining(cidr=["10.66.0.1/24", "fd00:66::/64"]).ipam_of_node

    assert isinstance(of_node, Wanted)
    assert [wish.requested for wish in of_node.wishes] == [ip_address("10.66.0.1"), None]


@pytest.mark.parametrize(
    ("gateways", "is_accepted"),
    [
        (GATEWAYS, True),
        (GATEWAYS[:1], False),
        ((ip_interface("10.67.0.7/24"), GATEWAYS[1]), False),
    ],
)
def test_an_address_that_the_node_has_already_is_kept_while_it_fits(
    gateways: tuple[Any, ...], is_accepted: bool
) -> None:
    assert joining().accepts(gateways) is is_accepted


@pytest.mark.parametrize(
    ("network", "underlay", "message"),
    [
        (
            {"mtu": 1451},
            LAN,
            "vxlans[0].mtu: 1451 is more than eth0 carries: its MTU is 1500, less 50 for VXLAN",
        ),
        (
            {},
            replace(LAN, link=replace(ETH0, mtu=1320)),
            "vxlans[0].options.vtepdev: eth0 has an MTU of 1320,"
            " which leaves 1270 for the network; it needs 1280",
        ),
        (
            {"peers": ["fd50::12"]},
            replace(LAN, addresses=LAN.addresses[:1]),
            "vxlans[0].peers: eth0 has no IPv6 address to send from",
        ),
    ],
)
def test_what_the_underlay_can_not_carry_is_refused(
    network: dict[str, Any], underlay: Underlay, message: str
) -> None:
    with pytest.raises(CniError) as refused:
        joining(**network).node(underlay, ())
    assert refused.value.msg == message


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            VxlanLink("flannel.1", 5001, 4789),
            "vxlans[0].id: 5001 with port 4789 is that of flannel.1",
        ),
        (
            VxlanLink("vx_blue", 5001, 8472),
            "vxlans[0].options.port: 4789, but vx_blue is there already with 8472",
        ),
    ],
)
def test_another_device_in_the_way_is_named(other: VxlanLink, message: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        joining().refuse_clash([VxlanLink("vx_green", 5002, 4789), other])
    assert refused.value.msg == message


def test_a_network_that_names_no_port_says_so_in_the_log() -> None:
    assert "UDP port 4789" in joining().node(LAN, ()).notes[0]
    assert not joining(options={"port": 8472}).node(LAN, ()).notes


def test_a_long_name_is_in_the_alias_of_its_links() -> None:
    lines = commands(joining(name="a-namespace-with-a-long-name").node(LAN, ()))

    assert len([line for line in lines if line.endswith("alias a-namespace-with-a-long-name")]) == 2


def test_the_node_does_not_draw_what_the_pod_asks_for() -> None:
    of_node = joining(cidr="10.66.0.0/30", args={"IP": "10.66.0.2"}).ipam_of_node

    assert isinstance(of_node, Wanted)
    assert ip_address("10.66.0.2") not in of_node.wishes[0].ranges[0]
    assert of_node.wishes[0].ranges[0].size == 1
