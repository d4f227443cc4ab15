"""Many calls of `vxlan` at once: each pod has its own addresses, none loses what it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import pytest

from tests.netns.crowd import at_once
from tests.netns.faulty import failure
from tests.netns.site import VALID, Attached, Site, one_node
from tests.netns.world import Footprint, Inside, World, failures
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe, Server

MANY = 20
ROUNDS = 25
EXECUTED = 8  # rounds in which a process meets a thread, which take longer


@pytest.fixture
def site(world: World) -> Site:
    return one_node(world)


@pytest.fixture
def nodes(site: Site) -> Iterator[list[Inside]]:
    """The node as each of the threads has it."""
    with ExitStack() as stack:
        nodes = [Inside(site.nodes[0].netns, site.world.state) for _ in range(MANY)]
        for node in nodes:
            stack.callback(node.close)
        yield nodes


def silent(pods: Sequence[Attached]) -> list[str]:
    """The pods that do not answer their node, in each family."""
    return failures(
        Probe(pod.node.netns, Server(pod.pod.netns, pod.address(version)))
        for pod in pods
        for version in VERSIONS
    )


def each(verb: str, pods: Sequence[Attached], nodes: Sequence[Inside]) -> None:
    """Calls it for all pods at once."""
    at_once([partial(pod.run, verb, node) for pod, node in zip(pods, nodes, strict=False)])


def test_twenty_pods_come_and_go_at_once(site: Site) -> None:
    before = site.footprint()
    pods = [site.nic(f"pod{number}") for number in range(MANY)]

    at_once([pod.add for pod in pods])
    given = [pod.address(version) for pod in pods for version in VERSIONS]
    gateways = {pod.gateway(version) for pod in pods for version in VERSIONS}
    unheard = silent(pods)
    at_once([pod.delete for pod in pods])

    assert (len(set(given)), len(gateways), unheard) == (2 * MANY, 2, [])
    assert before.changes() == []


def test_the_same_at_the_speed_of_threads(site: Site, nodes: list[Inside]) -> None:
    before = site.footprint()
    pods = [site.nic(f"pod{number}") for number in range(MANY)]

    for _ in range(3):
        each("ADD", pods, nodes)
        given = {pod.address(version) for pod in pods for version in VERSIONS}
        each("CHECK", pods, nodes)
        each("DEL", pods, nodes)
        assert (len(given), before.changes()) == (2 * MANY, [])


def test_the_last_pod_never_takes_the_network_from_a_new_one(site: Site, nodes: list[Inside]) -> None:
    before = site.footprint()
    old, new = site.nic("one"), site.nic("two")
    old.add()

    for number in range(EXECUTED):
        if number % 2:
            at_once([old.delete, partial(new.run, "ADD", nodes[0])])
        else:
            at_once([partial(old.run, "DEL", nodes[0]), new.add])
        new.call("CHECK", prevResult=new.result)
        assert silent([new]) == []
        old, new = new, old

    old.delete()
    assert before.changes() == []


def test_the_same_of_several_networks_at_the_speed_of_threads(site: Site, nodes: list[Inside]) -> None:
    before = site.footprint()
    networks = {"blue": site.network(), "green": site.network(site.green(), site.blue())}
    pairs = [
        (site.nic(f"{name}1", network=network), site.nic(f"{name}2", network=network))
        for name, network in networks.items()
    ]
    for old, _ in pairs:
        old.run("ADD", nodes[0])

    for _ in range(ROUNDS):
        calls = [(pod, verb) for old, new in pairs for pod, verb in ((old, "DEL"), (new, "ADD"))]
        at_once([partial(pod.run, verb, node) for (pod, verb), node in zip(calls, nodes, strict=False)])
        for _, new in pairs:
            new.run("CHECK", nodes[0])
        pairs = [(new, old) for old, new in pairs]

    for old, _ in pairs:
        old.run("DEL", nodes[0])
    assert before.changes() == []


def test_add_and_del_of_one_pod_at_once_end_as_if_one_came_after_the_other(
    site: Site, nodes: list[Inside]
) -> None:
    living, pod = site.nic("living"), site.nic("one")
    living.run("ADD", nodes[0])
    before = Footprint(site.world, site.nodes[0].netns, pod.pod.netns, living.pod.netns)

    for _ in range(ROUNDS):
        at_once([partial(pod.run, "ADD", nodes[0]), partial(pod.run, "DEL", nodes[1])])
        error = failure(lambda: pod.run("CHECK", nodes[0]))
        assert error is None or before.changes() == [], error
    pod.run("DEL", nodes[0])

    assert before.changes() == []
    living.run("CHECK", nodes[0])


def test_gc_takes_nothing_from_pods_that_come_and_go_meanwhile(site: Site, nodes: list[Inside]) -> None:
    before = site.footprint()
    pods = [site.nic(f"pod{number}") for number in range(6)]
    valid = {VALID: [pod.listed() for pod in pods]}

    def collect() -> None:
        pods[0].run("GC", nodes[-1], cniVersion="1.1.0", **valid)

    for _ in range(5):
        for verb in ("ADD", "CHECK", "DEL"):
            at_once(
                [collect, *(partial(pod.run, verb, node) for pod, node in zip(pods, nodes, strict=False))]
            )

    assert before.changes() == []
