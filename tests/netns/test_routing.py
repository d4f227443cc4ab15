"""Claims of `routetable` and a real routing daemon, with the configuration of docs/routing.md.

Two nodes and `edge`, a machine that is none, on one LAN; BIRD on each of them.
"""

from __future__ import annotations

import json
import re
import select
import socket
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_interface
from itertools import product
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.netns.bird import (
    LAN,
    PAGE,
    SPEAKERS,
    Bird,
    Way,
    configuration,
    deleted,
    documented,
    wait_until,
    ways,
)
from tests.netns.site import Site
from tests.netns.world import World, failures
from underlay.claims import CLAIM
from underlay.cni.claim import SPREADING
from underlay.lab.addresses import VERSIONS, IPAddress, subnets
from underlay.lab.connectivity import Probe, Server
from underlay.lab.echo import UDP, opened
from underlay.lab.errors import PluginError
from underlay.lab.namespace import Netns
from underlay.lab.pod import Json, Pod
from underlay.lab.runtime import Runtime

BIRD = 12  # the routing protocol number of what the daemon has learned
METRIC = {4: 0, 6: 1024}  # of a claim
BEHIND = 4096  # of what the daemon has learned
NETWORK = subnets("10.66.0.0/24", "fd00:66::/64")
CLAIMED = NETWORK.host(5)
SMALL = ["10.66.0.0/27", "fd00:66::/123"]  # 30 and 31 addresses
AT_ONCE = 25
ICMP = {  # level, hop limit, and errors kept in a queue, with who sent them (ip(7), ipv6(7))
    4: (socket.IPPROTO_IP, socket.IP_TTL, 11),
    6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 25),
}
MSG_ERRQUEUE = 0x2000
EXTENDED_ERROR = 16  # bytes of sock_extended_err, before the address of who answered
NOBODY_LISTENS = 33434  # the port where traceroute begins
UNTOLD = (
    *("addr add 10.66.0.1/24 dev net0", "addr add fd00:66::1/64 dev net0"),
    *("route add 10.66.0.64/28 dev net0 proto 202", "route add fd00:66::40/124 dev net0 proto 202"),
    *("route add 10.99.0.1 dev net0 proto 202", "route add fd00:99::1 dev net0 proto 202"),
    *("route add 10.66.0.7 dev net0", "route add fd00:66::7 dev net0"),
    *("route add 10.66.0.8 dev net0 proto 201", "route add fd00:66::8 dev net0 proto 201"),
)


@dataclass
class Fabric:
    """The machines and their daemons, by the names of the page."""

    site: Site
    machines: dict[str, Netns]
    birds: dict[str, Bird]
    pods: Netns

    def start(self) -> None:
        for bird in self.birds.values():
            bird.start()
        self.wait_for_sessions()

    def wait_for_sessions(self) -> None:
        for name, bird in self.birds.items():
            bird.wait_for_sessions(*(other for other in self.birds if other != name))

    def claim(self, name: str, address: IPAddress) -> None:
        self.machines[name].ip(f"route add {address} dev net0 proto {CLAIM}")

    def give_back(self, name: str, address: IPAddress) -> None:
        self.machines[name].ip(f"route del {address} dev net0 proto {CLAIM}")

    def ways(self, name: str, address: IPAddress) -> list[Way]:
        return ways(self.machines[name], address)

    def wait_for(self, name: str, address: IPAddress, *wanted: Way) -> None:
        """Until these are all the routes that a machine has to the address."""
        wait_until(
            lambda: self.ways(name, address) == list(wanted),
            lambda: f"{name} has {self.ways(name, address)}, not {wanted}",
        )

    def wait_for_all(self, name: str, version: int, addresses: Collection[str]) -> None:
        """Until these are all addresses that a machine has learned."""
        wait_until(
            lambda: destinations(self.machines[name], version, BIRD) == sorted(addresses),
            lambda: f"{name} has {destinations(self.machines[name], version, BIRD)}, not {addresses}",
        )


def own(version: int) -> Way:
    return Way(CLAIM, "", "net0", METRIC[version])


def learned(owner: str, version: int) -> Way:
    return Way(BIRD, str(LAN.host(SPEAKERS[owner]).of(version)), "eth0", BEHIND)


def others(name: str) -> list[str]:
    return [other for other in SPEAKERS if other != name]


def destinations(netns: Netns, version: int, proto: int) -> list[str]:
    """Whereto all routes of a protocol lead, if they lead anywhere."""
    shown = netns.run("ip", f"-{version}", "-json", "route", "show", "proto", str(proto))
    return sorted(route["dst"] for route in json.loads(shown) if route.get("type") != "unreachable")


