"""GC of `vxlan` takes off what the runtime no longer has, CHECK names what is lost, STATUS what is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.netns.faulty import failure
from tests.netns.site import VALID, Attached, Site, one_node
from tests.netns.world import Footprint, Inside, World
from underlay.claims import CLAIM
from underlay.cni.errors import CniError, Drift
from underlay.lab.errors import PluginError
from underlay.lab.namespace import create, delete
from underlay.lab.pod import Json, Pod
from underlay.objects import HOST, Address, Fdb, LinkUp, Macvlan, Object, Route, Rule, Sysctl, Vxlan


@pytest.fixture
def site(world: World) -> Site:
    return one_node(world)


@pytest.fixture
def node(site: Site) -> Iterator[Inside]:
    with closing(Inside(site.nodes[0].netns, site.world.state)) as node:
        yield node


@pytest.fixture
def pods(site: Site, node: Inside) -> list[Attached]:
    """Three pods of one network."""
    pods = [site.nic(name) for name in ("one", "two", "three")]
    for pod in pods:
        pod.run("ADD", node)
    return pods


def gc(pod: Attached, node: Inside, *valid: Attached, **keys: Any) -> None:
    """GC of a pod's network with these attachments, in this process; `keys` in the place of the list."""
    pod.run("GC", node, cniVersion="1.1.0", **(keys or {VALID: [each.listed() for each in valid]}))


def attached(pods: list[Attached], node: Inside) -> list[str]:
    """The pods that have all that was made for them; of the others, nothing is left."""
    claimed = {claim.owner.partition("/")[0] for claim in node.records.claims.all().values()}
    whole = []
    for pod in pods:
        if pod.pod.container_id in claimed:
            pod.run("CHECK", node)
            whole.append(pod.pod.name)
        else:
            assert not pod.pod.netns.exists or not pod.pod.netns.run(
                "ip", "-o", "link", "show", "type", "macvlan"
            )
    return whole


# GC


def test_gc_keeps_the_valid_attachments(pods: list[Attached], node: Inside) -> None:
    gc(pods[0], node, *pods)
    assert attached(pods, node) == ["one", "two", "three"]

    pods[0].gc(pods[1])

    assert attached(pods, node) == ["two"]


@pytest.mark.parametrize("keys", [{VALID: []}, {VALID: None}, {"cni.dev/attachments": []}], ids=str)
def test_gc_of_an_empty_list_leaves_the_node_as_it_was(
    site: Site, node: Inside, keys: dict[str, Any]
) -> None:
    before = site.footprint()
    pods = [site.nic(name) for name in ("one", "two")]
    for pod in pods:
        pod.run("ADD", node)

    gc(pods[0], node, **keys)

    assert before.changes() == []
    assert not Path(site.world.state).exists()


def test_gc_without_a_list_takes_only_what_is_provably_dead(pods: list[Attached], node: Inside) -> None:
    delete(pods[1].pod.netns)
    delete(pods[2].pod.netns)
    create(pods[2].pod.netns)  # another one

    gc(pods[0], node, unrelated="key")

    assert attached(pods, node) == ["one"]


def test_a_pod_whose_namespace_is_gone_leaves_nothing_after_its_del(site: Site) -> None:
    before = site.footprint()
    pod = site.pod("one")
    delete(pod.pod.netns)

    pod.call("DEL")

    assert before.changes() == []


def test_gc_leaves_the_pods_of_other_cni_networks_in_the_same_segment_alone(
    site: Site, node: Inside
) -> None:
    here, there = site.nic("here"), site.nic("there", network={**site.network(), "name": "other"})
    before = site.footprint()
    for pod in (here, there):
        pod.run("ADD", node)

    gc(here, node)
    assert attached([here, there], node) == ["there"]

    gc(there, node)
    assert before.changes() == []


def test_gc_leaves_the_attachments_of_other_plugins_of_the_network_alone(site: Site, node: Inside) -> None:
    pod = site.nic("one")
    pod.run("ADD", node)
    before = site.footprint()

    ipam = {
        "type": "macvlan",
        "name": "vx",
        "ipam": {"type": "routetable"},
        "cniVersion": "1.1.0",
        VALID: [],
    }
    pod.runtime.call("routetable", "GC", ipam, {"CNI_PATH": pod.variables["CNI_PATH"]})

    assert before.changes() == []


def damage(site: Site, pattern: str) -> None:
    (record,) = Path(site.world.state).glob(pattern)
    record.write_text("{")


def test_gc_of_a_damaged_record_leaves_nothing_of_the_pod(site: Site, node: Inside) -> None:
    before = site.footprint()
    pod = site.nic("one")
    pod.run("ADD", node)
    damage(site, f"*/{pod.pod.container_id}/*.json")

    gc(pod, node)

    assert before.changes() == []


