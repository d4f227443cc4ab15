"""`underlay explain` says what ADD then does, and changes nothing; `underlay diff` what of it is lost."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.netns.command import underlay
from tests.netns.site import Site, one_node
from tests.netns.world import LAN_A, LAN_B, Footprint, Inside, Nic, World, without_veth
from tests.repo.tree import ROOT
from underlay.lab.namespace import delete
from underlay.lab.pod import Json
from underlay.lab.runtime import Runtime


@pytest.fixture
def runtime(world: World) -> Runtime:
    world.lan(LAN_A)
    return world.runtime(world.node())


@pytest.fixture
def nic(world: World, runtime: Runtime) -> Nic:
    """A NIC that macvlan has made, on which `veth` was not called yet."""
    return world.nic(runtime, world.pod())


def explain(world: World, runtime: Runtime, network: Json, *options: str) -> list[str]:
    """The lines of `underlay explain`; nothing may have changed."""
    path = Path(world.directory, "network.conflist")
    path.write_text(json.dumps(network))
    before = Footprint(world, runtime.node)
    done = underlay("explain", str(path), "--state", world.state, *options, node=runtime.node)
    assert (done.returncode, done.stderr) == (0, "")
    assert before.changes() == []
    return done.stdout.splitlines()


def commands(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.startswith("  ") and not line.strip().startswith("#")]


def recorded(world: World, nic: Nic) -> list[str]:
    """The commands of what ADD has made."""
    with closing(Inside(nic.runtime.node, world.state)) as node:
        return [str(obj).partition(":")[2].strip() for obj in node.record(nic).plan.objects]


def diff(world: World, runtime: Runtime, *options: str) -> subprocess.CompletedProcess[str]:
    done = underlay("diff", "--state", world.state, *options, node=runtime.node)
    assert done.stderr == ""
    return done


def test_what_is_explained_for_a_pod_is_what_add_then_does(world: World, nic: Nic) -> None:
    pod = Footprint(world, nic.pod.netns)

    lines = explain(world, nic.runtime, nic.network, "--netns", nic.pod.netns.path)
    assert pod.changes() == []
    nic.call("ADD")

    container = nic.pod.container_id[:11]
    made = recorded(world, nic)
    explained = [line.replace("vethCONTAINERID", f"veth{container}") for line in commands(lines)]
    assert [without_macs(line) for line in explained] == [without_macs(line) for line in made]


def without_macs(command: str) -> str:
    """The MACs of a pair follow from the container's id, which nobody has said."""
    words = command.split()
    return " ".join("MAC" if word.count(":") == 5 and word.startswith("02:") else word for word in words)


def test_it_is_the_same_with_the_result_in_a_file(world: World, nic: Nic) -> None:
    result = Path(world.directory, "result.json")
    result.write_text(json.dumps(nic.result))
    of_pod = explain(world, nic.runtime, nic.network, "--netns", nic.pod.netns.path)

    of_file = explain(world, nic.runtime, nic.network, "--prev-result", str(result))

    assert without_ipv6_switch(of_file) == without_ipv6_switch(of_pod)


def without_ipv6_switch(lines: list[str]) -> list[str]:
    """Commands, but for what depends on what the runtime has set on a real NIC; families in any order."""
    return sorted(line for line in commands(lines) if "disable_ipv6" not in line)


def test_after_add_it_is_explained_for_that_very_container(world: World, nic: Nic) -> None:
    nic.call("ADD")

    lines = explain(world, nic.runtime, nic.network, "--netns", nic.pod.netns.path)

    assert f"ip link add veth{nic.pod.container_id[:11]} " in "\n".join(lines)


def test_without_a_pod_the_configuration_gives_the_addresses(world: World, runtime: Runtime) -> None:
    lines = explain(world, runtime, world.network(), "--ifname", "net1")

    assert "  ip rule add from 10.6.0.100 lookup 101 priority 2000 proto 201" in lines
    assert "  # the addresses are the first that static could give" in lines


def test_a_network_that_add_would_refuse_is_refused_in_the_same_words(
    world: World, runtime: Runtime
) -> None:
    path = Path(world.directory, "network.conflist")
    path.write_text(json.dumps(world.network(service_hijack_subnet=["nonsense"])))

    done = underlay("explain", str(path), "--state", world.state, node=runtime.node)

    assert done.returncode == 1
    assert done.stderr.startswith('error: service_hijack_subnet[0]: "nonsense" is not a CIDR')