@pytest.fixture
def fabric(world: World) -> Iterator[Fabric]:
    """Daemons that are configured and not started, and on each machine a link `net0` to claim by."""
    lan = world.lan(LAN)
    site = Site(world, (world.node(SPEAKERS["node1"]), world.node(SPEAKERS["node2"])))
    edge = world.host(lan, SPEAKERS["edge"])
    machines = dict(zip(SPEAKERS, (*(node.netns for node in site.nodes), edge.netns), strict=True))
    for netns in machines.values():
        netns.ip("link add net0 type bridge", "link set net0 up")
    birds = {name: Bird(name, netns, configuration(name)) for name, netns in machines.items()}
    yield Fabric(site, machines, birds, world.netns("pods"))
    for bird in birds.values():
        bird.remove()


@pytest.fixture
def running(fabric: Fabric) -> Fabric:
    fabric.start()
    return fabric


def test_node1_runs_what_the_page_shows_to_the_letter() -> None:
    assert configuration("node1") == documented()


def test_the_page_has_the_numbers_that_are_in_force() -> None:
    page = PAGE.read_text(encoding="utf-8")

    for number in (CLAIM, f"{METRIC[4]}`; IPv6 `{METRIC[6]}", BEHIND, f"{SPREADING * 1000:g}ms"):
        assert f"| `{number}` |\n" in page


@pytest.mark.parametrize("as_numbers", ["of their own", "one for all"])
def test_a_claim_is_known_on_all_machines_until_it_is_given_back(fabric: Fabric, as_numbers: str) -> None:
    if as_numbers == "one for all":
        for bird in fabric.birds.values():
            bird.configuration = re.sub(r"\b650\d\d\b", "65000", bird.configuration)
    fabric.start()

    for owner in ("node1", "node2"):
        for version in VERSIONS:
            address = CLAIMED.of(version)
            fabric.claim(owner, address)
            for name in others(owner):
                fabric.wait_for(name, address, learned(owner, version))
            assert fabric.ways(owner, address) == [own(version)]
            fabric.give_back(owner, address)
            for name in SPEAKERS:
                fabric.wait_for(name, address)


def test_nothing_but_single_addresses_of_the_networks_is_told_or_believed(fabric: Fabric) -> None:
    credulous = fabric.birds["edge"]
    for version, everything in ((4, "0.0.0.0/0+"), (6, "::/0+")):
        line = f"define NETWORKS{version} = [ {everything} ];"
        credulous.configuration = re.sub(f"define NETWORKS{version} .*", line, credulous.configuration)
    fabric.start()

    for name in ("node1", "edge"):
        fabric.machines[name].ip(*UNTOLD)
        for version in VERSIONS:
            fabric.claim(name, NETWORK.host(SPEAKERS[name]).of(version))

    for name, other in (("node1", "edge"), ("edge", "node1")):
        for version in VERSIONS:
            address = NETWORK.host(SPEAKERS[other]).of(version)
            fabric.wait_for(name, address, learned(other, version))
            assert destinations(fabric.machines[name], version, BIRD) == [str(address)]


def test_both_nodes_see_a_double_claim_and_nobody_else_follows_the_second(running: Fabric) -> None:
    edge = running.birds["edge"]
    for version in VERSIONS:
        address = CLAIMED.of(version)
        running.claim("node2", address)
        for name in ("node1", "edge"):
            running.wait_for(name, address, learned("node2", version))
        running.claim("node1", address)

        running.wait_for("node1", address, own(version), learned("node2", version))
        running.wait_for("node2", address, own(version), learned("node1", version))
        for name in ("node1", "node2"):
            assert " dev net0 " in running.machines[name].run("ip", "route", "get", str(address))
        wait_until(partial(edge.has_heard, "node1", address), lambda: edge.ask("show route all"))
        assert running.ways("edge", address) == [learned("node2", version)]


def test_claims_go_everywhere_with_the_link_that_they_lead_through(running: Fabric) -> None:
    for version in VERSIONS:
        running.claim("node1", CLAIMED.of(version))
        running.wait_for("node2", CLAIMED.of(version), learned("node1", version))

    running.machines["node1"].ip("link set net0 down")

    for version in VERSIONS:
        for name in SPEAKERS:
            running.wait_for(name, CLAIMED.of(version))