def test_del_with_a_damaged_record_leaves_nothing_of_the_pod(site: Site, node: Inside) -> None:
    living = site.nic("living")
    living.run("ADD", node)
    before = site.footprint()
    pod = site.nic("one")
    pod.run("ADD", node)
    damage(site, f"*/{pod.pod.container_id}/*.json")

    pod.run("DEL", node)

    assert before.changes() == []
    living.run("CHECK", node)


def test_an_add_after_a_damaged_record_forgets_nothing_of_the_first(site: Site, node: Inside) -> None:
    before = site.footprint()
    pod = site.nic("one")
    pod.run("ADD", node)
    damage(site, f"*/{pod.pod.container_id}/*.json")

    pod.run("ADD", node)
    pod.run("CHECK", node)
    pod.run("DEL", node)

    assert before.changes() == []


def test_a_damaged_record_of_the_network_is_replaced_by_the_next_pod(site: Site, node: Inside) -> None:
    before = site.footprint()
    pods = [site.nic(name) for name in ("one", "two")]
    pods[0].run("ADD", node)
    damage(site, "*/vxlan:blue/*.json")

    pods[1].run("ADD", node)
    pods[1].run("CHECK", node)
    for pod in pods:
        pod.run("DEL", node)

    assert before.changes() == []


# Records that are lost


def test_without_records_del_gives_back_what_prev_result_names(site: Site, node: Inside) -> None:
    living, pod = site.nic("living"), site.nic("one")
    living.run("ADD", node)
    before = site.footprint()
    pod.run("ADD", node)
    shutil.rmtree(site.world.state)

    pod.run("DEL", node, prevResult=pod.result)

    changed = [line for line in before.changes() if site.world.state not in line]
    assert changed == []


@pytest.mark.parametrize("cidr", ["10.66.0.0/24", "10.66.0.1/24"], ids=["any gateway", "a gateway"])
def test_without_records_the_next_pod_takes_the_network_over_and_the_last_one_takes_it_down(
    site: Site, node: Inside, cidr: str
) -> None:
    before = site.footprint()
    network = site.network(site.blue(cidr=cidr))
    old, new = site.nic("old", network=network), site.nic("new", network=network)
    old.run("ADD", node)
    shutil.rmtree(site.world.state)

    new.run("ADD", node)
    new.run("CHECK", node)
    assert old.address() != new.address()
    old.run("DEL", node, prevResult=old.result)
    new.run("CHECK", node)
    new.run("DEL", node)

    assert before.changes() == []


# Attachments that are other ones by now


def test_a_pod_that_is_added_to_another_network_leaves_the_first_one(site: Site, node: Inside) -> None:
    before = site.footprint()
    pod = site.nic("one")
    pod.run("ADD", node)
    moved = replace(pod, network=site.network(site.green(), site.blue()))

    moved.run("ADD", node)
    moved.run("CHECK", node)
    links = site.nodes[0].netns.run("ip", "link")
    moved.run("DEL", node)

    assert ("vx_green" in links, "vx_blue" in links) == (True, False)
    assert before.changes() == []


def test_a_pod_whose_namespace_is_another_one_is_made_anew(site: Site, node: Inside) -> None:
    before = site.footprint()
    pod = site.nic("one")
    pod.run("ADD", node)
    delete(pod.pod.netns)
    create(pod.pod.netns)

    pod.run("ADD", node)
    pod.run("CHECK", node)
    pod.run("DEL", node)

    assert before.changes() == []


@pytest.mark.parametrize("has_records", [True, False], ids=["records", "no records"])
def test_del_of_a_dead_pod_leaves_the_one_in_peace_that_has_its_path(
    site: Site, node: Inside, has_records: bool
) -> None:
    dead = site.nic("one")
    dead.run("ADD", node)
    delete(dead.pod.netns)
    create(dead.pod.netns)
    pod = replace(dead, pod=Pod(dead.pod.netns, "another"))
    pod.run("ADD", node)
    if not has_records:
        shutil.rmtree(site.world.state)

    dead.run("DEL", node)

    assert "eth0" in pod.pod.netns.run("ip", "link")
    pod.run("ADD" if not has_records else "CHECK", node)


# CHECK


def typed(pod: Attached, text: str) -> None:
    """Types the text of an object where it says."""
    where, _, command = text.partition(":")
    (pod.node.netns if where == HOST else pod.pod.netns).run(*command.split())


def drift(pod: Attached, node: Inside) -> Drift:
    with pytest.raises(Drift) as found:
        pod.run("CHECK", node)
    return found.value


def segment_of(pod: Attached, node: Inside) -> tuple[Object, ...]:
    with node.records.segment(pod.record(node).segment) as segment:
        record = segment.record()
    assert record
    return (*record.plan.present, *record.claims)


