"""The IPAM plugin `routetable` as an executable, alone and behind the real `bridge` and `macvlan`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.netns.crowd import at_once
from tests.netns.faulty import Faulty, failure
from tests.netns.killing import moments
from tests.netns.site import VALID, Attached, Site, one_node
from tests.netns.world import Inside, World, failures
from underlay.claims import CLAIM
from underlay.cni.errors import Drift
from underlay.lab.connectivity import Probe, Server
from underlay.lab.errors import PluginError
from underlay.lab.namespace import delete
from underlay.lab.pod import Json
from underlay.objects import Route

BOTH = ["10.66.0.0/24", "fd00:66::/64"]
VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]


class Ipam(Attached):
    """An attachment of which only the IPAM plugin is called."""

    @property
    def plugin(self) -> str:
        return "routetable"

    def ips(self) -> list[str]:
        return [str(ip_interface(ip["address"]).ip) for ip in self.result["ips"]]


@pytest.fixture
def site(world: World) -> Site:
    return one_node(world)


@pytest.fixture
def node(site: Site) -> Iterator[Faulty]:
    with closing(Faulty(site.nodes[0].netns, site.world.state)) as node:
        yield node


def network(main: Json | None = None, **ipam: Any) -> Json:
    """The definition of a network whose main plugin is on eth0, unless it is given; None leaves out."""
    section = {"type": "routetable", "ranges": BOTH, **ipam}
    plugin = {"type": "macvlan", "master": "eth0", **(main or {})}
    plugin["ipam"] = {key: value for key, value in section.items() if value is not None}
    return {
        "cniVersion": "1.0.0",
        "name": "lan",
        "plugins": [{k: v for k, v in plugin.items() if v is not None}],
    }


def ipam(site: Site, name: str = "one", definition: Json | None = None, args: str = "") -> Ipam:
    pod = site.nic(name, network=definition or network())
    return Ipam(**{**vars(pod), "args": args})


def claims(site: Site) -> dict[str, str]:
    """By address, the link of each claim that the node's main tables show."""
    shown = [
        site.nodes[0].netns.run("ip", f"-{version}", "route", "show", "proto", str(CLAIM))
        for version in (4, 6)
    ]
    lines = [line.split() for line in "".join(shown).splitlines()]
    return {line[0]: line[line.index("dev") + 1] for line in lines}


def index_of(site: Site, dev: str) -> int:
    index: int = json.loads(site.nodes[0].netns.run("ip", "-j", "link", "show", dev))[0]["ifindex"]
    return index


# Alone


@pytest.mark.parametrize("version", VERSIONS)
def test_an_executable_gives_an_address_of_each_family_in_the_shape_of_the_version(
    site: Site, version: str
) -> None:
    before = site.footprint()
    routes = [{"dst": "10.99.0.0/16"}, {"dst": "fd00:99::/64", "gw": "fd00:66::1"}]
    pod = ipam(site, definition={**network(routes=routes), "cniVersion": version})

    pod.result = json.loads(pod.call("ADD"))

    assert set(pod.result) == {"cniVersion", "ips", "routes"}
    assert (pod.result["cniVersion"], pod.result["routes"]) == (version, routes)
    for ip, subnet in zip(pod.result["ips"], BOTH, strict=True):
        given = ip_interface(ip.pop("address"))
        assert given.network == ip_network(subnet)
        assert ip == ({"version": str(given.version)} if version < "1.0.0" else {})
    if version >= "0.4.0":
        pod.call("CHECK", prevResult=json.loads(pod.call("ADD")))
    assert len(claims(site)) == 2
    pod.call("DEL")
    assert before.changes() == []


@pytest.mark.parametrize(
    ("main", "dev", "link"),
    [
        ({"type": "macvlan", "master": "eth0"}, None, "eth0"),
        ({"type": "bridge", "bridge": "docker0", "master": None}, None, "docker0"),
        ({"type": "ptp", "master": None}, "docker0", "docker0"),
        ({"type": "macvlan", "master": "eth0"}, "docker0", "docker0"),
    ],
    ids=["master", "bridge", "ipam.dev", "ipam.dev before master"],
)
def test_a_claim_leads_through_the_link_that_the_configuration_names(
    site: Site, node: Faulty, main: Json, dev: str | None, link: str
) -> None:
    pod = ipam(site, definition=network(main, dev=dev))
    pod.run("ADD", node)

    assert claims(site) == dict.fromkeys(pod.ips(), link)


def test_the_index_of_a_link_comes_before_its_name(site: Site, node: Faulty) -> None:
    pod = ipam(site, args=f"LINK_INDEX={index_of(site, 'docker0')}")
    pod.run("ADD", node)

    assert set(claims(site).values()) == {"docker0"}