@pytest.mark.parametrize(
    ("end", "forgetful"),
    [(Bird.kill, set()), (Bird.stop_for_a_restart, set()), (Bird.stop, {"node2"})],
    ids=["crash", "graceful restart", "stop"],
)
def test_who_forgets_a_claim_when_the_daemon_of_node1_ends_and_comes_back(
    running: Fabric, end: Callable[[Bird], None], forgetful: set[str]
) -> None:
    for owner, other in (("node1", "node2"), ("node2", "node1")):
        for version in VERSIONS:
            address = NETWORK.host(SPEAKERS[owner]).of(version)
            running.claim(owner, address)
            running.wait_for(other, address, learned(owner, version))

    with deleted(running.machines["node1"]) as by_node1, deleted(running.machines["node2"]) as by_node2:
        end(running.birds["node1"])
        running.birds["node2"].wait_for_sessions("edge")
        running.birds["node1"].start("-R")
        running.wait_for_sessions()
        running.claim("node1", CLAIMED.v4)
        running.wait_for("node2", CLAIMED.v4, learned("node1", 4))

    lines = {"node1": by_node1, "node2": by_node2}
    assert {name for name, of_it in lines.items() if any(" via " in line for line in of_it)} == forgetful


def test_a_node_without_carrier_and_the_others_hold_each_others_claims(fabric: Fabric) -> None:
    for bird in fabric.birds.values():
        bird.configuration = bird.configuration.replace("hold time 9;", "hold time 3;")
    fabric.start()
    pairs = [
        (version, owner, other, NETWORK.host(SPEAKERS[owner]).of(version))
        for version in VERSIONS
        for owner, other in (("node1", "node2"), ("node2", "node1"))
    ]
    for version, owner, other, address in pairs:
        fabric.claim(owner, address)
        fabric.wait_for(other, address, learned(owner, version))

    fabric.site.world.lans[0].netns.ip(f"link set port{SPEAKERS['node1']} down")
    fabric.birds["node1"].wait_for_sessions()
    fabric.birds["node2"].wait_for_sessions("edge")

    for version, owner, other, address in pairs:
        assert fabric.ways(other, address) == [learned(owner, version)]


def test_a_double_claim_made_without_a_session_is_seen_by_both_as_soon_as_there_is_one(
    fabric: Fabric,
) -> None:
    fabric.birds["node1"].start()
    for version in VERSIONS:
        for name in ("node1", "node2"):
            fabric.claim(name, CLAIMED.of(version))
    fabric.birds["node2"].start()

    for version in VERSIONS:
        fabric.wait_for("node1", CLAIMED.of(version), own(version), learned("node2", version))
        fabric.wait_for("node2", CLAIMED.of(version), own(version), learned("node1", version))


def test_claims_at_one_moment_in_one_small_range_give_each_address_once(running: Fabric) -> None:
    claimants = [Claimant(running, ("node1", "node2")[number % 2], number) for number in range(AT_ONCE)]

    given = add_at_once(claimants)

    for version in VERSIONS:
        addresses = [str(address) for pair in given for address in pair if address.version == version]
        assert len(set(addresses)) == AT_ONCE
        by_node = {"node1": sorted(addresses[0::2]), "node2": sorted(addresses[1::2]), "edge": []}
        for name, netns in running.machines.items():
            assert destinations(netns, version, CLAIM) == by_node[name]
            running.wait_for_all(name, version, set(addresses).difference(by_node[name]))


def test_a_claim_is_given_back_when_another_node_has_the_address_too(running: Fabric) -> None:
    address = CLAIMED.v4
    claimant = Claimant(running, "node1", 0, wait="3s", ips=[f"{address}/27"])

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(claimant.call, "ADD")
        running.wait_for("node1", address, own(4))
        running.claim("node2", address)
        with pytest.raises(PluginError, match=r"the node 192\.168\.50\.12 has it") as refused:
            answer.result()

    assert refused.value.code == 102
    running.wait_for("node1", address, learned("node2", 4))
    running.wait_for("node2", address, own(4))


@dataclass(frozen=True)
class Claimant:
    """Has the executable `routetable` claim addresses for a pod, by `net0` of its node."""

    fabric: Fabric
    node: str
    number: int
    wait: str = ""
    ips: list[str] | None = None

    @property
    def pod(self) -> Pod:
        """All are in one namespace: when addresses are claimed there is no NIC yet."""
        return Pod(self.fabric.pods, f"pod{self.number}")

    @property
    def config(self) -> Json:
        ipam: Json = {"type": "routetable", "ranges": SMALL, "dev": "net0"}
        if self.wait:
            ipam["propagation_wait"] = self.wait
        log = {"log_file": f"{self.fabric.site.world.directory}/routetable.log"}
        asked = {"runtimeConfig": {"ips": self.ips}} if self.ips else {}
        return {
            "cniVersion": "1.0.0",
            "name": "lan",
            "type": "macvlan",
            "ipam": ipam,
            "log_options": log,
            **asked,
        }

    @property
    def variables(self) -> dict[str, str]:
        return {
            "CNI_CONTAINERID": self.pod.container_id,
            "CNI_NETNS": self.pod.netns.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": ":".join(self.runtime.bin_dirs),
        }

    @property
    def runtime(self) -> Runtime:
        return self.fabric.site.runtime(list(SPEAKERS).index(self.node))

    def call(self, verb: str) -> str:
        return self.runtime.call("routetable", verb, self.config, self.variables)

    def start(self) -> subprocess.Popen[str]:
        """An ADD that has not been given its configuration yet."""
        runtime = self.runtime
        with runtime.node.entered():
            return subprocess.Popen(
                [runtime.find("routetable")], text=True, stdin=PIPE, stdout=PIPE,
                env={**runtime.environment, **self.variables, "CNI_COMMAND": "ADD"},
            )  # fmt: skip


