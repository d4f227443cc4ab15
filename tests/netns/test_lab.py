"""The lab shows what it must, without our plugin and with it, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from rich.console import Console

from underlay.lab import networks
from underlay.lab.addresses import VERSIONS
from underlay.lab.changes import changes
from underlay.lab.cluster import Cluster, system_bin_dir
from underlay.lab.connectivity import Answer, Probe, Server, reach
from underlay.lab.echo import UDP
from underlay.lab.errors import LabError, PluginError
from underlay.lab.lab import PREFIX, STATE_DIR, Lab
from underlay.lab.matrix import Line, measure
from underlay.lab.namespace import named, run
from underlay.lab.networks import Chain
from underlay.lab.rows import rows
from underlay.lab.runtime import Runtime
from underlay.lab.tables import matrix_table, verdict

COMMAND = (sys.executable, "-m", "underlay", "lab")
PHYSICAL = ["LAN → pod", "outside → pod", "pod → outside"]  # what macvlan gives without anybody's help


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("tlab-", tmp_path / "lab") as lab:
        yield lab


@pytest.fixture
def cluster(lab: Lab) -> Cluster:
    lab.reserve()
    cluster = Cluster(lab)
    cluster.build()
    return cluster


def right(lines: list[Line]) -> list[str]:
    """The rows that are right in both families."""
    return [line.row.text for line in lines if not any(cell.faults for cell in line.cells)]


def machine_state() -> dict[str, object]:
    """All that a lab could leave on the machine."""
    return {
        "namespaces": named(""),
        "links": run("ip", "-o", "link", "show").count("\n"),
        "rules": run("ip", "rule") + run("ip", "-6", "rule"),
        "run": sorted(os.listdir("/run")),
    }


class TestMatrix:
    def test_macvlan_alone_gives_what_the_physical_network_gives_and_no_more(self, cluster: Cluster) -> None:
        cluster.attach(Chain.MACVLAN)

        lines = measure(rows(cluster))

        assert right(lines) == PHYSICAL
        assert all(line.is_expected(Chain.MACVLAN) for line in lines)

    def test_every_way_is_right_with_veth(self, cluster: Cluster) -> None:
        cluster.attach(Chain.VETH)

        lines = measure(rows(cluster))

        assert [(line.row.text, cell.fault) for line in lines for cell in line.cells if cell.fault] == []

    def test_pods_are_made_again_after_they_were_deleted(self, cluster: Cluster) -> None:
        cluster.attach(Chain.VETH)
        cluster.detach()
        cluster.attach(Chain.MACVLAN)

        assert cluster.chain is Chain.MACVLAN
        assert right(measure(rows(cluster))) == PHYSICAL

    def test_a_wrong_source_address_is_a_fault(self, cluster: Cluster) -> None:
        cluster.attach(Chain.VETH)
        address = cluster.addresses(cluster.pod1).v4
        route = cluster.node1.netns.run("ip", "route", "show", "table", "500", str(address)).split(" src ")[
            0
        ]

        cluster.node1.netns.ip(f"route del {route} table 500", f"route add {route} table 500")
        to_pod = next(line for line in measure(rows(cluster)) if line.row.text == "node → its pod")

        assert [cell.fault for cell in to_pod.cells] == ["seen as 172.17.0.1", ""]
        assert not to_pod.is_expected(Chain.VETH)

    def test_another_process_finds_the_cluster_again(self, cluster: Cluster, lab: Lab) -> None:
        cluster.attach(Chain.VETH)

        again = Cluster(Lab(lab.prefix, lab.state_dir))

        assert again.addresses(again.dual, "net1") == cluster.addresses(cluster.dual, "net1")
        assert again.chain is Chain.VETH

    def test_the_changes_are_those_of_the_pod(self, cluster: Cluster) -> None:
        cluster.attach(Chain.VETH)

        commands = changes(cluster, cluster.pod1)

        assert commands[0].startswith(f"host: ip link add veth{cluster.pod1.container_id[:11]}")
        assert any(
            f"from {cluster.addresses(cluster.pod1).v6} lookup 100" in command for command in commands
        )
        assert changes(cluster, cluster.lab.pod("stranger")) == []


class TestTakingDown:
    def test_down_leaves_nothing(self, tmp_path: Path) -> None:
        before = machine_state()
        lab = Lab("tlab-", tmp_path / "lab")
        lab.reserve()
        cluster = Cluster(lab)
        cluster.build()
        cluster.attach(Chain.VETH)

        removed = lab.down()

        assert len(removed) == 14
        assert machine_state() == before
        assert not os.path.exists(lab.state_dir)

    def test_down_twice_is_fine(self, cluster: Cluster, lab: Lab) -> None:
        assert lab.down()
        assert lab.down() == []

    def test_a_second_lab_is_told_that_one_is_up(self, lab: Lab) -> None:
        lab.reserve()

        with pytest.raises(LabError, match="a lab is up already"):
            lab.reserve()


class TestCommand:
    """`underlay lab` as a person runs it. Nobody else's lab is here: the tests have a /run of their own."""

    @pytest.fixture(autouse=True)
    def nothing_is_left(self) -> Iterator[None]:
        before = machine_state()
        yield
        assert machine_state() == before

    def test_demo_shows_both_matrices_and_the_commands(self) -> None:
        done = subprocess.run([*COMMAND, "demo"], capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (0, "")
        assert "3 of 14 rows are right with macvlan alone" in done.stdout
        assert "14 of 14 rows are right with veth" in done.stdout
        assert "host: ip link add veth" in done.stdout
        assert "\x1b" not in done.stdout  # colours are for terminals

    def test_a_lab_is_built_shown_tested_and_taken_down(self) -> None:
        codes = {
            verb: subprocess.call([*COMMAND, verb], stdout=subprocess.DEVNULL) for verb in ("up", "status")
        }
        codes["test"] = subprocess.call([*COMMAND, "test"], stdout=subprocess.DEVNULL)
        second = subprocess.run([*COMMAND, "up"], capture_output=True, text=True, check=False)
        codes["down"] = subprocess.call([*COMMAND, "down"], stdout=subprocess.DEVNULL)

        assert codes == dict.fromkeys(("up", "status", "test", "down"), 0)
        assert second.returncode == 1
        assert "a lab is up already" in second.stderr

    def test_without_a_lab_the_error_says_what_to_do(self) -> None:
        done = subprocess.run([*COMMAND, "test"], capture_output=True, text=True, check=False)

        assert done.returncode == 1
        assert done.stderr == "error: no lab is up: `underlay lab up` builds one\n"

    def test_a_row_that_is_not_as_it_must_be_is_exit_1(self) -> None:
        subprocess.run([*COMMAND, "up"], capture_output=True, check=True)
        Cluster(Lab()).node1.netns.ip("link del docker0", "link set eth0 down")

        done = subprocess.run([*COMMAND, "test"], capture_output=True, text=True, check=False)
        Lab().down()

        assert done.returncode == 1
        assert "Not as it must be: " in " ".join(done.stdout.split())

    @pytest.mark.parametrize(
        "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name
    )
    @pytest.mark.parametrize("lines", [0, 1, 2], ids=["building", "attaching", "probing"])
    def test_a_signal_takes_everything_down(self, number: signal.Signals, lines: int) -> None:
        with started_demo(lines) as demo:
            demo.send_signal(number)
            _, errors = demo.communicate(timeout=20)

        assert (demo.returncode, errors) == (130, "Interrupted.\n")

    def test_a_second_signal_does_not_cut_short_the_taking_down(self) -> None:
        with started_demo(lines=2) as demo:
            while demo.poll() is None:
                demo.send_signal(signal.SIGINT)
                time.sleep(0.001)

    def test_what_a_killed_demo_left_is_found_by_down(self) -> None:
        with started_demo(lines=1) as demo:
            demo.kill()
            demo.communicate()
        assert named(PREFIX)

        done = subprocess.run([*COMMAND, "down"], capture_output=True, text=True, check=False)

        assert done.returncode == 0
        assert "namespaces are removed" in done.stdout


def started_demo(lines: int) -> subprocess.Popen[str]:
    """`underlay lab demo` that has begun to build and has printed that many lines."""
    demo = subprocess.Popen([*COMMAND, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert demo.stdout
    wait_for(lambda: os.path.exists(STATE_DIR))
    for _ in range(lines):
        assert demo.stdout.readline()
    return demo


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestTables:
    @pytest.mark.parametrize("width", [60, 120])
    @pytest.mark.parametrize("chain", Chain, ids=lambda chain: chain.name)
    def test_the_matrix_fits_without_breaking_a_line(
        self, cluster: Cluster, chain: Chain, width: int
    ) -> None:
        cluster.attach(chain)
        lines = measure(rows(cluster))
        output = StringIO()

        Console(file=output, width=width).print(matrix_table(lines, chain, width))
        printed = output.getvalue().splitlines()

        assert max(map(len, printed)) <= width
        assert [line.row.text for line in lines if not any(line.row.text in each for each in printed)] == []

    def test_the_verdict_names_what_is_wrong(self, cluster: Cluster) -> None:
        cluster.attach(Chain.MACVLAN)
        lines = [line for line in measure(rows(cluster)) if line.row.group in {"network", "second NIC"}]

        told = verdict(lines, Chain.VETH).plain

        assert told.startswith("3 of 4 rows are right with veth")
        assert told.endswith("Not as it must be: outside → second NIC.")


class TestRuntime:
    def test_add_check_and_del_of_the_real_macvlan(self, lab: Lab, tmp_path: Path) -> None:
        lan = lab.lan("lan", 10)
        node, client, pod = lab.node("node", lan, number=11), lab.host("client", lan, 50), lab.pod("pod")
        lab.up(lan, node, client, pod)
        runtime = Runtime(node.netns, [system_bin_dir()], str(tmp_path))
        network = networks.network("lan", networks.macvlan("eth0", networks.static(lan, 101)))

        result = runtime.add(network, pod)
        runtime.check(network, pod)
        answers = [
            reach(Probe(client.netns, Server(pod.netns, lan.host(101).of(version), protocol=UDP)))
            for version in VERSIONS
        ]
        runtime.delete(network, pod)
        runtime.delete(network, pod)

        assert [ip["address"] for ip in result["ips"]] == ["192.168.10.101/24", "fd00:10::101/64"]
        assert answers == [Answer(client.addresses.of(version)) for version in VERSIONS]
        assert runtime.attachment(network, pod) is None
        assert "eth0" not in pod.netns.run("ip", "link")

    def test_capabilities_reach_the_plugins_that_declare_them(self, lab: Lab, tmp_path: Path) -> None:
        lan = lab.lan("lan", 10)
        node, pod = lab.node("node", lan, number=11), lab.pod("pod")
        lab.up(lan, node, pod)
        runtime = Runtime(node.netns, [system_bin_dir()], str(tmp_path))
        macvlan = networks.macvlan("eth0", {"type": "static"}) | {"capabilities": {"ips": True}}

        result = runtime.add(networks.network("lan", macvlan), pod, ips=["192.168.10.77/24"])

        assert [ip["address"] for ip in result["ips"]] == ["192.168.10.77/24"]

    def test_a_refusal_has_the_plugin_s_own_words(self, lab: Lab, tmp_path: Path) -> None:
        lan = lab.lan("lan", 10)
        node, pod = lab.node("node", lan, number=11), lab.pod("pod")
        lab.up(lan, node, pod)
        runtime = Runtime(node.netns, [system_bin_dir()], str(tmp_path))
        network = networks.network("lan", networks.macvlan("nothing", networks.static(lan, 101)))

        with pytest.raises(PluginError, match="Link not found") as refused:
            runtime.add(network, pod)

        assert (refused.value.plugin, refused.value.verb, refused.value.code) == ("macvlan", "ADD", 999)

    def test_a_plugin_that_is_not_there_is_named(self, lab: Lab, tmp_path: Path) -> None:
        pod = lab.pod("pod")
        lab.up(pod)

        with pytest.raises(LabError, match="no CNI plugin nonesuch in /nowhere"):
            Runtime(pod.netns, ["/nowhere"], str(tmp_path)).version("nonesuch")


class TestConnectivity:
    def test_the_source_address_is_the_one_asked_for(self, lab: Lab) -> None:
        lan = lab.lan("lan", 10)
        one, other = lab.host("one", lan, 21), lab.host("other", lan, 22)
        lab.up(lan, one, other)
        one.netns.ip("addr add 192.168.10.99/24 dev eth0")
        second = IPv4Address("192.168.10.99")

        answer = reach(Probe(one.netns, Server(other.netns, other.addresses.v4), source=second))

        assert answer == Answer(second)

    def test_an_address_that_is_still_tentative_is_waited_for(self, lab: Lab) -> None:
        lan = lab.lan("lan", 10)
        one, other = lab.host("one", lan, 21), lab.host("other", lan, 22)
        lab.up(lan, one, other)
        one.netns.sysctl({"ipv6/conf/all/accept_dad": 1, "ipv6/conf/eth0/accept_dad": 1})
        one.netns.ip("addr add fd00:10::99/64 dev eth0")
        assert "tentative" in one.netns.run("ip", "addr")

        answer = reach(Probe(other.netns, Server(one.netns, lan.host(99).v6)))

        assert answer == Answer(other.addresses.v6)

    def test_a_server_without_its_address_is_an_answer_too(self, lab: Lab) -> None:
        lan = lab.lan("lan", 10)
        one = lab.host("one", lan, 21)
        lab.up(lan, one)

        answer = reach(Probe(one.netns, Server(one.netns, lan.host(98).v4)))

        assert answer == Answer(error="server: cannot assign requested address")