NO_DEV = {"type": "ptp", "master": None}
LEGACY = "CIDR={};EXCLUDE_FIRST=10;EXCLUDE_LAST=5;LINK_INDEX={}"


def test_the_arguments_of_the_plugin_before_ours_are_understood(site: Site, node: Faulty) -> None:
    before = site.footprint()
    index = index_of(site, "eth0")
    definition = network(NO_DEV, ranges=None)
    legacy = LEGACY.format("10.66.0.0/28", index)
    pods = [ipam(site, name, definition, legacy) for name in ("one", "two", "three")]
    pods[0].run("ADD", node)  # only .10 is neither among the first nor the last ones
    one = pods[0].ips()[0]

    assert one == "10.66.0.10"
    assert pods[0].result["ips"][0]["address"] == "10.66.0.10/28"
    error = failure(lambda: pods[1].run("ADD", node))
    assert error
    assert (error.code, "no address is free in 10.66.0.0/28" in error.msg) == (11, True)
    requested = ipam(site, "two", definition, LEGACY.format("10.66.0.3/28", index))
    requested.run("ADD", node)
    assert (requested.ips(), requested.result["ips"][0]["address"]) == (["10.66.0.3"], "10.66.0.3/28")
    error = failure(
        lambda: ipam(site, "three", definition, LEGACY.format("10.66.0.3/28", index)).run("ADD", node)
    )
    assert error
    assert ("the requested address 10.66.0.3 is in use" in error.msg, claims(site)["10.66.0.3"]) == (
        True,
        "eth0",
    )
    for pod in (pods[0], requested):
        pod.run("DEL", node)
    assert before.changes() == []