def add_at_once(claimants: Sequence[Claimant]) -> list[list[IPAddress]]:
    """The addresses of each. To load a program takes longer than a claim does, so all are loaded first."""
    with ExitStack() as stack, ThreadPoolExecutor(len(claimants)) as pool:
        calls = [stack.enter_context(claimant.start()) for claimant in claimants]
        wait_until(lambda: all(map(sleeps, calls)), lambda: "all of them wait for their configuration")
        texts = [json.dumps(claimant.config) for claimant in claimants]
        answers = [json.loads(said) for said, _ in pool.map(subprocess.Popen.communicate, calls, texts)]
    assert [answer for answer in answers if "code" in answer] == []
    return [[ip_interface(ip["address"]).ip for ip in answer["ips"]] for answer in answers]


def sleeps(process: subprocess.Popen[str]) -> bool:
    """Whether a process waits for something (proc(5))."""
    return "\nState:\tS" in Path(f"/proc/{process.pid}/status").read_text()


@pytest.mark.parametrize("gateway", ["per-node", "anycast"])
def test_what_comes_from_elsewhere_goes_straight_to_the_node_that_has_the_pod(
    running: Fabric, gateway: str
) -> None:
    site = running.site
    for node in site.nodes:
        node.netns.sysctl({f"ipv4/conf/{dev}/rp_filter": 1 for dev in ("all", "eth0")})
    peers = [str(node.addresses.v4) for node in site.nodes]
    network = site.network(site.blue(gateway=gateway, peers=peers))
    pods = {name: site.pod(f"of-{name}", number, network) for number, name in enumerate(("node1", "node2"))}

    for owner, pod in pods.items():
        running.machines[owner].sysctl({"ipv4/conf/mv_blue/rp_filter": 1})  # `vxlan` has set 2
        for version in VERSIONS:
            address = pod.address(version)
            for name in others(owner):
                running.wait_for(name, address, learned(owner, version))
            on_the_way = LAN.host(SPEAKERS[owner]).of(version)
            assert hops(running.machines["edge"], address) == [on_the_way, address]
    in_pods = [pod.pod.netns for pod in pods.values()]
    for version in VERSIONS:
        of_pods = [Server(pod.pod.netns, pod.address(version)) for pod in pods.values()]
        of_nodes = [Server(node.netns, node.addresses.of(version)) for node in site.nodes]
        every = [*product((*running.machines.values(), *in_pods), of_pods), *product(in_pods, of_nodes)]
        assert failures(Probe(client, server) for client, server in every) == []


def hops(client: Netns, address: IPAddress) -> list[IPAddress]:
    """Who answers on the way to the address, and at last the machine that has it, as traceroute does."""
    found: list[IPAddress] = []
    while address not in found:
        with opened(client, UDP, address.version) as sock:
            level, limit, errors = ICMP[address.version]
            sock.setsockopt(level, limit, len(found) + 1)
            sock.setsockopt(level, errors, 1)
            sock.connect((str(address), NOBODY_LISTENS))
            found.append(answerer(sock))
    return found


def answerer(sock: socket.socket) -> IPAddress:
    """Who sends an ICMP error for a datagram; it may be lost while a neighbour is learned."""
    poll = select.poll()
    poll.register(sock, select.POLLERR)

    def has_answer() -> bool:
        with suppress(OSError):  # the error of an answer that has come just now
            sock.send(b"")
        return bool(poll.poll(100))

    wait_until(has_answer, lambda: f"an answer to {sock}")
    _, ((_, _, data), *_), _, _ = sock.recvmsg(0, 256, MSG_ERRQUEUE)
    packed = data[EXTENDED_ERROR:]
    return ip_address(packed[4:8] if sock.family == socket.AF_INET else packed[8:24])
