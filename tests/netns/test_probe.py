"""Conflicts, gateways and announcements on a real kernel: whose word counts, and how long silence takes."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from tests.netns.world import LAN_A, World, address, without_veth
from underlay.cni.errors import KernelError
from underlay.lab.addresses import VERSIONS, IPAddress
from underlay.lab.namespace import Netns
from underlay.lab.topology import Lan
from underlay.netns import is_same, open_netns
from underlay.probe import Holder, Speaker, Wire, announce, conflict, silent_gateways
from underlay.probe.frames import (
    ALL_NODES,
    BROADCAST,
    NOBODY4,
    NOBODY6,
    OVERRIDE,
    REPLY,
    REQUEST,
    Advertisement,
    Arp,
    Frame,
    Solicitation,
    decode,
    encode,
    group_mac,
    question,
    solicited_node,
)
from underlay.probe.tap import tapped

ETH_P_ALL = 3
POD, HOST, FREE = 77, 50, 88  # numbers on the LAN; nobody has the last
LONG = 20.0  # seconds; what waits that long has not ended early
FREE4, FREE6 = LAN_A.host(FREE).v4, LAN_A.host(FREE).v6
SOMEBODY = "02:00:00:00:0b:0b"
OLD_MAC = "02:00:00:00:01:d0"


@dataclass
class Scene:
    """A LAN with its gateway, a host on it, and the NIC of a pod that has no address yet."""

    world: World
    lan: Lan
    host: Netns
    pod: Netns
    stack: ExitStack

    @cached_property
    def wire(self) -> Wire:
        return self.wire_of(self.pod)

    @property
    def speaker(self) -> Speaker:
        return Speaker(self.wire.netns, "eth0")

    def wire_of(self, netns: Netns, dev: str = "eth0") -> Wire:
        fd = open_netns(netns.path)
        self.stack.callback(os.close, fd)
        return Wire(fd, index_of(netns, dev), mac_of(netns, dev))

    def conflict(
        self, *addresses: IPAddress, interval: float = 0.2, retries: int = 1, ignored: Sequence[str] = ()
    ) -> Holder | None:
        return conflict(self.wire, addresses, interval=interval, retries=retries, ignored=frozenset(ignored))

    def silent(
        self, *gateways: tuple[IPAddress, IPAddress | None], interval: float = 0.2, retries: int = 1
    ) -> list[IPAddress]:
        return silent_gateways(self.wire, dict(gateways), interval=interval, retries=retries)


@pytest.fixture
def scene(world: World) -> Iterator[Scene]:
    lan = world.lan(LAN_A)
    host, pod = world.host(lan, HOST).netns, world.netns("pod")
    lan.plug(pod, "eth0", POD)
    pod.ip("addr flush dev eth0 scope global")
    assert until(lambda: forwards_to_all(lan.netns))
    with ExitStack() as stack:
        yield Scene(world, lan, host, pod, stack)


def forwards_to_all(lan: Netns) -> bool:
    """The kernel opens the port of a new link a moment after the link is up: what comes before is lost."""
    ports = lan.run("bridge", "link").splitlines()
    return all("state forwarding" in port for port in ports)


def index_of(netns: Netns, dev: str) -> int:
    with netns.entered():
        return socket.if_nametoindex(dev)


def mac_of(netns: Netns, dev: str = "eth0") -> str:
    mac: str = json.loads(netns.run("ip", "-j", "link", "show", "dev", dev))[0]["address"]
    return mac


def link_local_of(netns: Netns, dev: str = "eth0") -> IPv6Address:
    """The kernel gives it a moment after the link has come up."""
    found: list[str] = []

    def is_there() -> bool:
        (link,) = json.loads(netns.run("ip", "-j", "-6", "addr", "show", "dev", dev, "scope", "link"))
        found[:] = [entry["local"] for entry in link["addr_info"] if "local" in entry]
        return bool(found)

    assert until(is_there)
    return IPv6Address(found[0])


@contextmanager
def listening(netns: Netns) -> Iterator[socket.socket]:
    """Everything that eth0 of a namespace hears and sends."""
    with netns.entered():
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with packets:
        packets.bind(("eth0", ETH_P_ALL))
        packets.settimeout(10)
        yield packets


def heard(packets: socket.socket) -> list[Frame]:
    """The ARP and neighbour discovery that has come in so far."""
    packets.setblocking(False)
    found: list[Frame] = []
    while True:
        try:
            frame = decode(packets.recv(2048))
        except BlockingIOError:
            return found
        if frame:
            found.append(frame)


@contextmanager
def reacting(netns: Netns, frames: Sequence[bytes], *, to: str, delay: float = 0) -> Iterator[None]:
    """A machine that sends these frames `delay` seconds after it has heard the first question of a MAC."""
    with listening(netns) as packets:

        def react() -> None:
            while (frame := decode(packets.recv(2048))) is None or frame.source != to:
                pass
            time.sleep(delay)
            for each in frames:
                packets.send(each)

        with ThreadPoolExecutor(1) as pool:
            reaction = pool.submit(react)
            yield
            reaction.result()


class Timer:
    """How long something took, in seconds."""

    def __enter__(self) -> Timer:
        self.start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.took = time.monotonic() - self.start


@pytest.mark.parametrize("version", VERSIONS)
def test_the_holder_of_an_address_is_named_at_once(scene: Scene, version: int) -> None:
    held, free = scene.lan.host(HOST).of(version), scene.lan.host(FREE).of(version)

    with Timer() as timer:
        found = scene.conflict(free, held, interval=LONG)

    assert found == Holder(held, mac_of(scene.host))
    assert timer.took < LONG / 2


def test_silence_takes_every_round_and_is_no_conflict(scene: Scene) -> None:
    with Timer() as timer:
        found = scene.conflict(FREE4, FREE6, interval=0.2, retries=3)

    assert found is None
    assert 0.6 <= timer.took < 3


def test_many_addresses_are_asked_for_in_the_rounds_of_one(scene: Scene) -> None:
    addresses = [scene.lan.host(number).of(version) for number in range(100, 125) for version in VERSIONS]
    wire = scene.wire

    with listening(scene.host) as packets:
        with Timer() as timer:
            found = scene.conflict(*addresses, retries=2)
        asked = Counter(frame for frame in heard(packets) if frame.source == wire.mac)

    assert found is None
    assert asked == {question(wire.mac, each): 2 for each in addresses}
    assert timer.took < 2


def test_nothing_is_asked_for_no_address(scene: Scene) -> None:
    with Timer() as timer:
        assert scene.conflict(interval=LONG) is None
        assert scene.silent(interval=LONG) == []

    assert timer.took < LONG / 2


def test_an_answer_late_in_the_only_round_is_heard(scene: Scene) -> None:
    late = encode(Frame(SOMEBODY, scene.wire.mac, Arp(REPLY, SOMEBODY, FREE4, NOBODY4, scene.wire.mac)))

    with reacting(scene.host, [late], to=scene.wire.mac, delay=0.5):
        found = scene.conflict(FREE4, interval=5)

    assert found == Holder(FREE4, SOMEBODY)


def nd(message: Solicitation | Advertisement, source: str = SOMEBODY) -> bytes:
    return encode(Frame(source, group_mac(message.destination), message))


def arp(operation: int, sender: IPv4Address, target: IPv4Address, source: str = SOMEBODY) -> bytes:
    return encode(Frame(source, BROADCAST, Arp(operation, source, sender, target)))


HOST4, HOST6 = LAN_A.host(HOST).v4, LAN_A.host(HOST).v6
GROUP = solicited_node(FREE6)
CLAIMS = {
    "an ARP reply": (FREE4, arp(REPLY, FREE4, HOST4)),
    "an ARP request by the holder": (FREE4, arp(REQUEST, FREE4, HOST4)),
    "an ARP announcement": (FREE4, arp(REQUEST, FREE4, FREE4)),
    "an ARP probe by one who wants it too": (FREE4, arp(REQUEST, NOBODY4, FREE4)),
    "an NA": (FREE6, nd(Advertisement(FREE6, ALL_NODES, FREE6, SOMEBODY, OVERRIDE))),
    "an NA without its MAC": (FREE6, nd(Advertisement(FREE6, ALL_NODES, FREE6))),
    "an NA from another of its addresses": (FREE6, nd(Advertisement(HOST6, ALL_NODES, FREE6, SOMEBODY))),
    "an NS by one who wants it too": (FREE6, nd(Solicitation(NOBODY6, GROUP, FREE6))),
}


@pytest.mark.parametrize(("claimed", "frame"), CLAIMS.values(), ids=CLAIMS)
def test_what_claims_an_address_is_a_conflict(scene: Scene, claimed: IPAddress, frame: bytes) -> None:
    with reacting(scene.host, [frame], to=scene.wire.mac):
        found = scene.conflict(FREE4, FREE6, interval=LONG)

    assert found == Holder(claimed, SOMEBODY)


def test_what_claims_no_address_of_the_pod_is_none(scene: Scene) -> None:
    own, tag = scene.wire.mac, bytes.fromhex("8100 001e")
    claim = arp(REPLY, FREE4, NOBODY4)
    frames = [
        arp(REPLY, HOST4, FREE4),
        arp(REQUEST, HOST4, FREE4),  # it looks for the address, as a client of an earlier pod may
        arp(REQUEST, NOBODY4, HOST4),
        nd(Advertisement(HOST6, ALL_NODES, HOST6, SOMEBODY)),
        nd(Solicitation(HOST6, GROUP, FREE6, SOMEBODY)),
        encode(question(own, FREE4)),  # a switch that sends back what it got
        encode(question(own, FREE6)),
        nd(Advertisement(FREE6, ALL_NODES, FREE6, own)),
        claim[:12] + tag + claim[12:],  # true in VLAN 30
        claim[:20],
    ]

    with reacting(scene.host, frames, to=own), listening(scene.pod) as packets:
        assert scene.conflict(FREE4, FREE6, interval=0.5) is None
        came = [frame.message for frame in heard(packets)]

    assert all(frame.message in came for frame in map(decode, [*frames, claim]) if frame)


@pytest.mark.parametrize("tentative", [False, True])
def test_an_address_that_the_pod_has_itself_is_none(scene: Scene, tentative: bool) -> None:
    addresses = [scene.lan.host(POD).of(version) for version in VERSIONS]
    scene.pod.sysctl(
        {"ipv6/conf/eth0/accept_dad": int(tentative), "ipv6/conf/all/accept_dad": int(tentative)}
    )
    scene.pod.ip(*(f"addr add {scene.lan.subnets.interface(POD, v)} dev eth0" for v in VERSIONS))
    assert (
        "tentative" in scene.pod.run("ip", "addr", "show", "dev", "eth0", "scope", "global")
    ) is tentative

    # Longer than the kernel's own duplicate address detection, whose messages are seen here.
    assert scene.conflict(*addresses, interval=1.5 if tentative else 0.2) is None


def test_the_answer_of_another_nic_of_the_pod_is_none(scene: Scene) -> None:
    """Without arp_ignore Linux answers on each of its NICs for all its addresses."""
    scene.lan.plug(scene.pod, "net1", POD + 1)
    own, other = scene.lan.host(POD + 1), mac_of(scene.pod, "eth0")
    wire = scene.wire_of(scene.pod, "net1")

    with tapped(wire, [own.v4]) as tap:
        answers = list(tap.ask({own.v4: question(wire.mac, own.v4)}, 0.2, 1))
    found = conflict(wire, [own.v4, own.v6], interval=0.2, retries=1, ignored=frozenset())

    assert [(frame.source, frame.message.sender) for frame in answers if isinstance(frame.message, Arp)] == [
        (other, own.v4)
    ]
    assert found is None


def test_a_node_that_answers_for_its_pods_is_ignored_if_asked_to(scene: Scene) -> None:
    node = scene.world.node(11)
    node.netns.sysctl({"ipv4/conf/eth0/proxy_arp": 1, "ipv6/conf/eth0/proxy_ndp": 1})
    node.netns.sysctl({"ipv6/neigh/eth0/proxy_delay": 0})
    node.netns.ip(f"neigh add proxy {FREE6} dev eth0")
    by_another_device = IPv4Address("172.17.0.1")  # docker0's
    mac = mac_of(node.netns)

    for claimed in (by_another_device, FREE6):
        assert scene.conflict(claimed, interval=LONG) == Holder(claimed, mac)
        assert scene.conflict(claimed, ignored=[mac.upper()]) is None
    assert scene.conflict(FREE4, FREE6, HOST4, interval=LONG, ignored=[mac]) == Holder(
        HOST4, mac_of(scene.host)
    )


def test_neither_a_flood_nor_signals_prolong_the_wait(scene: Scene) -> None:
    stop, noise = threading.Event(), arp(REQUEST, HOST4, LAN_A.host(99).v4)

    def flood(packets: socket.socket) -> None:
        while not stop.is_set():
            packets.send(noise)

    interrupted: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: interrupted.append(number))
    with listening(scene.host) as packets, ThreadPoolExecutor(1) as pool:
        pool.submit(flood, packets)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        try:
            with Timer() as timer:
                found = scene.conflict(FREE4, FREE6, interval=0.3, retries=2)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            stop.set()

    assert found is None
    assert len(interrupted) > 5
    assert 0.6 <= timer.took < 3


def test_a_holder_is_found_in_a_flood(scene: Scene) -> None:
    other = LAN_A.host(99).v6
    stop, noise = threading.Event(), nd(Advertisement(other, ALL_NODES, other, SOMEBODY))

    def flood(packets: socket.socket) -> None:
        while not stop.is_set():
            packets.send(noise)

    with listening(scene.host) as packets, ThreadPoolExecutor(1) as pool:
        pool.submit(flood, packets)
        try:
            found = scene.conflict(HOST6, interval=1, retries=3)
        finally:
            stop.set()

    assert found == Holder(HOST6, mac_of(scene.host))


def test_what_another_program_sends_by_the_nic_is_none(scene: Scene) -> None:
    """Such as a virtual machine in the pod, whose MAC is not the NIC's."""
    with reacting(scene.pod, [arp(REPLY, FREE4, NOBODY4)], to=scene.wire.mac):
        assert scene.conflict(FREE4, FREE6, interval=0.5) is None


