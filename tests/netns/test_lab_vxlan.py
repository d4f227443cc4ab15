"""What the lab has for networks of its own: packets of a size, routes to claims, and a look for traces."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from underlay.lab import demo, routing
from underlay.lab.addresses import VERSIONS
from underlay.lab.changes import changes
from underlay.lab.cluster import Cluster
from underlay.lab.lab import Lab
from underlay.lab.matrix import End, Row, measure
from underlay.lab.namespace import Netns, named
from underlay.lab.networks import Variant
from underlay.lab.pod import Json
from underlay.lab.scenario import Deployment
from underlay.lab.scenarios import veth, vxlan
from underlay.lab.setup import Setup
from underlay.lab.standin import StandIn
from underlay.lab.tables import matrix_table, traces_text
from underlay.lab.traces import Traces

NO_VXLAN = """
table inet no-vxlan {
  chain input { type filter hook input priority filter; udp dport 4789 drop; }
}
"""
MADE = Variant("with", "what is tested")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("vlab-", tmp_path / "lab") as lab:
        yield lab


@pytest.fixture
def cluster(lab: Lab) -> Cluster:
    lab.reserve()
    cluster = Cluster(lab)
    cluster.build()
    return cluster


@pytest.fixture
def one_way(lab: Lab) -> Row:
    """Between two machines of a LAN whose MTU is 1500."""
    lan = lab.lan("lan", 10)
    one, other = lab.host("one", lan, 21), lab.host("other", lan, 22)
    lab.up(lan, one, other)
    return Row("size", "one → other", End.of(one), End.of(other), [one.addresses], "the host")


def wrong(here: Deployment) -> list[str]:
    """The rows that are not right in any family."""
    return [line.row.text for line in measure(here.rows) if all(cell.faults for cell in line.cells)]


def static_routes(netns: Netns) -> dict[str, str]:
    """The next hop of each destination."""
    shown = [netns.run("ip", f"-{v}", "-json", "route", "show", "proto", "static") for v in VERSIONS]
    return {route["dst"]: route["gateway"] for each in shown for route in json.loads(each)}


class TestSize:
    @pytest.mark.parametrize(
        ("size", "refusal", "fault"),
        [
            (1500, "", ""),
            (1501, "", "udp: message too long"),
            (1501, "message too long", ""),
            (1500, "message too long", "udp: not refused"),
        ],
    )
    def test_a_packet_is_sent_whole_or_refused_by_the_client_s_kernel(
        self, one_way: Row, size: int, refusal: str, fault: str
    ) -> None:
        (line,) = measure([replace(one_way, size=size, refusal=refusal)])

        assert [cell.fault for cell in line.cells] == [fault, fault]
        assert line.is_expected(MADE) == (not fault)

    def test_what_a_link_on_the_way_does_not_carry_gets_no_answer(self, one_way: Row) -> None:
        one_way.server.netns.ip("link set eth0 mtu 1400")

        (line,) = measure([replace(one_way, size=1500)])

        assert [cell.fault for cell in line.cells] == ["udp: no answer", "udp: no answer"]

    def test_a_wide_terminal_shows_why_it_is_refused(self, one_way: Row) -> None:
        lines, output = measure([replace(one_way, size=1501, refusal="message too long")]), StringIO()

        Console(file=output, width=120).print(matrix_table(lines, MADE, 120))

        assert output.getvalue().count("✓ message too long") == 2


class TestMatrix:
    """Its rows show what they say: each way is cut, and exactly those rows are wrong."""

    @pytest.fixture
    def here(self, cluster: Cluster) -> Deployment:
        here = Deployment(cluster, vxlan.SCENARIO, StandIn(cluster))
        here.attach(vxlan.UNICAST)
        return here

    def test_without_vxlan_between_the_nodes_pods_of_one_network_do_not_meet(self, here: Deployment) -> None:
        here.cluster.node2.netns.nft(NO_VXLAN)

        assert wrong(here) == [
            "blue → blue, other node",
            "green → green, other node",
            "blue → blue, 1450 bytes, DF",
        ]

    def test_without_the_routes_that_a_daemon_spreads_nobody_outside_finds_a_pod(
        self, here: Deployment
    ) -> None:
        routing.withdraw(here.cluster)

        assert wrong(here) == [
            "node → blue, other node",  # it is heard, from the address that this node has in the network
            "outside → blue on node1",
            "blue on node1 → outside",
            "outside → green on node2",
            "green on node2 → outside",
        ]

    def test_what_made_the_network_is_shown_before_what_made_the_pod_s_nic(self, here: Deployment) -> None:
        found = dict(changes(here.cluster, here.scene.shown))

        pod, gateway = here.end("blue1", "eth0").addresses, here.gateways("blue1", "eth0")
        assert list(found) == [
            "On the node, for all its pods in blue: links and settings",
            "On the node, for all its pods in blue: table 1000005001",
            "On the node, for all its pods in blue: rules",
            "On the node, for all its pods in blue: what is claimed",
            "On the node: links and settings",
            "In the pod: links and settings",
            "In the pod: table main",
            "On the node: what is claimed for the pod",
        ]
        shown = (
            "On the node, for all its pods in blue: what is claimed",
            "On the node: what is claimed for the pod",
        )
        assert [command for heading in shown for command in found[heading]] == [
            f"ip route add {gateway.v4}/32 dev mv_blue scope link proto 202",
            f"ip -6 route add {gateway.v6}/128 dev mv_blue proto 202",
            f"ip route add {pod.v4}/32 dev mv_blue scope link proto 202",
            f"ip -6 route add {pod.v6}/128 dev mv_blue proto 202",
        ]


class TestRouting:
    def test_what_a_node_claims_is_routed_to_it_by_all_others(self, cluster: Cluster) -> None:
        claims = {"10.66.0.9": "v4", "fd00:66::9": "v6"}
        cluster.node1.netns.ip(*(f"route add {address} dev docker0 proto 202" for address in claims))

        routing.spread(cluster, cluster.node1)
        routing.spread(cluster, cluster.node1)

        node, gateway = cluster.node1.addresses, cluster.gateway_a.outside
        by_node = {"10.66.0.9": str(node.v4), "fd00:66::9": str(node.v6)}
        assert static_routes(cluster.node2.netns) == by_node
        assert static_routes(cluster.gateway_a.netns) == by_node
        assert static_routes(cluster.external.netns) == {
            "10.66.0.9": str(gateway.v4),
            "fd00:66::9": str(gateway.v6),
        }
        assert static_routes(cluster.node1.netns) == {}

    def test_taken_back_they_are_gone_and_others_are_not(self, cluster: Cluster) -> None:
        before = Traces(cluster)
        cluster.node1.netns.ip("route add 10.66.0.9 dev docker0 proto 202")
        routing.spread(cluster, cluster.node1)
        cluster.node1.netns.ip("route del 10.66.0.9 dev docker0")

        routing.withdraw(cluster)

        assert before.left() == []
        assert static_routes(cluster.external.netns) == {}


class TestTraces:
    def test_nodes_on_which_nothing_has_happened_are_as_before(self, cluster: Cluster) -> None:
        assert Traces(cluster).left() == []

    @pytest.mark.parametrize(
        ("command", "trace"),
        [
            ("ip link add left type bridge", "left: <BROADCAST,MULTICAST>"),
            ("ip addr add 10.66.0.9/32 dev eth0", "inet 10.66.0.9/32"),
            ("ip route add 10.66.0.9 dev eth0 table 5001", "10.66.0.9 dev eth0 table 5001"),
            ("ip -6 rule add from fd00:66::/64 lookup 5001", "from fd00:66::/64 lookup 5001"),
            ("ip neigh add 10.66.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent", "10.66.0.9 dev eth0"),
            ("ip maddr add 33:33:00:00:00:09 dev eth0", "33:33:00:00:00:09"),
            ("bridge fdb add 02:00:00:00:00:09 dev eth0 self permanent", "02:00:00:00:00:09 dev eth0"),
        ],
    )
    def test_whatever_is_left_on_a_node_is_told_with_its_name(
        self, cluster: Cluster, command: str, trace: str
    ) -> None:
        before = Traces(cluster)

        cluster.node2.netns.run(*command.split())
        left = before.left()

        assert [line.partition(": ")[0] for line in left] == ["vlab-node2"] * len(left)
        assert any(trace in line for line in left)

    def test_what_is_gone_is_told_too(self, cluster: Cluster) -> None:
        before = Traces(cluster)

        cluster.node1.netns.ip("addr del 172.17.0.1/16 dev docker0")

        assert any("172.17.0.1/16" in line for line in before.left())

    def test_a_record_that_is_left_is_told_by_its_path(self, cluster: Cluster) -> None:
        before = Traces(cluster)
        os.mkdir(cluster.records)
        path = Path(cluster.records, "left.json")
        path.touch()

        assert before.left() == [str(path)]

    def test_the_verdict_names_each_of_them(self) -> None:
        assert traces_text(["node1: one", "node2: other"]).plain.splitlines()[1:] == [
            "node1: one",
            "node2: other",
        ]
        assert traces_text([]).plain.startswith("✓ After the last DEL the nodes are as before")

    def test_a_demo_whose_pods_leave_something_has_failed(self, tmp_path: Path) -> None:
        def leaving(cluster: Cluster, variant: Variant) -> dict[str, Json]:
            cluster.node2.netns.ip("link add left type bridge")
            return veth.networks(cluster, variant)

        scenario = replace(
            veth.SCENARIO, networks=leaving, variants=veth.SCENARIO.variants[-1:], shared=True
        )
        output = StringIO()

        console = Console(file=output, width=80)
        right = demo.demo(Lab("vlab-", tmp_path / "lab"), [scenario], Setup(), console)

        assert not right
        assert "14 of 14 rows are right" in output.getvalue()
        assert "vlab-node2: " in output.getvalue()
        assert named("vlab-") == []
