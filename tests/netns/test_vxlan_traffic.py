"""What travels in the networks of `vxlan`: who answers, how large a packet may be, which way."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address

import pytest

from tests.netns.site import Attached, Site, two_nodes
from tests.netns.test_vxlan import every_way
from tests.netns.world import World, failures, seen
from underlay.lab.addresses import VERSIONS, IPAddress
from underlay.lab.errors import LabError, PluginError
from underlay.lab.namespace import Netns

ARP, REQUEST, REPLY = 0x0806, 1, 2
FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
QUIET = 0.3  # seconds without a further answer


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    yield from two_nodes(world)


def answers_to(pod: Attached, ip: IPAddress) -> list[str]:
    """The MACs that answer an ARP request of a pod, in a moment that is long on one machine."""
    with pod.pod.netns.entered():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
    with tap:
        tap.bind((pod.ifname, ARP))
        own = tap.getsockname()[4]
        sender = pod.address().packed
        tap.send(
            FRAME.pack(b"\xff" * 6, own, ARP, 1, 0x0800, 6, 4, REQUEST, own, sender, bytes(6), ip.packed)
        )
        found = []
        deadline = time.monotonic() + QUIET
        while (left := deadline - time.monotonic()) > 0:
            tap.settimeout(left)
            try:
                frame = FRAME.unpack_from(tap.recv(2048))
            except TimeoutError:
                break
            if frame[7] == REPLY and frame[9] == ip.packed:
                found.append(frame[8].hex(":"))
                deadline = time.monotonic() + QUIET
    return found


def mac_of(netns: Netns, dev: str) -> str:
    return str(json.loads(netns.run("ip", "-j", "link", "show", dev))[0]["address"])


def is_delivered(pod: Attached, to: IPAddress, size: int) -> bool:
    """Whether a packet of that size, in bytes with the IP header, arrives whole."""
    payload = size - (28 if to.version == 4 else 48)
    try:
        pod.pod.netns.run("ping", "-c", "1", "-W", "2", "-M", "do", "-s", str(payload), str(to))
    except LabError:
        return False
    return True


def test_one_link_alone_answers_for_the_gateway_of_another_node(site: Site) -> None:
    pod, other = site.pod("a", 0), site.pod("b", 1)

    assert answers_to(pod, IPv4Address(other.gateway())) == [mac_of(site.nodes[1].netns, "mv_blue")]


def test_with_anycast_every_node_has_one_gateway_and_a_pod_hears_its_own_alone(site: Site) -> None:
    network = site.network(site.blue(gateway="anycast"))
    pods = [site.pod("a", 0, network), site.pod("b", 1, network)]

    assert {pod.gateway() for pod in pods} == {"10.66.0.1"}
    assert {pod.gateway(6) for pod in pods} == {"fd00:66::1"}
    macs = {mac_of(node.netns, "mv_blue") for node in site.nodes}
    assert [answers_to(pod, IPv4Address("10.66.0.1")) for pod in pods] == [list(macs)] * 2
    for pod, node in zip(pods, site.nodes, strict=True):
        for version in VERSIONS:
            assert seen(pod.pod.netns, node.netns, node.addresses.of(version)) == pod.address(version)
            gateway = ip_address(pod.gateway(version))
            assert seen(node.netns, pod.pod.netns, pod.address(version)) == gateway
    assert failures(every_way(*pods)) == []


@pytest.mark.parametrize(
    ("keys", "carried"), [({}, 1450), ({"mtu": 1300}, 1300)], ids=["underlay less 50", "configured"]
)
def test_a_packet_of_the_mtu_passes_and_one_byte_more_is_refused(
    site: Site, keys: dict[str, int], carried: int
) -> None:
    network = site.network(site.blue(**keys))
    one, other = site.pod("a", 0, network), site.pod("b", 1, network)

    for version in VERSIONS:
        assert is_delivered(one, other.address(version), carried)
        assert not is_delivered(one, other.address(version), carried + 1)
    assert [nic["mtu"] for nic in _interfaces(one, "1.1.0")] == [carried, carried]


def _interfaces(pod: Attached, version: str) -> list[dict[str, int]]:
    answer = json.loads(pod.call("ADD", cniVersion=version, name="newer"))
    pod.call("DEL", cniVersion=version, name="newer")
    interfaces: list[dict[str, int]] = answer["interfaces"]
    return interfaces


def test_an_underlay_of_ipv6_carries_twenty_bytes_less(site: Site) -> None:
    peers = [str(node.addresses.v6) for node in site.nodes]
    network = site.network(site.blue(peers=peers))
    one, other = site.pod("a", 0, network), site.pod("b", 1, network)

    assert failures(every_way(one, other)) == []
    for version in VERSIONS:
        assert is_delivered(one, other.address(version), 1430)
        assert not is_delivered(one, other.address(version), 1431)


def test_an_address_that_comes_back_with_another_mac_is_reached_at_once(site: Site) -> None:
    peer, pod = site.pod("peer", 1), site.pod("a", 0)
    asked = {"vxlan-cni.travishegner.com/RequestedAddress": f"{pod.address(4)},{pod.address(6)}"}
    assert failures(every_way(peer, pod)) == []
    pod.delete()

    again = site.pod("b", 0, site.network(args={"annotations": asked}))

    assert again.address() == pod.address()
    assert failures(every_way(peer, again)) == []


def test_strict_nodes_let_everything_through_although_routes_lead_to_each_pod(site: Site) -> None:
    """What a routing daemon spreads: a route to each pod by its node. The bypass keeps it in the network."""
    here, there = site.nodes
    for each in site.nodes:
        each.netns.sysctl({"ipv4/conf/all/rp_filter": 1, "ipv4/conf/eth0/rp_filter": 1})
    one, other = site.pod("a", 0), site.pod("b", 1)
    for version in VERSIONS:
        there.netns.ip(f"route add {one.address(version)} via {here.addresses.of(version)} metric 2048")
        here.netns.ip(f"route add {other.address(version)} via {there.addresses.of(version)} metric 2048")

    for version in VERSIONS:
        source = ip_address(one.gateway(version))
        assert seen(here.netns, other.pod.netns, other.address(version), source)
        assert seen(one.pod.netns, there.netns, ip_address(other.gateway(version)))
    assert failures(every_way(one, other)) == []


def test_pods_with_peers_outlive_the_link_that_carries_them(site: Site) -> None:
    one, other = site.pod("a", 0), site.pod("b", 0)
    site.nodes[0].netns.ip("link del eth0")

    assert failures(every_way(one, other)) == []


def test_a_second_nic_that_would_bring_a_second_default_is_told_what_to_do(site: Site) -> None:
    before = site.footprint()
    green = site.network(site.green())
    site.pod("a", 0)

    with pytest.raises(PluginError, match="default_route"):
        site.pod("a", 0, green, "net1")
    assert "vx_green" not in site.nodes[0].netns.run("ip", "link")
    second = site.pod("a", 0, site.network(site.green(default_route=False)), "net1")
    assert [route["dst"] for route in second.result.get("routes", [])] == []

    second.delete()
    site.nic("a", 0).delete()
    assert before.changes() == []


def test_an_address_that_a_machine_of_the_network_has_is_refused(site: Site) -> None:
    """One that no claim tells of: it was configured by hand."""
    squatter = site.pod("squatter", 1)
    squatter.pod.netns.ip("addr add 10.66.0.77/24 dev eth0")
    asked = {"vxlan-cni.travishegner.com/RequestedAddress": "10.66.0.77"}
    probing = {"enabled": True, "interval": "100ms", "retries": 2}
    network = site.network(
        site.blue(cidr=["10.66.0.0/24"]), args={"annotations": asked}, ip_conflict=probing
    )
    before = site.footprint()

    with pytest.raises(PluginError, match=r"10\.66\.0\.77 is in use") as refused:
        site.pod("a", 0, network)

    assert refused.value.code == 102
    assert before.changes() == []