def test_a_macvlan_pod_whose_ipv6_is_off_hears_holders_and_who_wants_to_be(scene: Scene) -> None:
    """A macvlan NIC drops what goes to groups that nobody has joined on it."""
    world, pod = scene.world, scene.world.pod("macvlan")
    world.runtime(world.node(11)).add(without_veth(world.network()), pod)
    pod.netns.sysctl({"ipv6/conf/eth0/disable_ipv6": 1})
    wire = scene.wire_of(pod.netns)

    with reacting(scene.host, [nd(Solicitation(NOBODY6, GROUP, FREE6))], to=wire.mac):
        rival = conflict(wire, [FREE6], interval=LONG, retries=1, ignored=frozenset())
    holder = conflict(wire, [HOST6], interval=LONG, retries=1, ignored=frozenset())

    assert rival == Holder(FREE6, SOMEBODY)
    assert holder == Holder(HOST6, mac_of(scene.host))


def test_a_burst_does_not_push_out_an_answer(scene: Scene) -> None:
    burst = [arp(REQUEST, HOST4, LAN_A.host(99).v4)] * 1000
    claim = arp(REPLY, FREE4, NOBODY4)

    with tapped(scene.wire, [FREE4]) as tap, reacting(scene.host, [*burst, claim], to=scene.wire.mac):
        answers = tap.ask({FREE4: question(scene.wire.mac, FREE4)}, 2, 1)
        assert next(answers) == decode(burst[0])
        time.sleep(0.5)  # an agent whose other threads have work to do
        assert any(frame == decode(claim) for frame in answers)