BAD: dict[str, tuple[Json, str, int, str]] = {
    "no link": (network(NO_DEV), "", 7, "ipam.dev is missing"),
    "no such link": (network(dev="eth7"), "", 7, '"eth7"'),
    "no such index": (network(), "LINK_INDEX=4711", 7, "LINK_INDEX: 4711 is the index of no link"),
    "index 0": (network(), "LINK_INDEX=0", 7, "LINK_INDEX"),
    "a negative index": (network(), "LINK_INDEX=-1", 7, 'CNI_ARGS LINK_INDEX: "-1" is not'),
    "no ranges": (network(ranges=None), "", 7, "ipam.ranges is missing"),
    "a bad range": (network(ranges=["10.66.0.0/33"]), "", 7, 'ipam.ranges[0]: "10.66.0.0/33"'),
    "a full exclusion": (
        network(ranges=["10.66.0.0/30"], exclude_first=3),
        "",
        7,
        "ipam.ranges: exclude_first 3",
    ),
    "a bad wait": (network(propagation_wait="x"), "", 7, "ipam.propagation_wait"),
    "a bad CIDR": (network(), "CIDR=10.66.0.0/x", 7, "CNI_ARGS CIDR"),
    "a stranger": (network(), "IP=10.67.0.5", 7, "10.67.0.5"),
    "a family without range": (network(ranges=BOTH[:1]), "IP=fd00:66::5", 7, "fd00:66::5"),
    "the node's own": (network(ranges=["10.6.0.0/24"]), "IP=10.6.0.11", 102, "10.6.0.11 is the node's own"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_call_that_can_not_be_served_says_why_and_changes_nothing(
    site: Site, node: Faulty, what: str
) -> None:
    definition, args, code, said = BAD[what]
    before = site.footprint()

    error = failure(lambda: ipam(site, "one", definition, args).run("ADD", node))

    assert error
    assert (error.code, said in error.msg) == (code, True), error.msg
    assert before.changes() == []


ASKED: dict[str, tuple[str, Json]] = {
    "CNI_ARGS": ("IP=10.66.0.7", {}),
    "runtimeConfig": ("", {"runtimeConfig": {"ips": ["10.66.0.7/24"]}}),
    "args.cni": ("", {"args": {"cni": {"ips": ["10.66.0.7"]}}}),
}


@pytest.mark.parametrize("how", ASKED)
def test_an_address_is_given_by_name_and_to_one_pod_only(site: Site, node: Faulty, how: str) -> None:
    args, keys = ASKED[how]
    pod, other = (ipam(site, name, network(exclude_first=20), args) for name in ("one", "two"))
    pod.run("ADD", node, **keys)

    assert pod.ips()[0] == "10.66.0.7"
    assert ip_interface(pod.ips()[1]).network.subnet_of(ip_network(BOTH[1]))  # type: ignore[arg-type]
    error = failure(lambda: other.run("ADD", node, **keys))
    assert error
    assert (error.code, pod.pod.container_id in error.msg) == (102, True)


def test_a_repeated_add_gives_the_same_and_makes_what_vanished(site: Site, node: Faulty) -> None:
    pod = ipam(site, definition=network({"type": "bridge", "bridge": "docker0", "master": None}))
    first = pod.run("ADD", node)
    site.nodes[0].netns.ip("link set docker0 down", "link set docker0 up")
    assert claims(site) == {}

    assert pod.run("ADD", node) == first
    assert claims(site) == dict.fromkeys(pod.ips(), "docker0")
    pod.run("CHECK", node)


def test_another_add_gives_back_what_the_first_one_had(site: Site, node: Faulty) -> None:
    before = site.footprint()
    pod = ipam(site)
    pod.run("ADD", node)
    changed = ipam(site, "one", network(ranges=["10.77.0.0/24"]))

    changed.run("ADD", node)

    assert list(claims(site)) == changed.ips()
    changed.run("DEL", node)
    assert before.changes() == []


def test_check_names_the_claim_that_is_lost(site: Site, node: Faulty) -> None:
    pod = ipam(site)
    pod.run("ADD", node)
    pod.run("CHECK", node)
    site.nodes[0].netns.run("ip", "route", "del", pod.ips()[0])

    with pytest.raises(Drift) as found:
        pod.run("CHECK", node)

    (claim,) = (claim for claim in pod.record(node).claims if str(claim.dst.network_address) == pod.ips()[0])
    assert found.value.details == str(claim)


def test_del_comes_twice_and_without_a_namespace(site: Site, node: Faulty) -> None:
    before = site.footprint()
    pod = ipam(site)
    pod.run("ADD", node)
    delete(pod.pod.netns)

    pod.call("DEL", {"CNI_NETNS": ""})
    assert before.changes() == []
    pod.run("DEL", node)
    assert before.changes() == []


@pytest.mark.parametrize("by_index", [False, True], ids=["by name", "by index"])
def test_without_records_del_gives_back_what_prev_result_names(
    site: Site, node: Faulty, by_index: bool
) -> None:
    before = site.footprint()
    args = f"LINK_INDEX={index_of(site, 'docker0')}" if by_index else ""
    pod, other = (ipam(site, name, args=args) for name in ("one", "two"))
    for each in (pod, other):
        each.run("ADD", node)
    shutil.rmtree(site.world.state)

    pod.run("DEL", node, prevResult=pod.result)
    assert set(claims(site)) == set(other.ips())
    other.run("DEL", node, prevResult=other.result)

    assert before.changes() == []


def test_del_without_records_takes_nothing_from_who_has_a_record(site: Site, node: Faulty) -> None:
    pod, other = ipam(site), ipam(site, "two")
    pod.run("ADD", node)

    other.run("DEL", node, prevResult=pod.result)

    pod.run("CHECK", node)


def test_del_with_a_damaged_record_gives_the_claims_back(site: Site, node: Faulty) -> None:
    before = site.footprint()
    pod = ipam(site)
    pod.run("ADD", node)
    (record,) = Path(site.world.state).rglob("*:routetable.json")
    record.write_text("{")

    pod.run("DEL", node)

    assert before.changes() == []


def test_gc_keeps_the_valid_ones_and_those_of_other_networks(site: Site, node: Faulty) -> None:
    before = site.footprint()
    pods = [ipam(site, name) for name in ("one", "two")]
    other = ipam(site, "three", {**network(), "name": "other"})
    for pod in (*pods, other):
        pod.run("ADD", node)

    pods[0].gc(pods[1])
    assert set(claims(site)) == {*pods[1].ips(), *other.ips()}
    for pod in (pods[1], other):
        pod.run("CHECK", node)
        pod.run("GC", node, cniVersion="1.1.0", **{VALID: []})

    assert before.changes() == []


def test_gc_without_a_list_collects_what_has_no_namespace_any_more(site: Site, node: Faulty) -> None:
    pods = [ipam(site, name) for name in ("one", "two")]
    for pod in pods:
        pod.run("ADD", node)
    delete(pods[0].pod.netns)

    pods[1].run("GC", node, cniVersion="1.1.0", unrelated="key")

    assert set(claims(site)) == set(pods[1].ips())


def test_status_says_nothing_when_all_is_well(site: Site) -> None:
    before = site.footprint()

    assert ipam(site).call("STATUS", cniVersion="1.1.0") == ""
    assert before.changes() == []


# What fails, is killed, comes at once


def test_an_add_that_fails_at_any_claim_leaves_none(site: Site, node: Faulty) -> None:
    pod = ipam(site)
    before = site.footprint()

    for obj, error in node.refusals(lambda: pod.run("ADD", node)):
        assert isinstance(obj, Route)
        assert error.startswith(str(obj))
        assert before.changes() == []

    assert len(node.asked) == 2


def test_a_del_that_fails_at_any_claim_is_finished_by_the_next_one(site: Site, node: Faulty) -> None:
    pod = ipam(site)
    before = site.footprint()

    pod.run("ADD", node)
    for obj, error in node.refusals(lambda: pod.run("DEL", node)):
        assert error.startswith(str(obj))
        assert len(claims(site)) == 1
        pod.run("DEL", node)
        assert before.changes() == []
        pod.run("ADD", node)

    assert len(node.asked) == 2


def undo_by_del(pod: Ipam, _living: Ipam, node: Inside) -> None:
    pod.run("DEL", node)


def undo_by_gc(pod: Ipam, living: Ipam, node: Inside) -> None:
    pod.run("GC", node, cniVersion="1.1.0", **{VALID: [living.listed()]})


def repeat_and_undo(pod: Ipam, _living: Ipam, node: Inside) -> None:
    pod.run("ADD", node)
    pod.run("CHECK", node)
    pod.run("DEL", node)


@pytest.mark.parametrize("undo", [undo_by_del, undo_by_gc, repeat_and_undo])
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_a_call_that_is_killed_at_any_moment_can_be_undone(
    site: Site, node: Faulty, verb: str, undo: Callable[[Ipam, Ipam, Inside], None]
) -> None:
    living, pod = ipam(site), ipam(site, "two")
    living.run("ADD", node)
    before = site.footprint()
    if verb == "DEL":
        pod.run("ADD", node)

    moment = 0
    for moment in moments(lambda: pod.run(verb, node)):
        undo(pod, living, node)
        assert (before.changes(), moment) == ([], moment)
        if verb == "DEL":
            pod.run("ADD", node)

    assert moment > 5
    living.run("CHECK", node)


def test_twenty_pods_get_the_twenty_addresses_of_a_range_at_once(site: Site) -> None:
    before = site.footprint()
    definition = network(ranges=["10.66.0.0/27"], exclude_first=9, exclude_last=3)
    pods = [ipam(site, f"pod{number}", definition) for number in range(20)]
    with ExitStack() as stack:
        nodes = [stack.enter_context(closing(Inside(site.nodes[0].netns, site.world.state))) for _ in pods]

        at_once([partial(pod.run, "ADD", node) for pod, node in zip(pods, nodes, strict=True)])
        given = sorted(ip for pod in pods for ip in pod.ips())
        assert given == sorted(f"10.66.0.{number}" for number in range(9, 29))
        at_once([partial(pod.run, "DEL", node) for pod, node in zip(pods, nodes, strict=True)])

    assert before.changes() == []


# Behind the real main plugins


MAIN: dict[str, Json] = {
    "macvlan": {"type": "macvlan", "master": "eth0", "mode": "bridge"},
    "bridge": {"type": "bridge", "bridge": "br-test", "master": None},
}


@pytest.mark.parametrize(
    ("main", "version"), [("macvlan", "0.3.1"), ("macvlan", "1.0.0"), ("bridge", "0.4.0")]
)
def test_pods_of_other_main_plugins_get_addresses_and_give_them_back(
    site: Site, main: str, version: str
) -> None:
    definition = {
        **network(MAIN[main], routes=[{"dst": "10.99.0.0/16", "gw": "10.66.0.1"}]),
        "cniVersion": version,
    }
    pods = [site.pod(name, network=definition) for name in ("one", "two")]
    given = {
        str(pod.address(v)): MAIN[main]["master"] or MAIN[main]["bridge"] for pod in pods for v in (4, 6)
    }

    assert claims(site) == given
    assert (
        failures([Probe(pods[0].pod.netns, Server(pods[1].pod.netns, pods[1].address(v))) for v in (4, 6)])
        == []
    )
    assert "10.99.0.0/16 via 10.66.0.1" in pods[0].pod.netns.run("ip", "route")
    if version >= "0.4.0":
        last = pods[1]  # a bridge changes its MAC with each port, and looks whether it has
        last.runtime.check(definition, last.pod)
        site.nodes[0].netns.run("ip", "route", "del", str(last.address()))
        with pytest.raises(PluginError, match=str(last.address())):
            last.runtime.check(definition, last.pod)
    for pod in pods:
        pod.delete()
        pod.delete()
    assert (claims(site), Path(site.world.state).exists()) == ({}, False)


@pytest.mark.parametrize("main", MAIN)
def test_without_records_the_del_of_another_main_plugin_gives_its_addresses_back(
    site: Site, main: str
) -> None:
    pod = site.pod("one", network=network(MAIN[main]))
    shutil.rmtree(site.world.state)

    pod.delete()

    assert (claims(site), Path(site.world.state).exists()) == ({}, False)


def test_a_main_plugin_that_fails_after_its_ipam_leaves_no_claim(site: Site) -> None:
    definition = network(
        {"type": "bridge", "bridge": "br-test", "master": None, "isGateway": True, "mtu": 60}
    )

    with pytest.raises(PluginError):
        site.pod("one", network=definition)

    assert (claims(site), Path(site.world.state).exists()) == ({}, False)
