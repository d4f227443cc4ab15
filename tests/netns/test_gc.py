"""GC takes off what the runtime no longer has, and touches nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.netns.world import LAN_A, Footprint, Inside, Nic, World, address, failures, state_of
from underlay.cni.errors import CniError, KernelError
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.namespace import create, delete
from underlay.lab.runtime import Runtime
from underlay.netlink.facts import NodeKernel
from underlay.objects import Object

VALID = "cni.dev/valid-attachments"


@pytest.fixture
def runtime(world: World) -> Runtime:
    world.lan(LAN_A)
    return world.runtime(world.node())


@pytest.fixture
def nic(world: World, runtime: Runtime) -> Nic:
    """The NIC of a pod, attached whole."""
    nic = world.nic(runtime, world.pod())
    nic.call("ADD")
    return nic


def gc(nic: Nic, *valid: Nic, **keys: Any) -> None:
    """GC of the network of a NIC with these attachments; `keys` in the place of the list."""
    listed = [{"containerID": each.pod.container_id, "ifname": each.ifname} for each in valid]
    config = nic.config(cniVersion="1.1.0", **(keys or {VALID: listed}))
    del config["prevResult"]
    nic.runtime.call("veth", "GC", config, {"CNI_PATH": ":".join(nic.runtime.bin_dirs)})


@pytest.fixture
def pods(world: World, runtime: Runtime) -> list[Nic]:
    """Three pods on one network."""
    nics = [world.nic(runtime, world.pod(name)) for name in ("one", "two", "three")]
    for nic in nics:
        nic.call("ADD")
    return nics


def attached(nics: list[Nic]) -> list[str]:
    """The pods that the node has a way to."""
    links = nics[0].runtime.node.run("ip", "-o", "link")
    return [nic.pod.name for nic in nics if f"veth{nic.pod.container_id[:11]}" in links]


def reachable(nics: list[Nic]) -> list[str]:
    """The pods that answer their node in both families; each failure is shown."""
    probes = [
        Probe(nic.runtime.node, Server(nic.pod.netns, address(nic.result, version)))
        for nic in nics
        for version in VERSIONS
    ]
    return failures(probes)


def test_gc_keeps_the_valid_attachments_and_their_traffic(pods: list[Nic]) -> None:
    gc(pods[0], *pods)
    assert attached(pods) == ["one", "two", "three"]

    gc(pods[0], pods[1])

    assert attached(pods) == ["two"]
    assert reachable(pods[1:2]) == []
    pods[1].call("CHECK")


@pytest.mark.parametrize("keys", [{VALID: []}, {VALID: None}, {"cni.dev/attachments": []}], ids=str)
def test_gc_of_an_empty_list_leaves_the_node_as_it_was(
    world: World, runtime: Runtime, keys: dict[str, Any]
) -> None:
    before = Footprint(world, runtime.node)
    nics = [world.nic(runtime, world.pod(name)) for name in ("one", "two")]
    for nic in nics:
        nic.call("ADD")

    gc(nics[0], **keys)

    assert before.changes() == []
    assert not Path(world.state).exists()


def test_gc_without_a_list_takes_only_what_is_provably_dead(pods: list[Nic]) -> None:
    delete(pods[1].pod.netns)

    gc(pods[0], unrelated="key")

    assert attached(pods) == ["one", "three"]
    assert reachable([pods[0], pods[2]]) == []


def test_a_namespace_that_was_made_again_under_the_same_name_is_not_the_old_pod(pods: list[Nic]) -> None:
    delete(pods[1].pod.netns)
    create(pods[1].pod.netns)

    gc(pods[0], unrelated="key")

    assert attached(pods) == ["one", "three"]


def test_gc_touches_nothing_of_other_networks_plugins_and_people(
    world: World, runtime: Runtime, nic: Nic
) -> None:
    other = world.nic(runtime, world.pod("other"), "net1")
    other.call("ADD")
    runtime.node.ip(
        "link add veth0123456789a type veth peer name foreign",
        "route add 10.6.0.200/32 dev eth0 table 500 proto 201",
        "rule add from 10.6.0.200 lookup 501 priority 1000",
    )
    of_another = Path(world.state).glob(f"*/{other.pod.container_id}/*.json").__next__()
    (of_another.parent / "lan-eth0:eth0:router.json").write_text(
        of_another.read_text().replace("veth", "router")
    )
    (of_another.parent / "lan-net1:eth1:veth.json").write_text('{"format": 1, "plan": ')
    left = Footprint(world, other.pod.netns)
    host = state_of(runtime.node)

    gc(nic)

    remaining = set(state_of(runtime.node).splitlines())
    assert [line for line in set(host.splitlines()) - remaining if "veth425c89ed5bb" not in line] == []
    assert [path for path in left.changes() if nic.pod.container_id not in path] == []
    assert reachable([other]) == []


def test_gc_of_a_damaged_record_leaves_the_pods_other_nics_alone(world: World, nic: Nic) -> None:
    other = world.nic(nic.runtime, nic.pod, "net1")
    other.call("ADD")
    (damaged,) = Path(world.state).rglob("lan-net1:net1:veth.json")
    damaged.write_text("{")

    gc(other, nic)

    assert not damaged.exists()
    assert reachable([nic]) == []
    nic.call("CHECK")


class Stubborn(Inside):
    """A node on which one pod can't be taken off: nothing is removed, or the host table can't be read."""

    def __init__(self, nic: Nic, state: str, what: str) -> None:
        super().__init__(nic.runtime.node, state)
        self.pod, self.what = nic.pod.netns.path, what

    @contextmanager
    def kernel(self, path: str) -> Iterator[NodeKernel]:
        with super().kernel(path) as kernel:
            if path == self.pod:
                setattr(kernel, self.what, {"remove": refuse, "is_table_in_use": fail}[self.what])
            yield kernel


def refuse(objects: Iterable[Object]) -> list[CniError]:
    return [KernelError(f"{obj}: Device or resource busy") for obj in objects]


def fail(version: int, table: int) -> bool:
    raise KernelError(f"reading table {table} for IPv{version}: Device or resource busy")


@pytest.mark.parametrize("what", ["remove", "is_table_in_use"])
def test_gc_goes_on_after_a_failure_and_reports_it(world: World, pods: list[Nic], what: str) -> None:
    first = min(pods, key=lambda nic: nic.pod.container_id)
    others = [nic.pod.name for nic in pods if nic != first]

    with closing(Stubborn(first, world.state, what)) as node, pytest.raises(CniError, match="resource busy"):
        first.run("GC", node, cniVersion="1.1.0", **{VALID: []})

    assert [name for name in attached(pods) if name in others] == []
    gc(first)
    assert attached(pods) == []