def removal(obj: Object) -> str:
    """How somebody would remove it, "" where it goes with another."""
    if isinstance(obj, Address | Rule | Route):
        return str(obj).replace(" add ", " del ", 1).removesuffix(" nodad")
    if isinstance(obj, Fdb):
        return (
            str(obj).replace(" append ", " del ", 1).replace(" add ", " del ", 1).removesuffix(" permanent")
        )
    if isinstance(obj, LinkUp):
        return str(obj).replace(" up", " down")
    if isinstance(obj, Sysctl):
        return str(replace(obj, value=1 - min(obj.value, 1)))
    return ""


def test_check_names_each_thing_that_is_lost(site: Site, node: Inside) -> None:
    pod = site.nic("one")
    pod.run("ADD", node)
    record = pod.record(node)
    every = (*record.plan.present, *record.claims, *segment_of(pod, node))
    default = [obj for obj in every if isinstance(obj, Route) and obj.is_default]

    lost = []
    for obj in every:
        if removal(obj) and obj not in default:
            typed(pod, removal(obj))
            found = drift(pod, node)
            assert str(obj) in found.details, obj
            lost.append(type(obj))
            pod.run("ADD", node)
            pod.run("CHECK", node)

    assert set(lost) == {Address, Fdb, LinkUp, Route, Rule, Sysctl}
    assert len(lost) > 23


@pytest.mark.parametrize("obj", [Macvlan, Vxlan])
def test_check_names_a_link_that_is_lost_and_the_next_add_mends_it(
    site: Site, node: Inside, obj: type[Object]
) -> None:
    before = site.footprint()
    pod = site.nic("one")
    first = pod.run("ADD", node)
    where = pod.pod.netns if obj is Macvlan else pod.node.netns
    where.ip("link del eth0" if obj is Macvlan else "link del vx_blue")

    assert " type macvlan mode bridge" in drift(pod, node).details
    assert pod.run("ADD", node) == first
    pod.run("CHECK", node)
    pod.run("DEL", node)

    assert before.changes() == []


def test_check_leaves_the_default_of_the_pod_to_later_plugins(site: Site, node: Inside) -> None:
    pod = site.nic("one")
    pod.run("ADD", node)
    pod.pod.netns.ip("route del default")

    pod.run("CHECK", node)


def test_check_changes_nothing(site: Site, node: Inside) -> None:
    pod = site.nic("one")
    pod.run("ADD", node)
    pod.pod.netns.ip("link set eth0 mtu 1300")
    before = Footprint(site.world, pod.node.netns, pod.pod.netns)

    drift(pod, node)

    assert before.changes() == []


def test_check_of_what_was_never_added_is_an_error(site: Site) -> None:
    pod = site.nic("one")

    with pytest.raises(PluginError, match="nothing is recorded of eth0") as refused:
        pod.call("CHECK", prevResult={"cniVersion": "1.0.0"})

    assert refused.value.code == 101


# STATUS


def status(site: Site, node: Inside, network: Json | None = None) -> CniError | None:
    pod = site.nic("one", network=network)
    return failure(lambda: pod.run("STATUS", node, cniVersion="1.1.0"))


def test_status_says_nothing_when_all_is_well_and_leaves_nothing(site: Site, node: Inside) -> None:
    before = site.footprint()

    assert status(site, node) is None
    assert before.changes() == []


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"options": {"vtepdev": "eth7"}}, 'there is no link "eth7" on the node'),
        ({"mtu": 1480}, "vxlans[0].mtu: 1480 is more than eth0 carries"),
        ({"ipam": {"type": "nosuch"}}, '"nosuch" is an executable in none of'),
        ({"peers": ["fd00:9::1"]}, "the node has no route to"),
    ],
    ids=["no vtepdev", "mtu", "no ipam", "no route"],
)
def test_status_is_50_where_a_network_could_not_be_joined(
    site: Site, node: Inside, keys: dict[str, Any], said: str
) -> None:
    if "peers" in keys:
        site.nodes[0].netns.run("ip", "-6", "route", "del", "default")

    error = status(site, node, site.network(site.blue(**keys)))

    assert error
    assert (error.code, said in error.msg) == (50, True), error.msg


def test_status_is_50_without_a_default_route_where_that_would_choose_the_link(
    site: Site, node: Inside
) -> None:
    group = site.network(site.blue(peers=None, options={"group": "239.1.1.1"}))
    assert status(site, node, group) is None
    site.nodes[0].netns.ip("route del default")

    error = status(site, node, group)

    assert error
    assert (error.code, "no route" in error.msg) == (50, True), error.msg


def test_status_refuses_a_configuration_that_no_add_would_take(site: Site, node: Inside) -> None:
    error = status(site, node, site.network(site.blue(id=2**24)))

    assert error
    assert (error.code, error.msg.startswith("vxlans[0].id: 16777216")) == (7, True)


def test_the_constant_of_claims_is_what_routing_daemons_are_told(site: Site, node: Inside) -> None:
    pod = site.nic("one")
    pod.run("ADD", node)

    shown = pod.node.netns.run("ip", "route", "show", "proto", str(CLAIM))

    assert {line.split()[0] for line in shown.splitlines()} == {str(pod.address()), pod.gateway()}