def test_gateways_that_answer_are_not_silent(scene: Scene) -> None:
    gateway, own = scene.lan.gateway, scene.lan.host(POD)
    router = Netns("t-router1")

    with Timer() as timer:
        silent = scene.silent(
            (gateway.v4, own.v4),
            (gateway.v6, own.v6),
            (link_local_of(router), link_local_of(scene.pod)),
            interval=LONG,
        )

    assert silent == []
    assert timer.took < LONG / 2


def test_gateways_answer_one_who_has_no_address(scene: Scene) -> None:
    gateway = scene.lan.gateway
    router = Netns("t-router1")

    assert scene.silent((gateway.v4, None), (gateway.v6, None), interval=LONG) == []
    assert scene.silent((link_local_of(router), None), interval=LONG) == []


def test_silent_gateways_are_named_and_the_others_not_asked_again(scene: Scene) -> None:
    gateway, own = scene.lan.gateway, scene.lan.host(POD)
    gone = IPv6Address("fe80::dead")

    with listening(scene.host) as packets, Timer() as timer:
        silent = scene.silent(
            (FREE6, own.v6),
            (gateway.v4, own.v4),
            (gone, link_local_of(scene.pod)),
            (FREE4, own.v4),
            retries=3,
        )
        asked = Counter(
            frame.message.target
            for frame in heard(packets)
            if frame.source == scene.wire.mac and not isinstance(frame.message, Advertisement)
        )

    assert silent == [FREE6, gone, FREE4]
    assert asked == {FREE6: 3, gone: 3, FREE4: 3, gateway.v4: 1}
    assert 0.6 <= timer.took < 3


