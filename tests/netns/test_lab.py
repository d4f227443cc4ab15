"""The lab shows what it must, in every variant of its scenarios, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from io import StringIO
from ipaddress import IPv4Address
from itertools import islice, zip_longest
from pathlib import Path

import pytest
from rich.console import Console

from tests.netns.world import state_of
from underlay.explain.text import commands_text
from underlay.install import is_built
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
from underlay.lab.networks import Variant
from underlay.lab.runtime import Runtime
from underlay.lab.scenario import Deployment, Scenario, deployed
from underlay.lab.scenarios import SCENARIOS, three_nics, veth
from underlay.lab.setup import AGENT, PROCESS
from underlay.lab.standin import StandIn
from underlay.lab.tables import matrix_table, verdict

COMMAND = (sys.executable, "-m", "underlay", "lab")
EVERY = [(scenario, variant) for scenario in SCENARIOS for variant in scenario.variants]
WITHOUT, WITH = veth.SCENARIO.variants
BUILDING, ATTACHING, PROBING = 0, 1, 6  # lines that the demo has printed before it does that
# What each family has without our plugin: see `remark` for why the families differ beside an overlay.
BY_OVERLAY = [
    "pod → ClusterIP, this node",
    "pod → ClusterIP, other node",
    "pod → overlay pod, this node",
    "pod → overlay pod, other node",
    "node → eth0",
    "overlay pod → eth0, this node",
    "overlay pod → eth0, other node",
]
PHYSICAL = ["LAN → pod", "outside → pod", "pod → outside"]
ALONE = {
    "veth": (PHYSICAL, PHYSICAL),
    "overlay": (["LAN → net1", "outside → net1", "pod → outside"], ["LAN → net1", *BY_OVERLAY]),
    "three-nics": (
        ["LAN → net1", "LAN → net2", "outside → net2", "pod → outside"],
        ["LAN → net1", "LAN → net2", *BY_OVERLAY],
    ),
}

Matrices = dict[tuple[str, str, str], list[Line]]  # by scenario, variant, and what answers calls
NO_SHIM = pytest.mark.skipif(
    not is_built(), reason="the agent: no C compiler has built the shim that asks it"
)
BOTH_WAYS = pytest.mark.parametrize("answer", [PROCESS, pytest.param(AGENT, marks=NO_SHIM)])

ALL_SCENARIOS = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)


def variants(*made: tuple[Scenario, Variant]) -> pytest.MarkDecorator:
    """The test runs for each of them."""
    ids = [f"{scenario.name}-{variant.name}" for scenario, variant in made]
    return pytest.mark.parametrize(("scenario", "variant"), made, ids=ids)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab("tlab-", tmp_path / "lab") as lab:
        yield lab


@pytest.fixture
def cluster(lab: Lab) -> Cluster:
    return built(lab)


@pytest.fixture
def here(cluster: Cluster) -> Deployment:
    """The scenario `veth`, on which nothing depends that all have in common."""
    return deployment(cluster, veth.SCENARIO)


@pytest.fixture(scope="module")
def matrices(tmp_path_factory: pytest.TempPathFactory) -> Matrices:
    """Every scenario in every variant, each on a cluster of its own, so that all wait at once.

    An agent comes to the clusters when all is measured without, and answers for our plugins from then on.
    """
    found: Matrices = {}
    with ExitStack() as stack:
        labs = [Lab(f"mlab{i}-", tmp_path_factory.mktemp("lab") / "lab") for i in range(len(SCENARIOS))]
        places = [
            deployment(built(stack.enter_context(lab)), scenario)
            for lab, scenario in zip(labs, SCENARIOS, strict=True)
        ]
        for turn in zip_longest(*(scenario.variants for scenario in SCENARIOS)):
            found |= measured(zip(places, turn, strict=True), PROCESS)
        if not is_built():
            return found
        for here in places:
            here.cluster.agent.start()
        for turn in zip_longest(*(ours(scenario) for scenario in SCENARIOS)):
            found |= measured(zip(places, turn, strict=True), AGENT)
    return found


def ours(scenario: Scenario) -> list[Variant]:
    """The variants in which our plugins are called."""
    return [variant for variant in scenario.variants if variant.complete]


def measured(places: Iterable[tuple[Deployment, Variant | None]], answer: str) -> Matrices:
    """The matrices of one variant on each cluster that has one, whose pods come and go for it."""
    now, found = [(here, variant) for here, variant in places if variant], {}
    for here, variant in now:
        here.attach(variant)
    lines = iter(measure([row for here, _ in now for row in here.rows]))
    for here, variant in now:
        found[here.scenario.name, variant.name, answer] = list(islice(lines, len(here.rows)))
    for here, _ in now:
        here.detach()
    return found


def built(lab: Lab) -> Cluster:
    lab.reserve()
    cluster = Cluster(lab)
    cluster.build()
    return cluster


def deployment(cluster: Cluster, scenario: Scenario) -> Deployment:
    return Deployment(cluster, scenario, StandIn(cluster))


def right(lines: list[Line], family: int) -> list[str]:
    """The rows that are right in a family, by its place in VERSIONS."""
    return [line.row.text for line in lines if not line.cells[family].faults]


def machine_state() -> dict[str, object]:
    """All that a lab could leave on the machine."""
    return {
        "namespaces": named(""),
        "links": run("ip", "-o", "link", "show").count("\n"),
        "rules": run("ip", "rule") + run("ip", "-6", "rule"),
        "run": sorted(os.listdir("/run")),
    }


class TestScenario:
    @BOTH_WAYS
    @variants(*(made for made in EVERY if made[1].complete))
    def test_every_way_is_right_with_our_plugin(
        self, matrices: Matrices, scenario: Scenario, variant: Variant, answer: str
    ) -> None:
        lines = matrices[scenario.name, variant.name, answer]

        assert [(line.row.text, cell.fault) for line in lines for cell in line.cells if cell.fault] == []

    @variants(*(made for made in EVERY if not made[1].complete))
    def test_macvlan_alone_gives_as_much_as_is_said_and_no_more(
        self, matrices: Matrices, scenario: Scenario, variant: Variant
    ) -> None:
        lines = matrices[scenario.name, variant.name, PROCESS]

        assert (right(lines, 0), right(lines, 1)) == ALONE[scenario.name]
        assert all(line.is_expected(variant) for line in lines)

    @BOTH_WAYS
    @ALL_SCENARIOS
    def test_deleting_its_pods_leaves_the_node_as_it_was(
        self, cluster: Cluster, scenario: Scenario, answer: str
    ) -> None:
        here, before = deployment(cluster, scenario), state_of(cluster.node1.netns)
        if answer == AGENT:
            cluster.agent.start()

        here.attach(scenario.variants[-1])
        here.detach()

        assert state_of(cluster.node1.netns).splitlines() == before.splitlines()
        assert not os.path.exists(cluster.records)

    @pytest.mark.parametrize("width", [60, 140])
    @variants(*EVERY)
    def test_its_matrix_fits_without_breaking_a_line(
        self, matrices: Matrices, scenario: Scenario, variant: Variant, width: int
    ) -> None:
        lines, output = matrices[scenario.name, variant.name, PROCESS], StringIO()

        Console(file=output, width=width).print(matrix_table(lines, variant, width))
        printed = output.getvalue().splitlines()

        assert max(map(len, printed)) <= width
        assert [line.row.text for line in lines if not any(line.row.text in each for each in printed)] == []


class TestMatrix:
    def test_a_wrong_source_address_is_a_fault(self, here: Deployment) -> None:
        here.attach(WITH)
        address, node = here.end("pod1", "eth0").addresses.v4, here.cluster.node1.netns
        route = node.run("ip", "route", "show", "table", "500", str(address)).split(" src ")[0]

        node.ip(f"route del {route} table 500", f"route add {route} table 500")
        to_pod = next(line for line in measure(here.rows) if line.row.text == "node → its pod")

        assert [cell.fault for cell in to_pod.cells] == ["seen as 172.17.0.1", ""]
        assert not to_pod.is_expected(WITH)

    def test_another_process_finds_the_scenario_again(self, cluster: Cluster) -> None:
        here = deployment(cluster, three_nics.SCENARIO)
        here.attach(three_nics.SCENARIO.variants[0])

        found = Cluster(Lab(cluster.lab.prefix, cluster.lab.state_dir))
        again, variant = deployed(found, SCENARIOS, StandIn(found))

        assert (again.scenario, variant) == (here.scenario, three_nics.SCENARIO.variants[0])
        assert again.end("pod1", "net2") == here.end("pod1", "net2")


class TestChanges:
    def test_they_are_the_commands_of_the_pod_by_place(self, here: Deployment) -> None:
        here.attach(WITH)
        nic = here.scene.nics[0]

        found = changes(here.cluster, nic)

        assert found[0][0] == "On the node: links and settings"
        assert found[0][1][0].startswith(f"ip link add veth{nic.pod.container_id[:11]} ")
        assert (
            f"ip -6 rule add from {here.end('pod1', 'eth0').addresses.v6} lookup 100 priority 2000 proto 201"
            in [
                command
                for heading, commands in found
                if heading == "In the pod: rules"
                for command in commands
            ]
        )

    def test_they_are_those_of_the_newest_nic_and_what_it_took_from_others(self, cluster: Cluster) -> None:
        here = deployment(cluster, three_nics.SCENARIO)
        here.attach(three_nics.SCENARIO.variants[-1])

        found = changes(cluster, here.scene.shown)
        commands = [command for _, commands in found for command in commands]

        assert [heading for heading, _ in found] == [
            "In the pod: links and settings",
            "On the node: where the pod is",
            "In the pod: table 102",
            "In the pod: rules",
            "In the pod: taken away, to be put back by DEL",
        ]
        assert "ip route del default via 169.254.1.1 dev eth0 metric 100 proto 3" in commands
        assert [command for command in commands if " net1 " in command] == []

    def test_a_folded_command_is_still_one_for_a_shell(self) -> None:
        command = "ip -6 route add default via fe80::1 dev eth0 metric 512 table 100 proto 201"

        folded = commands_text([command], 40).plain

        assert folded == (
            "  ip -6 route add default via fe80::1 \\\n"
            "      dev eth0 metric 512 table 100 \\\n"
            "      proto 201"
        )
        assert commands_text([command], None).plain == f"  {command}"


class TestTakingDown:
    @ALL_SCENARIOS
    def test_down_leaves_nothing(self, tmp_path: Path, scenario: Scenario) -> None:
        before = machine_state()
        lab = Lab("tlab-", tmp_path / "lab")
        cluster = built(lab)
        cluster_namespaces = named(lab.prefix)
        deployment(cluster, scenario).attach(scenario.variants[-1])

        removed = lab.down()

        assert len(removed) == len(cluster_namespaces) + len(scenario.scene(cluster).pods)
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

    def test_demo_shows_every_scenario_twice_and_the_commands(self) -> None:
        done = subprocess.run([*COMMAND, "demo"], capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (0, "")
        assert [line for line in done.stdout.splitlines() if " rows are right " in line] == [
            "3 of 14 rows are right with macvlan alone.",
            "14 of 14 rows are right with veth chained behind macvlan.",
            "1 of 18 rows are right with macvlan alone.",
            "18 of 18 rows are right with router chained behind macvlan.",
            "2 of 28 rows are right with macvlan alone.",
            "28 of 28 rows are right with router chained behind macvlan.",
            "22 of 22 rows are right with vxlan over a multicast group.",
            "22 of 22 rows are right with vxlan over unicast to its peers.",
        ]
        assert done.stdout.count("✓ After the last DEL the nodes are as before the first ADD") == 2
        assert any(line.startswith("  ip link add veth") for line in done.stdout.splitlines())
        assert " \\\n" not in done.stdout  # a command is a line
        assert "\x1b" not in done.stdout  # colours are for terminals

    def test_demo_begins_with_the_scenario_that_was_named(self) -> None:
        with started_demo(2, "--scenario", "overlay") as demo:
            assert demo.stdout
            assert demo.stdout.readline().startswith("overlay ──")
            demo.send_signal(signal.SIGINT)

    @NO_SHIM
    def test_demo_has_an_agent_answer_and_leaves_none(self) -> None:
        done = subprocess.run(
            [*COMMAND, "demo", "--scenario", "overlay", "--answer", "agent"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert (done.returncode, done.stderr) == (0, "")
        assert "starting an agent …" in done.stdout
        assert "18 of 18 rows are right with router" in done.stdout
        assert agents() == []

    @NO_SHIM
    def test_an_agent_stays_with_the_lab_that_is_up_and_goes_with_it(self) -> None:
        up = subprocess.run(
            [*COMMAND, "up", "--answer", "agent"], capture_output=True, text=True, check=False
        )
        working = agents()
        down = subprocess.call([*COMMAND, "down"], stdout=subprocess.DEVNULL)

        assert (up.returncode, up.stderr, down) == (0, "", 0)
        assert "calls of our plugins are answered by an agent" in " ".join(up.stdout.split())
        assert len(working) == 1
        assert agents() == []

    @pytest.mark.parametrize(
        ("option", "refusal"),
        [
            ("--runtime", "there is no runtime docker: there are stand-in, containerd"),
            ("--answer", "there is no answer docker: there are process, agent"),
        ],
    )
    def test_what_there_is_not_is_refused_with_what_there_is(self, option: str, refusal: str) -> None:
        done = subprocess.run(
            [*COMMAND, "up", option, "docker"], capture_output=True, text=True, check=False
        )

        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {refusal}\n")

    @pytest.mark.parametrize("verb", ["up", "demo"])
    def test_an_unknown_scenario_is_refused_with_those_that_there_are(self, verb: str) -> None:
        done = subprocess.run(
            [*COMMAND, verb, "--scenario", "four-nics"], capture_output=True, text=True, check=False
        )

        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr
            == "error: there is no scenario four-nics: there are veth, overlay, three-nics, vxlan\n"
        )

    def test_an_unknown_variant_is_refused_with_those_that_there_are(self) -> None:
        done = subprocess.run(
            [*COMMAND, "up", "--scenario", "overlay", "--variant", "unicast"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "error: scenario overlay has no variant unicast: there are without, with\n"

    def test_a_lab_is_built_shown_tested_and_taken_down(self) -> None:
        verbs = (["up", "--scenario", "overlay", "--variant", "with"], ["status"], ["test"])
        done = [
            subprocess.run([*COMMAND, *verb], capture_output=True, text=True, check=False) for verb in verbs
        ]
        second = subprocess.run([*COMMAND, "up"], capture_output=True, text=True, check=False)
        down = subprocess.call([*COMMAND, "down"], stdout=subprocess.DEVNULL)

        assert [each.returncode for each in done] + [down] == [0, 0, 0, 0]
        assert "ulab-pod1 net1" in done[1].stdout
        assert "18 of 18 rows are right with router" in done[2].stdout
        assert second.returncode == 1
        assert "a lab is up already" in second.stderr

    def test_without_a_lab_the_error_says_what_to_do(self) -> None:
        done = subprocess.run([*COMMAND, "test"], capture_output=True, text=True, check=False)

        assert done.returncode == 1
        assert done.stderr == "error: no lab is up: `underlay lab up` builds one\n"

    def test_a_row_that_is_not_as_it_must_be_is_exit_1(self) -> None:
        subprocess.run([*COMMAND, "up"], capture_output=True, check=True)
        Cluster(Lab()).node1.netns.ip("rule del priority 1000")

        done = subprocess.run([*COMMAND, "test"], capture_output=True, text=True, check=False)
        Lab().down()

        assert done.returncode == 1
        assert "Not as it must be: " in " ".join(done.stdout.split())

    @pytest.mark.parametrize(
        ("number", "lines"),
        [
            (signal.SIGINT, BUILDING),
            (signal.SIGINT, ATTACHING),
            (signal.SIGINT, PROBING),
            (signal.SIGTERM, ATTACHING),
            (signal.SIGHUP, PROBING),
        ],
    )
    def test_a_signal_takes_everything_down(self, number: signal.Signals, lines: int) -> None:
        with started_demo(lines) as demo:
            demo.send_signal(number)
            _, errors = demo.communicate(timeout=20)

        assert (demo.returncode, errors) == (130, "Interrupted.\n")

    def test_a_second_signal_does_not_cut_short_the_taking_down(self) -> None:
        with started_demo(PROBING) as demo:
            while demo.poll() is None:
                demo.send_signal(signal.SIGINT)
                time.sleep(0.001)

    def test_what_a_killed_demo_left_is_found_by_down(self) -> None:
        with started_demo(ATTACHING) as demo:
            demo.kill()
            demo.communicate()
        assert named(PREFIX)

        done = subprocess.run([*COMMAND, "down"], capture_output=True, text=True, check=False)

        assert done.returncode == 0
        assert "namespaces are removed" in done.stdout


def agents() -> list[str]:
    """The commands of all agents of labs that run."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            commands.append(path.read_bytes().replace(b"\0", b" ").decode())
    return [command for command in commands if f"underlay agent --socket {STATE_DIR}/" in command]


def started_demo(lines: int, *options: str) -> subprocess.Popen[str]:
    """`underlay lab demo` that has begun to build and has printed that many lines."""
    demo = subprocess.Popen(
        [*COMMAND, "demo", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
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


class TestVerdict:
    def test_it_names_what_is_wrong(self, matrices: Matrices) -> None:
        every = matrices["veth", WITHOUT.name, PROCESS]
        lines = [line for line in every if line.row.group in {"network", "second NIC"}]

        told = verdict(lines, WITH).plain

        assert told == (
            "3 of 4 rows are right with veth chained behind macvlan."
            " Not as it must be: outside → second NIC."
        )


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
