"""The configuration of `vxlan`: what it means, and what is refused with which words."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from underlay.cni.errors import CniError, InvalidConfig
from underlay.cni.keys import Keys
from underlay.cni.probing import Patience
from underlay.cni.result import ResultRoute
from underlay.plugins.vxlan_config import ALIASES, Config, Subnet, VxlanNetwork, parse
from underlay.plugins.vxlan_options import OPTIONS, Device
from underlay.ranges import Range

PEERS = ["192.168.50.11", "192.168.50.12"]
BLUE = {"name": "blue", "id": 5001, "cidr": "10.66.0.0/24", "peers": PEERS}
GREEN = {"name": "green", "id": 5002, "cidr": "10.67.0.0/24", "peers": PEERS}
LEGACY = {  # for vxlan-cni: every option is a string
    "type": "vxlan-cni",
    "defaultNetwork": "public",
    "k8sNetworkFromNamespace": True,
    "k8sReadAnnotations": True,
    "k8sConfigPath": "/etc/kubernetes/kubelet.conf",
    "ipam": {"type": "routetable-ipam"},
    "vxlans": [
        {
            "name": "public",
            "id": 10,
            "cidr": "10.1.0.0/24",
            "excludeFirst": 20,
            "excludeLast": 5,
            "mtu": 1450,
            "options": {"vtepdev": "eth0", "group": "239.1.1.10", "ttl": "8", "learning": "true"},
        }
    ],
}


def parsed(**config: Any) -> Config:
    return parse(Keys(config, ALIASES))


def network_of(**keys: Any) -> VxlanNetwork:
    """The one network of a configuration, where it differs from `blue`."""
    return parsed(vxlans=[BLUE | keys]).networks[0]


def device_of(**options: Any) -> Device:
    return network_of(options=options).device


def complaint(**config: Any) -> str:
    with pytest.raises(InvalidConfig) as caught:
        parsed(**config)
    return caught.value.msg


def complaint_of(**keys: Any) -> str:
    return complaint(vxlans=[BLUE | keys])


def test_the_smallest_configuration_has_the_documented_defaults() -> None:
    assert parsed(vxlans=[BLUE]) == Config(
        networks=(
            VxlanNetwork(
                name="blue",
                where="vxlans[0]",
                device=Device(
                    vni=5001,
                    port=4789,
                    underlay="",
                    local=None,
                    group=None,
                    peers=(ip_address("192.168.50.11"), ip_address("192.168.50.12")),
                    ttl=0,
                    tos=0,
                    learning=True,
                    ageing=300,
                    is_port_given=False,
                ),
                subnets=(Subnet(ip_network("10.66.0.0/24"), None),),
                exclude_first=0,
                exclude_last=0,
                gateway="per-node",
                bypass=True,
                routes=(),
                default_route=True,
                ipam={"type": "routetable"},
            ),
        ),
        default_network="",
        from_namespace=False,
        reads_annotations=False,
        kubeconfig="",
        ip_conflict=None,
    )


def test_a_configuration_of_vxlan_cni_means_what_it_meant() -> None:
    config = parsed(**LEGACY)
    (public,) = config.networks

    assert (config.default_network, config.from_namespace, config.reads_annotations, config.kubeconfig) == (
        "public",
        True,
        True,
        "/etc/kubernetes/kubelet.conf",
    )
    assert (public.exclude_first, public.exclude_last, public.ipam) == (20, 5, {"type": "routetable-ipam"})
    assert public.device == Device(
        vni=10, underlay="eth0", group=ip_address("239.1.1.10"), ttl=8, learning=True, mtu=1450
    )


OPTION_VALUES: list[tuple[str, Any, dict[str, Any]]] = [
    ("vtepdev", "eth1", {"underlay": "eth1"}),
    ("vtepdev", "", {}),
    ("srcaddr", "192.168.50.11", {"local": ip_address("192.168.50.11")}),
    ("port", "8472", {"port": 8472, "is_port_given": True}),
    ("port", 4789, {"port": 4789, "is_port_given": True}),
    ("port", "", {}),
    ("ttl", "64", {"ttl": 64}),
    ("ttl", 0, {}),
    ("tos", "1", {"tos": 1}),
    ("learning", "false", {"learning": False}),
    ("learning", False, {"learning": False}),
    ("proxy", "true", {"proxy": True}),
    ("rsc", True, {"rsc": True}),
    ("l2miss", "1", {"l2miss": True}),
    ("l3miss", 1, {"l3miss": True}),
    ("gbp", "T", {"gbp": True}),
    ("gbp", "F", {}),
    ("noage", "true", {"ageing": 0}),
    ("noage", "false", {}),
    ("age", "600", {"ageing": 600}),
    ("limit", "1000", {"limit": 1000}),
    ("limit", "0", {}),
    ("vxlanhardwareaddr", "02:00:00:00:00:0A", {"mac": "02:00:00:00:00:0a"}),
    ("vxlanhardwareaddr", "02-00-00-00-00-0a", {"mac": "02:00:00:00:00:0a"}),
    ("vxlanhardwareaddr", "0200.0000.000a", {"mac": "02:00:00:00:00:0a"}),
    ("vxlanhardwareaddr", "02000000000a", {"mac": "02:00:00:00:00:0a"}),
    ("vxlantxqlen", "500", {"tx_queue_len": 500}),
    ("dev", "eth1", {"underlay": "eth1"}),
    ("local", "192.168.50.11", {"local": ip_address("192.168.50.11")}),
    ("dstport", 8472, {"port": 8472, "is_port_given": True}),
    ("ageing", 60, {"ageing": 60}),
    ("maxaddress", 9, {"limit": 9}),
    ("address", "02:00:00:00:00:0a", {"mac": "02:00:00:00:00:0a"}),
    ("txqueuelen", 7, {"tx_queue_len": 7}),
]


@pytest.mark.parametrize(("option", "value", "expected"), OPTION_VALUES, ids=str)
def test_options_come_as_strings_or_as_json_has_them(
    option: str, value: Any, expected: dict[str, Any]
) -> None:
    assert device_of(**{option: value}) == replace(device_of(), **expected)


def test_both_ends_of_the_source_ports_arrive_where_they_belong() -> None:
    device = device_of(portlow="40000", porthigh="50000")

    assert (device.port_low, device.port_high) == (40000, 50000)
    assert device_of(portlow="", porthigh="") == device_of()


def test_a_multicast_group_stands_in_for_peers() -> None:
    device = network_of(peers=None, options={"group": "ff05::4789"}).device

    assert (device.group, device.peers, device.version) == (ip_address("ff05::4789"), (), 6)


def test_an_empty_list_of_peers_is_a_node_alone() -> None:
    assert network_of(peers=[]).device.peers == ()
    assert network_of(peers=[], options={"group": "239.1.1.1"}).device.group == ip_address("239.1.1.1")


@pytest.mark.parametrize("option", [{"learning": "false"}, {"proxy": "true"}, {"l2miss": 1}, {"l3miss": 1}])
def test_another_program_may_fill_the_forwarding_table(option: dict[str, Any]) -> None:
    device = network_of(peers=None, options=option).device

    assert (device.group, device.peers) == (None, ())


def test_peers_are_kept_in_order_and_once() -> None:
    device = network_of(peers=["fd00::2", "fd00::1", "fd00:0::2"]).device

    assert device.peers == (ip_address("fd00::2"), ip_address("fd00::1"))


def test_a_device_carries_the_family_of_its_addresses() -> None:
    assert device_of().version == 4
    assert network_of(peers=[]).device.version == 4
    assert network_of(peers=["fd00::1"]).device.version == 6
    assert network_of(peers=[], options={"srcaddr": "fd00::1"}).device.version == 6


def test_subnets_are_one_of_each_family_with_ipv4_first() -> None:
    network = network_of(cidr=["fd66::/64", "10.66.0.0/24"])

    assert network.subnets == (Subnet(ip_network("10.66.0.0/24")), Subnet(ip_network("fd66::/64")))


@pytest.mark.parametrize(
    ("cidr", "subnet", "gateway"),
    [
        ("10.66.0.1/24", "10.66.0.0/24", "10.66.0.1"),
        ("10.66.0.254/24", "10.66.0.0/24", "10.66.0.254"),
        ("10.66.0.1/30", "10.66.0.0/30", "10.66.0.1"),
        ("10.66.0.1/31", "10.66.0.0/31", "10.66.0.1"),
        ("fd66::1/64", "fd66::/64", "fd66::1"),
        ("fd66::ffff:ffff:ffff:ffff/64", "fd66::/64", "fd66::ffff:ffff:ffff:ffff"),
        ("fd66::1/127", "fd66::/127", "fd66::1"),
    ],
)
def test_a_host_part_is_the_gateway(cidr: str, subnet: str, gateway: str) -> None:
    assert network_of(cidr=cidr).subnets == (Subnet(ip_network(subnet), ip_address(gateway)),)


@pytest.mark.parametrize(
    ("cidr", "gateways"),
    [
        ("10.66.0.0/24", ["10.66.0.1"]),
        ("10.66.0.254/24", ["10.66.0.254"]),
        ("10.66.0.0/31", ["10.66.0.1"]),
        (["10.66.0.0/24", "fd66::/64"], ["10.66.0.1", "fd66::1"]),
    ],
)
def test_an_anycast_gateway_is_the_host_part_or_the_first_address(cidr: Any, gateways: list[str]) -> None:
    network = network_of(cidr=cidr, gateway="anycast")

    assert [str(subnet.gateway) for subnet in network.subnets] == gateways


def test_with_an_anycast_gateway_nothing_takes_the_bypass() -> None:
    assert network_of(gateway="anycast").bypass is False
    assert network_of(gateway="anycast", bypass=False).bypass is False
    assert network_of(gateway="per-node", bypass=False).bypass is False


def test_routes_lead_through_the_gateway_or_another_router_of_the_network() -> None:
    dual = {"cidr": ["10.66.0.0/24", "fd66::/64"], "default_route": False}
    routes = [
        {"dst": "192.0.2.0/24"},
        {"dst": "0.0.0.0/0", "gw": "10.66.0.9"},
        {"dst": "2001:db8::/32", "gw": "fe80::9"},
    ]

    assert network_of(**dual, routes=routes).routes == (
        ResultRoute(ip_network("192.0.2.0/24")),
        ResultRoute(ip_network("0.0.0.0/0"), ip_address("10.66.0.9")),
        ResultRoute(ip_network("2001:db8::/32"), ip_address("fe80::9")),
    )


def test_a_network_may_have_an_ipam_of_its_own() -> None:
    other = {"Type": "host-local", "ranges": [[{"subnet": "10.66.0.0/24"}]]}
    config = parsed(vxlans=[BLUE | {"ipam": other}, GREEN], ipam={"type": "whereabouts"})

    assert [dict(network.ipam) for network in config.networks] == [
        {"type": "host-local", "ranges": [[{"subnet": "10.66.0.0/24"}]]},
        {"type": "whereabouts"},
    ]


@pytest.mark.parametrize(
    ("name", "vx", "mv"),
    [
        ("blue", "vx_blue", "mv_blue"),
        ("twelve-bytes", "vx_twelve-bytes", "mv_twelve-bytes"),
        ("thirteen-long", "vx_912108c9b5d7", "mv_912108c9b5d7"),
        ("n" * 63, "vx_73dcf9964172", "mv_73dcf9964172"),
    ],
)
def test_the_names_of_links_fit_and_stay_what_they_are(name: str, vx: str, mv: str) -> None:
    network = network_of(name=name)

    assert (network.name, network.vx, network.mv) == (name, vx, mv)


def test_keys_have_the_names_that_people_expect() -> None:
    blue = {"name": "blue", "vni": 5001, "cidr": "10.66.0.0/24", "peers": PEERS}
    blue |= {"exclude_first": 9, "exclude_last": 8, "defaultRoute": False}
    config = parsed(
        vxlans=[blue],
        default_network="blue",
        k8s_network_from_namespace=True,
        k8s_read_annotations=True,
        kubeconfig="/etc/kubernetes/admin.conf",
    )

    assert config == Config(
        (replace(network_of(excludeFirst=9, excludeLast=8), default_route=False),),
        "blue",
        from_namespace=True,
        reads_annotations=True,
        kubeconfig="/etc/kubernetes/admin.conf",
    )


def test_an_unknown_key_of_a_network_is_for_the_log() -> None:
    keys = Keys({"vxlans": [BLUE | {"exclude_frist": 3}]}, ALIASES)

    parse(keys)

    assert keys.unknown() == [
        'unknown key "vxlans[0].exclude_frist" is not used; did you mean "vxlans[0].exclude_first"?'
    ]


def test_ip_conflict_is_asked_for_as_in_the_other_plugins() -> None:
    assert parsed(vxlans=[BLUE], ip_conflict={"enabled": True}).ip_conflict == Patience(1.0, 3)


WRONG_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"port": "70000"}, 'port: "70000" is not a whole number from 1 to 65535'),
    ({"port": 0}, "port: 0 is not a whole number from 1 to 65535"),
    ({"dstport": "x"}, 'dstport: "x" is not a whole number from 1 to 65535'),
    ({"port": True}, "port: true is not a whole number from 1 to 65535"),
    ({"port": 4789.0}, "port: 4789.0 is not a whole number from 1 to 65535"),
    ({"port": "-1"}, 'port: "-1" is not a whole number from 1 to 65535'),
    ({"port": "４７８９"}, 'port: "４７８９" is not a whole number from 1 to 65535'),  # noqa: RUF001
    ({"port": "9" * 5000}, f'port: "{"9" * 116}... is not a whole number from 1 to 65535'),
    ({"ttl": "256"}, 'ttl: "256" is not a whole number from 0 to 255'),
    ({"ttl": "inherit"}, 'ttl: "inherit" is not a whole number from 0 to 255'),
    ({"tos": 256}, "tos: 256 is not a whole number from 0 to 255"),
    ({"limit": 2**32}, "limit: 4294967296 is not a whole number from 0 to 4294967295"),
    ({"vxlantxqlen": 2**31}, "vxlantxqlen: 2147483648 is not a whole number from 0 to 2147483647"),
    ({"learning": "yes"}, 'learning: "yes" is not true or false'),
    ({"proxy": 2}, "proxy: 2 is not true or false"),
    ({"gbp": [True]}, "gbp: [true] is not true or false"),
    ({"gbp": 1.0}, "gbp: 1.0 is not true or false"),
    ({"age": 2**32}, "age: 4294967296 is not a whole number from 1 to 4294967295"),
    ({"age": "0"}, 'age: "0" is ambiguous; write "noage": true for never, or leave it out for 300 seconds'),
    ({"age": 0}, 'age: 0 is ambiguous; write "noage": true for never, or leave it out for 300 seconds'),
    ({"age": False}, "age: false is not a whole number from 1 to 4294967295"),
    ({"age": "300", "noage": "true"}, 'age: "300" and noage contradict each other; keep one of them'),
    ({"vtepdev": 5}, "vtepdev: 5 is not a string"),
    ({"srcaddr": "host"}, 'srcaddr: "host" is not an IP address; give one such as 10.1.0.1 or fd00::1'),
    (
        {"srcaddr": "239.1.1.1"},
        'srcaddr: "239.1.1.1" is not an address that a node can be reached at; give one of its NIC',
    ),
    (
        {"srcaddr": "fd00::1"},
        'peers[0]: "192.168.50.11" is IPv4, but vxlans[0].options.srcaddr is "fd00::1":'
        " the packets that carry a network are of one family; give addresses of one",
    ),
    (
        {"group": "239.1.1.1"},
        'group: "239.1.1.1" and peers exclude each other: either a multicast group or the addresses of the'
        " nodes; keep one of them",
    ),
    (
        {"group": "192.168.50.12"},
        'group: "192.168.50.12" is not a multicast address; give one such as 239.1.1.1 or ff05::1,'
        " or list the addresses of the nodes in peers",
    ),
    (
        {"portlow": 40000},
        "porthigh is missing: the range of source ports is given by both, or left to the kernel by neither",
    ),
    (
        {"porthigh": 40000},
        "portlow is missing: the range of source ports is given by both, or left to the kernel by neither",
    ),
    (
        {"portlow": 40000, "porthigh": "40000"},
        'porthigh: "40000" is not above portlow, 40000; the range ends before porthigh',
    ),
    (
        {"portlow": 40001, "porthigh": 40000},
        "porthigh: 40000 is not above portlow, 40001; the range ends before porthigh",
    ),
    ({"vxlanhardwareaddr": "02:00"}, 'vxlanhardwareaddr: "02:00" is not a MAC; give six bytes such as 02:'),
    (
        {"vxlanhardwareaddr": 2},
        "vxlanhardwareaddr: 2 is not a MAC; give six bytes such as 02:00:00:00:00:0a",
    ),
    (
        {"vxlanhardwareaddr": "02:00-00:00-00:0a"},
        'vxlanhardwareaddr: "02:00-00:00-00:0a" is not a MAC; give six bytes such as 02:00:00:00:00:0a',
    ),
    (
        {"vxlanhardwareaddr": "03:00:00:00:00:0a"},
        'vxlanhardwareaddr: "03:00:00:00:00:0a" is a multicast MAC; the second digit must be even',
    ),
    (
        {"vxlanhardwareaddr": "00:00:00:00:00:00"},
        'vxlanhardwareaddr: "00:00:00:00:00:00" is not a MAC that a link can have; give one such as 02:',
    ),
    ({"Prot": "4789"}, 'Prot: "4789" is not an option; did you mean vxlans[0].options.port?'),
    ({"dstprt": 1}, "dstprt: 1 is not an option; did you mean vxlans[0].options.dstport?"),
    ({"mtu": 1450}, "mtu: 1450 is not an option; did you mean vxlans[0].mtu?"),
    (
        {"peers": PEERS},
        'peers: ["192.168.50.11", "192.168.50.12"] is not an option; did you mean vxlans[0].peers?',
    ),
    ({"udpcsum": True}, f"udpcsum: true is not an option; there are {', '.join(OPTIONS)}"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS, ids=str)
def test_a_bad_option_is_named_with_its_value_and_what_is_right(
    options: dict[str, Any], message: str
) -> None:
    place = "vxlans[0]." if message.startswith("peers[") else "vxlans[0].options."

    assert complaint_of(options=options).startswith(place + message)


def test_an_unknown_option_that_is_null_is_absent() -> None:
    assert network_of(options={"udpcsum": None}) == network_of()


NO_WAY = (
    "peers is missing: list the addresses of the nodes, or give a multicast address in options.group;"
    ' [] is a valid value, and "learning": false says that another program fills the FDB'
)
WRONG_NETWORKS: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "name is missing: a network is chosen by its name, and its links are called after it"),
    ({"name": 5}, "name: 5 is not a string"),
    (
        {"name": ""},
        'name: "" is not a name for a network: letters, digits, "_", "." and "-", starting with a letter or'
        " a digit; at most 63 characters",
    ),
    ({"name": "a/b"}, 'name: "a/b" is not a name for a network: '),
    ({"name": "a:b"}, 'name: "a:b" is not a name for a network: '),
    ({"name": "a b"}, 'name: "a b" is not a name for a network: '),
    ({"name": "net%d"}, 'name: "net%d" is not a name for a network: '),
    ({"name": ".."}, 'name: ".." is not a name for a network: '),
    ({"name": "blue\n"}, 'name: "blue\\n" is not a name for a network: '),
    ({"name": "n" * 64}, f'name: "{"n" * 64}" is not a name for a network: '),
    ({"id": None}, "id is missing: give the VNI, 1 to 16777215, the same on all nodes"),
    ({"id": 0}, "id: 0 is what a missing id was once read as; give 1 to 16777215"),
    ({"id": 1 << 24}, "id: 16777216 is out of range; give 1 to 16777215"),
    ({"id": -1}, "id: -1 is out of range; give 1 to 16777215"),
    ({"id": "5001"}, 'id: "5001" is a string, not a whole number; write 5001 without quotes'),
    ({"id": False}, "id: false is not a whole number; give 1 to 16777215"),
    (
        {"cidr": None},
        'cidr is missing: give a subnet such as "10.66.0.0/24", or a list of one for each family',
    ),
    (
        {"cidr": []},
        'cidr is missing: give a subnet such as "10.66.0.0/24", or a list of one for each family',
    ),
    ({"cidr": "10.66.0.1"}, 'cidr: "10.66.0.1" is not an address with a prefix length; give one such as'),
    ({"cidr": ["10.66.0.0/24", 5]}, "cidr[1]: 5 is not an address with a prefix length; give one such as"),
    (
        {"cidr": ["10.66.0.0/24", "10.67.0.0/24"]},
        'cidr[1]: "10.67.0.0/24" is a second IPv4 subnet beside 10.66.0.0/24; give one for each family,'
        " and another network for another subnet",
    ),
    (
        {"cidr": "10.66.0.1/32"},
        'cidr: "10.66.0.1/32" is one address; a gateway and a pod need two: give a shorter prefix',
    ),
    (
        {"cidr": "fd66::1/128"},
        'cidr: "fd66::1/128" is one address; a gateway and a pod need two: give a shorter prefix',
    ),
    (
        {"cidr": "10.66.0.255/24"},
        'cidr: "10.66.0.255/24" makes 10.66.0.255 the gateway, which is the broadcast address of'
        " 10.66.0.0/24; give another, or 10.66.0.0/24 for any",
    ),
    (
        {"cidr": "239.1.0.0/16"},
        'cidr: "239.1.0.0/16" overlaps 224.0.0.0/4, which is not for pods; give a private subnet',
    ),
    ({"cidr": "0.0.0.0/0"}, 'cidr: "0.0.0.0/0" overlaps 0.0.0.0/8, which is not for pods; give a private'),
    ({"cidr": "127.1.0.0/16"}, 'cidr: "127.1.0.0/16" overlaps 127.0.0.0/8, which is not for pods; give a'),
    ({"cidr": "fe80::/64"}, 'cidr: "fe80::/64" overlaps fe80::/10, which is not for pods; give a private'),
    ({"cidr": "::/0"}, 'cidr: "::/0" overlaps ::/127, which is not for pods; give a private subnet'),
    ({"excludeFirst": -1}, "excludeFirst: -1 is out of range; give 0 to 4294967296"),
    (
        {"excludeFirst": 200, "excludeLast": 60},
        "excludeFirst: 200 and excludeLast: 60 leave 0 of the addresses of 10.66.0.0/24; a gateway and a pod"
        " need two: exclude fewer",
    ),
    (
        {"excludeFirst": 200, "excludeLast": 55},
        "excludeFirst: 200 and excludeLast: 55 leave 1 of the addresses of 10.66.0.0/24; a gateway and a pod"
        " need two: exclude fewer",
    ),
    (
        {"cidr": "10.66.0.1/24", "excludeFirst": 256},
        "excludeFirst: 256 and excludeLast: 0 leave 0 of the addresses of 10.66.0.0/24; a pod needs one:"
        " exclude fewer",
    ),
    ({"mtu": 575}, "mtu: 575 is out of range; give 576 to 65535"),
    ({"mtu": "1450"}, 'mtu: "1450" is a string, not a whole number; write 1450 without quotes'),
    ({"mtu": 1279, "cidr": "fd66::/64"}, "mtu: 1279 is too small for IPv6; give 1280 or more"),
    ({"options": "port"}, 'options: "port" is not an object; write { … }'),
    ({"peers": None}, NO_WAY),
    ({"peers": "192.168.50.11"}, 'peers: "192.168.50.11" is not a list; write ["192.168.50.11"]'),
    ({"peers": ["node-a"]}, 'peers[0]: "node-a" is not an IP address; give one such as 10.1.0.1 or fd00::1'),
    (
        {"peers": ["192.168.50.11", "239.1.1.1"]},
        'peers[1]: "239.1.1.1" is not an address that a node can be reached at; give one of its NIC',
    ),
    (
        {"peers": ["::"]},
        'peers[0]: "::" is not an address that a node can be reached at; give one of its NIC',
    ),
    ({"peers": ["127.0.0.1"]}, 'peers[0]: "127.0.0.1" is not an address that a node can be reached at'),
    ({"peers": ["255.255.255.255"]}, 'peers[0]: "255.255.255.255" is not an address that a node can be'),
    (
        {"peers": ["192.168.50.11", "fd00::12"]},
        'peers[1]: "fd00::12" is IPv6, but vxlans[0].peers[0] is "192.168.50.11": the packets that carry a'
        " network are of one family; give addresses of one",
    ),
    (
        {"peers": ["10.66.0.11"]},
        'peers: "10.66.0.11" is in 10.66.0.0/24, the subnet of the network itself; give an address that the'
        " node has without it",
    ),
    (
        {"options": {"srcaddr": "10.66.0.11"}},
        'options.srcaddr: "10.66.0.11" is in 10.66.0.0/24, the subnet of the network itself; give an address'
        " that the node has without it",
    ),
    (
        {"peers": None, "options": {"group": "239.1.1.1", "srcaddr": "fd00::1"}},
        'options.group: "239.1.1.1" is IPv4, but vxlans[0].options.srcaddr is "fd00::1": the packets that'
        " carry a network are of one family; give addresses of one",
    ),
    (
        {"peers": None, "options": {"group": "ff05::1", "srcaddr": "fe80::1"}},
        'options.srcaddr: "fe80::1" is link-local, but options.group, ff05::1, is not; give another address,'
        " or a group such as ff02::4789",
    ),
    ({"gateway": "10.66.0.1"}, 'gateway: "10.66.0.1" is not one of "per-node", "anycast"'),
    (
        {"gateway": "anycast", "bypass": True},
        'bypass: true does not go with "gateway": "anycast": all nodes have that address, so what a pod'
        " answers ends at its own node, not at the one that asked by the network; leave it out",
    ),
    ({"gateway": "anycast", "bypass": 1}, "bypass: 1 is not true or false"),
    ({"default_route": "no"}, 'default_route: "no" is not true or false'),
    ({"routes": [{"gw": "10.66.0.9"}]}, "routes[0].dst is missing: a route needs a destination such as"),
    (
        {"routes": [{"dst": "2001:db8::/32"}]},
        'routes[0].dst: "2001:db8::/32" is IPv6, of which cidr has no subnet; add one, or remove the route',
    ),
    (
        {"routes": [{"dst": "10.66.0.9/24"}]},
        'routes[0].dst: "10.66.0.9/24" is the network\'s own subnet, which pods reach without a route;'
        " remove it",
    ),
    (
        {"routes": [{"dst": "0.0.0.0/0", "gw": "10.66.0.9"}]},
        'routes[0].dst: "0.0.0.0/0" is a default route, and the pod has that of the network: give'
        ' "default_route": false to have this one',
    ),
    (
        {"routes": [{"dst": "192.0.2.0/24"}, {"dst": "192.0.2.1/24"}]},
        'routes[1].dst: "192.0.2.1/24" has a route in this list already; keep one of them',
    ),
    (
        {"routes": [{"dst": "192.0.2.0/24", "gw": "fd00::1"}]},
        'routes[0].gw: "fd00::1" is not in 10.66.0.0/24; give an address of the network, or none for its',
    ),
    (
        {"routes": [{"dst": "192.0.2.0/24", "gw": "10.66.0.0"}]},
        'routes[0].gw: "10.66.0.0" is the network address of 10.66.0.0/24; give an address of the network',
    ),
    ({"ipam": "routetable"}, 'ipam: "routetable" is not an object; write { … }'),
    ({"ipam": {}}, "ipam.type is missing: name an IPAM plugin; routetable is ours"),
    ({"ipam": {"type": ""}}, "ipam.type is missing: name an IPAM plugin; routetable is ours"),
    ({"ipam": {"type": 1}}, "ipam.type: 1 is not a string"),
    (
        {"ipam": {"type": "../host-local"}},
        'ipam.type: "../host-local" is a path; give the name of an IPAM plugin in CNI_PATH, such as'
        " routetable",
    ),
]


@pytest.mark.parametrize(("keys", "message"), WRONG_NETWORKS, ids=str)
def test_a_bad_network_is_named_with_its_value_and_what_is_right(keys: dict[str, Any], message: str) -> None:
    assert complaint_of(**keys).startswith(f"vxlans[0].{message}")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, 'vxlans is missing: list one network or more: [{"name": …, "id": …, "cidr": …}]'),
    ({"vxlans": []}, 'vxlans is missing: list one network or more: [{"name": …, "id": …, "cidr": …}]'),
    ({"vxlans": {}}, "vxlans: {} is not a list"),
    ({"vxlans": ["blue"]}, 'vxlans[0]: "blue" is not an object; write { … }'),
    (
        {"vxlans": [BLUE], "ipam": {"Type": "a/b"}},
        'ipam.Type: "a/b" is a path; give the name of an IPAM plugin',
    ),
    (
        {"vxlans": [BLUE, GREEN], "defaultNetwork": "red"},
        'defaultNetwork: "red" is not the name of a network; in vxlans there are "blue", "green"',
    ),
    ({"vxlans": [BLUE], "k8sConfigPath": "a.conf"}, 'k8sConfigPath: "a.conf" is not an absolute path'),
    ({"vxlans": [BLUE], "k8sReadAnnotations": 1}, "k8sReadAnnotations: 1 is not true or false"),
    (
        {"vxlans": [BLUE], "k8sNetworkFromNamespace": "x"},
        'k8sNetworkFromNamespace: "x" is not true or false',
    ),
    (
        {"vxlans": [BLUE], "ip_conflict": {"retries": 0}},
        "ip_conflict.retries: 0 is out of range; give 1 to 100",
    ),
    (
        {"vxlans": [BLUE, GREEN | {"name": "blue"}]},
        'vxlans[1].name: "blue" is the name of vxlans[0] already; give each network its own',
    ),
    (
        {"vxlans": [BLUE, GREEN | {"id": 5001}]},
        'vxlans[1].id: 5001 with port 4789 is that of network "blue" (vxlans[0]) already; give each network'
        " its own id",
    ),
    (
        {"vxlans": [BLUE, GREEN | {"cidr": ["fd67::/64", "10.66.0.129/25"]}]},
        'vxlans[1].cidr: 10.66.0.128/25 of network "green" overlaps 10.66.0.0/24 of network "blue"'
        " (vxlans[0]); a node could not tell their pods apart: give other subnets",
    ),
    (
        {"vxlans": [BLUE, GREEN | {"options": {"gbp": "true"}}]},
        'vxlans[1].options.gbp: true, but network "blue" (vxlans[0]) has false on the same port 4789; give'
        " both the same, or another port",
    ),
]


@pytest.mark.parametrize(("config", "message"), WRONG, ids=str)
def test_a_bad_configuration_is_named_with_its_value_and_what_is_right(
    config: dict[str, Any], message: str
) -> None:
    assert complaint(**config).startswith(message)


def test_networks_may_share_what_does_not_clash() -> None:
    other_port = GREEN | {"id": 5001, "options": {"port": 8472, "gbp": True}}
    other_family = GREEN | {"peers": ["fd00::1"], "options": {"gbp": True}}

    assert len(parsed(vxlans=[BLUE, other_port]).networks) == 2
    assert len(parsed(vxlans=[BLUE, other_family]).networks) == 2


@pytest.mark.parametrize("empty", [{"defaultNetwork": ""}, {"k8sConfigPath": ""}, {"ipam": None}])
def test_what_go_writes_for_nothing_is_nothing(empty: dict[str, Any]) -> None:
    assert parsed(vxlans=[BLUE], **empty) == parsed(vxlans=[BLUE])


def test_an_mtu_of_zero_is_what_the_underlay_carries() -> None:
    assert network_of(mtu=0) == network_of()


NUMBERS = {
    "port": (1, 65535),
    "ttl": (0, 255),
    "tos": (0, 255),
    "limit": (0, 2**32 - 1),
    "age": (1, 2**32 - 1),
}


@given(st.sampled_from(sorted(NUMBERS)), st.data())
def test_a_number_means_the_same_with_and_without_quotes(option: str, data: st.DataObject) -> None:
    number = data.draw(st.integers(*NUMBERS[option]))

    assert device_of(**{option: number}) == device_of(**{option: str(number)})


@given(
    st.integers(0, 2**32 - 1), st.integers(20, 32), st.booleans(), st.integers(0, 300), st.integers(0, 300)
)
def test_a_network_that_is_taken_has_room_for_a_gateway_and_a_pod(
    address: int, length: int, is_anycast: bool, first: int, last: int
) -> None:
    subnet = IPv4Network((0x0A000000 | address & 0x00FFFFFF, length), strict=False)
    gateway = "anycast" if is_anycast else "per-node"
    keys = {"cidr": str(subnet), "gateway": gateway, "excludeFirst": first, "excludeLast": last}
    for_pods = Range(subnet, first, last, (subnet[1],) if is_anycast and length < 32 else ())
    has_room = length < 32 and for_pods.size >= (1 if is_anycast else 2)

    if has_room:
        assert network_of(**keys).subnets[0].network == subnet
    else:
        assert "two" in complaint_of(**keys) or "a pod needs one" in complaint_of(**keys)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["10.66.0.0/24", "fd66::1/64", "239.1.1.1", "192.168.50.11", "1", "true", "anycast"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NETWORK_KEYS = ("name", "id", "cidr", "excludeFirst", "mtu", "peers", "gateway", "bypass", "routes", "ipam")
A_NETWORK = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(NETWORK_KEYS, ANYTHING)
    | {"options": ANYTHING | st.fixed_dictionaries({}, optional=dict.fromkeys(OPTIONS, ANYTHING))},
)


def outcome(config: dict[str, Any]) -> Config | CniError:
    try:
        return parsed(**config)
    except CniError as error:
        return error


@given(A_NETWORK, st.fixed_dictionaries({}, optional=dict.fromkeys(("defaultNetwork", "ipam"), ANYTHING)))
def test_whatever_is_written_is_either_understood_or_refused(
    network: dict[str, Any], config: dict[str, Any]
) -> None:
    for keys in (network, BLUE | network):
        found = outcome(config | {"vxlans": [keys]})

        if isinstance(found, CniError):
            assert (found.code, found.msg.splitlines()) == (7, [found.msg])
        else:
            assert len(found.networks[0].vx) <= 15