def test_a_gateway_that_is_heard_but_does_not_hear_is_silent(scene: Scene) -> None:
    own, pod = scene.lan.host(POD), scene.wire.mac
    frames = [
        arp(REPLY, FREE4, FREE4),
        arp(REQUEST, FREE4, own.v4),
        encode(Frame(SOMEBODY, pod, Arp(REPLY, SOMEBODY, FREE4, HOST4, mac_of(scene.host)))),
        nd(Advertisement(FREE6, ALL_NODES, FREE6, SOMEBODY, OVERRIDE)),
        nd(Solicitation(FREE6, solicited_node(own.v6), own.v6, SOMEBODY)),
    ]

    with reacting(scene.host, frames, to=pod):
        silent = scene.silent((FREE4, own.v4), (FREE6, own.v6), interval=0.5)

    assert silent == [FREE4, FREE6]


def test_a_gateway_may_answer_with_any_options(scene: Scene) -> None:
    own, pod = scene.lan.host(POD), scene.wire.mac
    bare = encode(Frame(SOMEBODY, pod, Advertisement(FREE6, own.v6, FREE6)))

    with reacting(scene.host, [bare], to=pod):
        assert scene.silent((FREE6, own.v6), interval=LONG) == []


@pytest.mark.parametrize("state", ["reachable", "stale", "delay"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_neighbour_that_knew_an_old_mac_learns_the_new_one(scene: Scene, version: int, state: str) -> None:
    reused = scene.lan.host(FREE).of(version)
    scene.host.ip(f"neigh replace {reused} lladdr {OLD_MAC} dev eth0 nud {state}")

    announce(scene.speaker, scene.wire.mac, [scene.lan.host(FREE).of(v) for v in VERSIONS])

    assert until(lambda: neighbours(scene.host).get(reused) != OLD_MAC)
    assert neighbours(scene.host)[reused] == scene.wire.mac


def test_a_neighbour_that_did_not_know_the_address_learns_nothing(scene: Scene) -> None:
    with listening(scene.host) as packets:
        announce(scene.speaker, scene.wire.mac, [FREE4, FREE6])
        assert until(lambda: len([frame for frame in heard(packets) if frame.source == scene.wire.mac]) > 0)

    assert not {FREE4, FREE6} & neighbours(scene.host).keys()


def neighbours(netns: Netns) -> dict[IPAddress, str]:
    shown = [entry for v in VERSIONS for entry in json.loads(netns.run("ip", f"-{v}", "-j", "neigh"))]
    return {ip_address(entry["dst"]): entry.get("lladdr", "") for entry in shown}


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


def test_macvlan_pods_of_one_node_see_each_other(world: World) -> None:
    lan = world.lan(LAN_A)
    runtime = world.runtime(world.node(11))
    pods = {name: world.pod(name) for name in ("first", "second")}
    results = {name: runtime.add(without_veth(world.network()), pod) for name, pod in pods.items()}
    first, second = ([address(result, v) for v in VERSIONS] for result in results.values())
    with ExitStack() as stack:
        scene = Scene(world, lan, lan.netns, pods["second"].netns, stack)

        for taken in first:
            assert scene.conflict(*second, taken, interval=LONG) == Holder(
                taken, mac_of(pods["first"].netns)
            )
        assert scene.conflict(*second) is None
        assert scene.silent(*((lan.gateway.of(own.version), own) for own in second), interval=LONG) == []

        pods["first"].netns.ip(*(f"neigh replace {own} lladdr {OLD_MAC} dev eth0" for own in second))
        pods["first"].netns.ip(
            *(f"neigh change {own} lladdr {OLD_MAC} dev eth0 nud stale" for own in second)
        )
        announce(scene.speaker, scene.wire.mac, second)
        mac = mac_of(scene.pod)
        assert until(lambda: {neighbours(pods["first"].netns)[own] for own in second} == {mac})


def test_pods_are_asked_for_at_the_same_time_from_threads(scene: Scene) -> None:
    wire = scene.wire

    addresses: list[IPAddress] = [HOST4, HOST6, FREE4, FREE6]

    def ask(number: int) -> Holder | None:
        held = addresses[number % 4]
        return conflict(wire, [held], interval=0.5, retries=1, ignored=frozenset())

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))

    mac = mac_of(scene.host)
    assert found == [Holder(HOST4, mac), Holder(HOST6, mac), None, None] * 2
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        assert not is_same(own, wire.netns)
    finally:
        os.close(own)