EXAMPLES = sorted((ROOT / "docs/examples").glob("*.conflist"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_of_the_documentation_is_explained(world: World, path: Path) -> None:
    for subnet in (LAN_A, LAN_B):
        world.lan(subnet)

    done = underlay("explain", str(path), "--ifname", "net1", node=world.node().netns)

    if '"router"' in path.read_text():  # the overlay's NIC can't be imagined
        assert 'there is no "eth0" in the pod' in done.stderr
        return
    assert (done.returncode, done.stderr) == (0, "")
    if '"underlay"' in path.read_text():  # what it does depends on the pod
        assert "# explain each of the networks that it names by itself" in done.stdout
    else:
        assert commands(done.stdout.splitlines())


# Networks of `vxlan`


@pytest.fixture
def site(world: World) -> Site:
    return one_node(world)


def test_a_network_is_explained_as_the_first_pod_makes_it(site: Site, world: World) -> None:
    pod = site.nic("one")

    lines = explain(world, pod.runtime, pod.network, "--netns", pod.pod.netns.path)
    pod.add()

    with closing(Inside(pod.node.netns, world.state)) as node, node.records.segment("vxlan:blue") as segment:
        record = segment.record()
    assert record
    links = [str(obj).partition(":")[2].strip() for obj in record.plan.present if "link add" in str(obj)]
    assert [line for line in commands(lines) if "link add" in line][: len(links)] == links


def test_a_network_that_is_there_is_explained_as_it_is(site: Site, world: World) -> None:
    site.pod("one")
    other = site.nic("two")

    lines = explain(world, other.runtime, other.network, "--netns", other.pod.netns.path)

    assert "On the node, for all its pods in blue (it is there): links and settings" in lines


# diff


@pytest.fixture
def attached(nic: Nic) -> Nic:
    nic.call("ADD")
    return nic


def test_what_is_whole_does_not_differ(world: World, attached: Nic) -> None:
    done = diff(world, attached.runtime, attached.pod.container_id[:12])

    assert done.returncode == 0
    assert "are there" in done.stdout
    assert "−" not in done.stdout


def test_what_is_lost_and_what_is_in_its_place_is_shown(world: World, attached: Nic) -> None:
    subnet = "10.96.0.0/12"
    attached.pod.netns.ip(f"route del {subnet} table 100", f"route add {subnet} via 10.6.0.1 table 100")
    attached.runtime.node.ip("rule del priority 1000")

    done = diff(world, attached.runtime, "--netns", attached.pod.netns.path)

    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "2 of " in lines[0]
    assert "− ip route add 10.96.0.0/12 via 10.6.0.11 dev veth0 table 100 proto 201 onlink" in lines
    assert "+ ip route add 10.96.0.0/12 via 10.6.0.1 dev eth0 table 100 proto 3" in lines
    assert "− ip rule add from all lookup 500 priority 1000 proto 201" in lines


def test_all_of_it_is_shown_on_request(world: World, attached: Nic) -> None:
    done = diff(world, attached.runtime, "--all", "--netns", attached.pod.netns.path)

    lines = [line.strip() for line in done.stdout.splitlines()]
    assert [line for line in recorded(world, attached) if line not in lines] == []


def test_a_pod_that_is_gone_says_so(world: World, attached: Nic) -> None:
    delete(attached.pod.netns)

    done = diff(world, attached.runtime, attached.pod.container_id)

    assert done.returncode == 1
    assert "its network namespace is gone: underlay gc" in done.stdout


def test_a_pod_is_found_by_its_name(world: World, runtime: Runtime) -> None:
    for name in ("web", "db"):
        runtime.add(world.network(), world.pod(name))

    for name in ("default/web", "web"):
        assert "eth0 of default/web in lan (veth): all " in diff(world, runtime, name).stdout


def test_a_pod_that_nothing_is_known_of_is_an_error(world: World, runtime: Runtime) -> None:
    done = underlay("diff", "nobody", "--state", world.state, node=runtime.node)

    assert done.returncode == 1
    assert done.stderr == "error: nothing is on record for nobody (underlay status lists the pods)\n"


def test_the_pods_of_a_network_share_what_the_node_has_there(site: Site, world: World) -> None:
    pod = site.pod("one")
    pod.runtime.node.ip("route del 10.66.0.0/24 table 1000005001")

    done = diff(world, pod.runtime, "one")

    assert "On the node, for all its pods in blue: table 1000005001" in done.stdout
    assert "− ip route add 10.66.0.0/24 dev mv_blue scope link table 1000005001 proto 201" in done.stdout


def test_without_veth_in_the_chain_nothing_is_explained_but_said(world: World, runtime: Runtime) -> None:
    lines = explain(world, runtime, without_veth(world.network()))

    assert lines == [
        "macvlan",
        "  # not ours: it does its own work",
        "  # the addresses are the first that static could give",
    ]
