"""`underlay gc`, and the agent's own rounds: what nobody owns goes, what a pod uses stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.netns.agents import SECONDS, Agent, runtime_of, until
from tests.netns.command import PACKAGE_DIR, underlay
from tests.netns.site import Attached, Site, one_node
from tests.netns.world import LAN_A, Footprint, Inside, Nic, World, state_of
from underlay.lab.namespace import create, delete
from underlay.lab.runtime import Runtime
from underlay.lab.topology import Node
from underlay.leftovers.clear import Clearing
from underlay.leftovers.found import leftovers
from underlay.leftovers.look import look, with_others
from underlay.leftovers.seen import Seen
from underlay.log import Log, LogOptions
from underlay.objects import HOST
from underlay.plan import Plan
from underlay.record import Record


@pytest.fixture
def machine(world: World) -> Node:
    world.lan(LAN_A)
    return world.node()


@pytest.fixture
def runtime(world: World, machine: Node) -> Runtime:
    return world.runtime(machine)


@pytest.fixture
def before(world: World, runtime: Runtime) -> Footprint:
    """The node before the first pod."""
    return Footprint(world, runtime.node)


@pytest.fixture
def pods(world: World, runtime: Runtime) -> list[Nic]:
    nics = [world.nic(runtime, world.pod(name)) for name in ("one", "two")]
    for nic in nics:
        nic.call("ADD")
    return nics


@pytest.fixture
def site(world: World) -> Site:
    return one_node(world)


@pytest.fixture
def node(site: Site) -> Iterator[Inside]:
    with closing(Inside(site.nodes[0].netns, site.world.state)) as node:
        yield node


def gc(world: World, runtime: Runtime, *options: str) -> list[str]:
    """The lines of `underlay gc` on a node, which must succeed."""
    done = underlay("gc", "--state", world.state, *options, node=runtime.node)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def clear(node: Inside, *, sees_all: bool) -> list[str]:
    """The same in this process, for a machine whose processes are all seen, or not. What stays."""
    found = leftovers(replace(look(node), sees_all=sees_all))
    cleared = Clearing(node, Log(LogOptions()), ()).clear(found)
    assert [failure for each in cleared for failure in each.failures] == []
    return [str(each) for each in leftovers(replace(look(node), sees_all=sees_all))]


def test_nothing_is_left_over_while_all_is_well(world: World, runtime: Runtime, pods: list[Nic]) -> None:
    assert gc(world, runtime) == ["nothing is left over"]

    for nic in pods:
        nic.call("CHECK")


def test_what_was_made_for_a_pod_that_is_gone_goes(world: World, runtime: Runtime, pods: list[Nic]) -> None:
    delete(pods[0].pod.netns)

    lines = gc(world, runtime)

    container = pods[0].pod.container_id
    assert lines == [
        f"removed: eth0 of container {container}, in lan-eth0 (veth): its network namespace is gone"
    ]
    pods[1].call("CHECK")
    assert gc(world, runtime) == ["nothing is left over"]


def test_after_the_last_pod_the_node_is_as_it_was(
    world: World, runtime: Runtime, before: Footprint, pods: list[Nic]
) -> None:
    for nic in pods:
        delete(nic.pod.netns)

    gc(world, runtime)

    assert before.changes() == []
    assert not Path(world.state).exists()


def test_a_dry_run_says_the_same_and_changes_nothing(
    world: World, runtime: Runtime, pods: list[Nic]
) -> None:
    delete(pods[0].pod.netns)
    end = f"veth{pods[0].pod.container_id[:11]}"
    until(lambda: end not in runtime.node.run("ip", "-o", "link"))  # the kernel takes its time
    there = Footprint(world, runtime.node)

    foretold = gc(world, runtime, "--dry-run")

    assert there.changes() == []
    assert [line.replace("would remove", "removed") for line in foretold] == gc(world, runtime)


def test_a_namespace_of_the_same_name_is_not_the_pods(
    world: World, runtime: Runtime, pods: list[Nic]
) -> None:
    delete(pods[0].pod.netns)
    create(pods[0].pod.netns)

    assert len(gc(world, runtime)) == 1
    assert gc(world, runtime) == ["nothing is left over"]


def test_a_directory_without_any_living_namespace_proves_nothing(
    world: World, runtime: Runtime, pods: list[Nic]
) -> None:
    """As in a container whose mounts are not those of the runtime: there every pod seems to be gone."""
    assert pods
    nobody = replace(seen_of(runtime, world), at_home=frozenset(), others=(), directories=frozenset())

    (one, two) = leftovers(nobody)

    assert "this may be another directory than the runtime's" in one.doubt
    assert two.doubt == one.doubt


def seen_of(runtime: Runtime, world: World) -> Seen:
    with closing(Inside(runtime.node, world.state)) as node:
        return look(node)


def test_a_rule_whose_table_is_empty_goes(world: World, runtime: Runtime, before: Footprint) -> None:
    runtime.node.ip("rule add from all lookup 500 priority 1000 proto 201")
    runtime.node.ip("rule add from all lookup 501 priority 1000 proto static")

    lines = gc(world, runtime)

    assert lines == [
        "removed: ip rule del from all lookup 500 priority 1000 proto 201: its table holds no route of ours"
    ]
    assert before.changes() == [
        f"{runtime.node.name}: 1000:\tfrom all lookup 501 proto static",
    ]


def test_a_way_to_an_address_that_its_pod_does_not_have_goes(
    world: World, runtime: Runtime, pods: list[Nic]
) -> None:
    end = f"veth{pods[0].pod.container_id[:11]}"
    there = Footprint(world, runtime.node)
    runtime.node.ip(f"route add 10.6.0.222/32 dev {end} table 500 proto 201")

    (line,) = gc(world, runtime)

    assert line.startswith(f"removed: ip route del 10.6.0.222/32 dev {end}")
    assert there.changes() == []


def test_what_a_living_pod_uses_stays_though_its_records_are_lost(
    world: World, runtime: Runtime, pods: list[Nic]
) -> None:
    assert pods
    lose(world.state)
    host = state_of(runtime.node)

    lines = gc(world, runtime)

    assert lines
    assert [line for line in lines if not line.startswith("left: ")] == []
    assert [line for line in lines if "has that address: its records are lost" not in line] == []
    assert state_of(runtime.node) == host


def test_what_cannot_be_read_is_named_and_stays(world: World, runtime: Runtime, pods: list[Nic]) -> None:
    (record,) = Path(world.state).glob(f"*/{pods[0].pod.container_id}/*.json")
    record.write_text("{")

    lines = gc(world, runtime)

    assert lines[0] == (
        f"left: the record {pods[0].pod.container_id}/{record.name}: it can't be read; the pod may live:"
        " its DEL, or GC of its network, removes it"
    )
    assert record.exists()


# Segments and claims


def test_a_network_goes_with_its_last_pod_though_no_del_came(site: Site, world: World) -> None:
    before = site.footprint()
    pods = [site.pod(name) for name in ("one", "two")]
    for pod in pods:
        delete(pod.pod.netns)

    gc(world, pods[0].runtime)

    assert before.changes() == []
    assert not Path(world.state).exists()


def test_the_other_pods_of_a_network_keep_it(site: Site, world: World) -> None:
    one, two = site.pod("one"), site.pod("two")
    delete(one.pod.netns)

    gc(world, two.runtime)

    two.call("CHECK", prevResult=two.result)


def test_users_of_whom_nothing_is_on_record_do_not_keep_a_network(site: Site, world: World) -> None:
    before = site.footprint()
    pod = site.pod("one")
    for record in Path(world.state).glob(f"*/{pod.pod.container_id}/*.json"):
        record.unlink()
    delete(pod.pod.netns)

    lines = gc(world, pod.runtime)

    assert [line.partition(": ")[2] for line in lines if "users" in line] == [
        "1 users of vxlan:blue: no attachment is on record for them"
    ]
    assert before.changes() == []


def test_a_claim_without_an_owner_goes(site: Site, world: World) -> None:
    pod = site.pod("one")
    there = site.footprint()
    (claims,) = Path(world.state).glob("*/routetable:claims")
    (claims / "10.66.0.250").symlink_to("mv_blue gone/vx:eth0:routetable.json")
    pod.runtime.node.ip("route add 10.66.0.250/32 dev mv_blue proto 202")

    (line,) = gc(world, pod.runtime)

    assert line == (
        "removed: the claim to 10.66.0.250 for gone/vx:eth0:routetable.json:"
        " nothing is on record for its owner"
    )
    assert there.changes() == []


def test_devices_and_claims_of_lost_records_go_when_no_pod_is_on_them(site: Site, node: Inside) -> None:
    before = site.footprint()
    pod = site.pod("one")
    lose(site.world.state)

    assert clear(node, sees_all=True) == [
        "ip link del vx_blue: no network is on record for this device;"
        f" {pod.pod.netns.path} has a NIC on it: the records are lost"
    ]
    pod.pod.netns.run("ping", "-c1", "-W5", pod.gateway())
    delete(pod.pod.netns)
    assert "not every namespace of the machine is seen from here" in "".join(clear(node, sees_all=False))

    assert clear(node, sees_all=True) == []
    assert before.changes() == []


# The agent


def test_the_agent_looks_for_itself(world: World, before: Footprint, machine: Node) -> None:
    with closing(Agent(world.state)) as agent:
        agent.start("--gc-seconds", "1")
        nic = world.nic(runtime_of(world, machine, agent), world.pod())
        nic.call("ADD")

        delete(nic.pod.netns)
        (event,) = agent.events("gc", 1)

        assert event["why"] == "its network namespace is gone"
    assert before.changes() == []


def lose(state: str) -> None:
    """All records at once; a call that was answered a moment ago may still free its lock there."""

    def is_lost() -> bool:
        shutil.rmtree(state, ignore_errors=True)
        return not os.path.exists(state)

    until(is_lost)


# Beside calls


def test_pods_that_come_and_go_meanwhile_are_not_harmed(site: Site, node: Inside) -> None:
    """Whatever is seen half done, by a look that knows all namespaces."""
    before = site.footprint()
    names = [f"p{number}" for number in range(8)]
    pods = [site.nic(name) for name in names]
    is_over = threading.Event()
    rounds: list[str] = []

    def look_on() -> None:
        while not is_over.is_set():
            found = leftovers(replace(look(node), sees_all=True))
            rounds.append("round")
            Clearing(node, Log(LogOptions(file=os.devnull)), ()).clear(found)

    with ThreadPoolExecutor(max_workers=5) as threads:
        looking = threads.submit(look_on)
        try:
            list(threads.map(Attached.add, pods))
            for pod in pods:
                pod.call("CHECK", prevResult=pod.result)
            list(threads.map(Attached.delete, pods))
        finally:
            is_over.set()
        looking.result()

    assert rounds
    assert before.changes() == []


def test_pods_on_the_lan_are_not_harmed_either(world: World, runtime: Runtime, before: Footprint) -> None:
    nics = [world.nic(runtime, world.pod(f"p{number}")) for number in range(8)]
    with closing(Inside(runtime.node, world.state)) as node, ThreadPoolExecutor(max_workers=5) as threads:
        adding = [threads.submit(nic.call, "ADD") for nic in nics]
        while not all(each.done() for each in adding):
            clear(node, sees_all=True)
        for nic in nics:
            nic.call("CHECK")
        deleting = [threads.submit(nic.call, "DEL") for nic in nics]
        while not all(each.done() for each in deleting):
            clear(node, sees_all=True)
        for each in (*adding, *deleting):
            each.result()

    assert before.changes() == []


def test_a_process_that_may_not_be_looked_into_keeps_proofs_from_being_any(site: Site, node: Inside) -> None:
    hidden = site.world.directory + "/hidden"
    Path(hidden).mkdir()
    # what can't be opened for another reason than that it is gone: a link that leads to itself
    Path(hidden, "loop").symlink_to("loop")

    assert sees_all_of(hidden, node) is False
    Path(hidden, "loop").unlink()
    assert sees_all_of(hidden, node) is True


def sees_all_of(directory: str, node: Inside) -> bool:
    """Whether a walk over the namespaces, those of a directory too, has seen all of them."""
    ghost = record_in(directory)
    with node.kernel("") as kernel:
        seen = replace(look(node), records=(ghost,), sees_all=True)
        return with_others(seen, kernel.netns_fd(HOST)).sees_all


def record_in(directory: str) -> Record:
    """The record of a pod whose namespace was in that directory."""
    return Record("veth", "lan", "gone", "eth0", f"{directory}/gone", "1", "", 0, Plan(()))


def test_a_call_for_the_same_container_is_waited_for(
    world: World, runtime: Runtime, pods: list[Nic]
) -> None:
    container = pods[0].pod.container_id
    (place,) = Path(world.state).glob(f"*/{container}")
    delete(pods[0].pod.netns)

    with closing(Inside(runtime.node, world.state)) as node:
        with node.records.pod(container), runtime.node.entered():
            argv = [sys.executable, "-m", "underlay", "gc", "--state", world.state]
            process = subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": PACKAGE_DIR})
            until(lambda: str(place) in opened(process.pid))
            assert len(list(place.iterdir())) == 1

        assert process.wait(SECONDS) == 0
    assert not place.exists()


def opened(pid: int) -> set[str]:
    """What a process has open, by path."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found.add(str(path.readlink()))
    return found