def test_every_socket_is_closed_and_by_whom_the_caller_says(scene: Scene) -> None:
    wire = scene.wire
    later: list[socket.socket] = []
    before = os.listdir("/proc/self/fd")

    announce(scene.speaker, wire.mac, [FREE4])
    conflict(wire, [HOST4], interval=LONG, retries=1, ignored=frozenset())
    assert os.listdir("/proc/self/fd") == before

    conflict(replace(wire, close=later.append), [HOST4], interval=LONG, retries=1, ignored=frozenset())
    (open_still,) = later
    assert open_still.fileno() > 0
    open_still.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_nic_that_is_down_is_an_error_and_no_silence(scene: Scene) -> None:
    scene.pod.ip("link set eth0 down")

    with pytest.raises(KernelError) as refused:
        scene.conflict(FREE4)

    assert refused.value.msg == (
        f"ARP and neighbour discovery by the pod's link {scene.wire.index}: Network is down"
    )


def test_so_is_one_that_goes_down_meanwhile(scene: Scene) -> None:
    wire = scene.wire
    with listening(scene.host) as packets, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(conflict, wire, [FREE4], interval=LONG, retries=1, ignored=frozenset())
        assert until(lambda: any(frame.source == wire.mac for frame in heard(packets)))
        scene.pod.ip("link set eth0 down")

        with pytest.raises(KernelError, match="Network is down"):
            asking.result()


def test_and_one_that_is_not_there(scene: Scene) -> None:
    gone = replace(scene.speaker, dev="eth9")

    with pytest.raises(KernelError, match="the pod's link eth9: No such device"):
        announce(gone, scene.wire.mac, [FREE4])
