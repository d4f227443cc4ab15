"""What is wrong on a node, judged from facts: each thing that can be, and nothing where nothing is."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from underlay.agent.about import About
from underlay.claims import Claimed, claim_route
from underlay.install.files import Change
from underlay.leftovers.found import Dead, Leftover, Loose, leftovers
from underlay.leftovers.seen import Netns, Seen, Segment, Unreadable
from underlay.objects import HOST, POD, Neigh, Route, Rule
from underlay.objects.link import Link as SeenLink
from underlay.plan import Plan
from underlay.record import Record, decode, encode
from underlay.records import marker_of
from underlay.status.facts import MISSING, OTHERS, OURS, Firewall, Installed, Link, NodeFacts
from underlay.status.findings import Finding, Level, findings
from underlay.status.firewall import chains, dropping, drops_invalid, of_kube_proxy
from underlay.status.managers import (
    foreign_settings,
    is_managed_by_network_manager,
    is_managed_by_networkd,
)
from underlay.status.view import age_text, as_json, networks, nics

NODE, POD_IP = ip_address("192.168.10.11"), ip_address("192.168.10.101")
WAY = Route(HOST, ip_network("192.168.10.101/32"), "veth1", table=500)
RULE = Rule(HOST, 4, 500, 1000)
ANSWER = Rule(POD, 4, 100, 2000, src=ip_network("192.168.10.101/32"))
AT = Neigh(POD, NODE, "02:00:00:00:00:01", "veth0")
PLAN = Plan((Neigh(HOST, POD_IP, "02:00:00:00:00:02", "veth1"), WAY, AT, ANSWER), node_rules=(RULE,))


def record(
    container: str = "c1", pod: str = "default/web", ifname: str = "eth0", plan: Plan = PLAN
) -> Record:
    return Record(
        plugin="veth",
        network="lan",
        container_id=container,
        ifname=ifname,
        netns=f"/run/netns/{container}",
        netns_id="77",
        inputs="",
        created=1000,
        plan=plan,
        pod=pod,
    )


def seen(*records: Record, **more: object) -> Seen:
    there = Seen(now=2000.0, records=records, at_home=frozenset(each.owner for each in records))
    return replace(there, **more)  # type: ignore[arg-type]


def facts(*records: Record, **more: object) -> NodeFacts:
    """A node on which all is well, but for what is given."""
    well = NodeFacts(
        version="1.0",
        now=4600.0,
        socket="/run/underlay/agent.sock",
        agent=About("1.0", 42, 1000, "/run/underlay/agent.sock", "/run/underlay"),
        installed=Installed("/opt/cni/bin", "1.0", {"veth": OURS, "router": OURS}, True),
        seen=seen(*records),
        forwarding={4: "1", 6: "1"},
        addresses=(NODE,),
    )
    return replace(well, **more)  # type: ignore[arg-type]


def test_nothing_is_said_of_a_node_on_which_all_is_well() -> None:
    assert findings(facts(record())) == ()


INSTALLED = facts().installed
NOWHERE = "/run/underlay/agent.sock: No such file or directory"

WRONG = {
    "the agent runs 0.9, and 1.0 is installed": {"agent": About("0.9", 1, 1, "", "")},
    "/opt/cni/bin has no router": {
        "installed": replace(INSTALLED, executables={"veth": OURS, "router": MISSING})
    },
    "router in /opt/cni/bin is another program's": {
        "installed": replace(INSTALLED, executables={"veth": OURS, "router": OTHERS})
    },
    "/etc/x is missing": {
        "installed": replace(INSTALLED, changed=(Change("gone", "/etc/x", "is missing"),))
    },
    "/etc/cni/net.d/00-a.conf comes before ours": {
        "installed": replace(
            INSTALLED, in_the_way=(Change("comes before ours", "/etc/cni/net.d/00-a.conf"),)
        )
    },
    f"no agent answers ({NOWHERE}), and nothing else can": {
        "agent": NOWHERE,
        "installed": replace(INSTALLED, has_fallback=False),
    },
    "nothing of ours is in /opt/cni/bin, and no agent answers at /run/underlay/agent.sock": {
        "agent": NOWHERE,
        "installed": Installed("/opt/cni/bin", "", {"veth": MISSING}, False),
    },
    "default/web eth0: missing or changed: host: ip rule and 1 more": {
        "missing": {record().owner: ("host: ip rule", "host: ip route")}
    },
    "default/web: made when the node had 192.168.10.11, which it has no more": {
        "addresses": (ip_address("192.168.10.12"),)
    },
    "left over: ip rule del from all lookup 500 priority 1000 proto 201: its table is empty": {
        "leftovers": (Leftover(Loose(RULE), "its table is empty"),)
    },
    "left over: 2 things that nobody owns": {
        "leftovers": (Leftover(Loose(RULE), "a"), Leftover(Loose(WAY), "b"))
    },
    "left over: eth0 of default/web, container c1, in lan (veth): gone": {
        "leftovers": (Leftover(Dead(record()), "gone", "who knows"),)
    },
    "net.ipv4.conf.all.forwarding is 0: pods reach this node, and nothing behind it": {
        "forwarding": {4: "0"}
    },
    "NetworkManager manages veth1: it may take away addresses and routes": {
        "links": (Link("veth1", "NetworkManager"), Link("veth2"))
    },
}


@pytest.mark.parametrize(("what", "changed"), WRONG.items(), ids=WRONG)
def test_what_is_wrong_is_named_with_a_remedy(what: str, changed: dict[str, object]) -> None:
    (found,) = findings(facts(record(), **changed))

    assert (found.level, found.what) == (Level.WRONG, what)
    assert found.remedy or "comes before" in what


RISKS = {
    f"no agent answers ({NOWHERE}): each call starts Python": {"agent": NOWHERE},
    "the agent runs 1.0, and this command is 1.1": {"version": "1.1"},
    "the chain ip filter FORWARD drops what no rule accepts: pods may not reach what is behind the node": {
        "firewall": Firewall(policies=("ip filter FORWARD",))
    },
    "when systemd-networkd starts, it removes what others made (ManageForeignRoutes)": {
        "networkd": ("ManageForeignRoutes",)
    },
}


@pytest.mark.parametrize(("what", "changed"), RISKS.items(), ids=RISKS)
def test_what_may_become_wrong_is_a_risk(what: str, changed: dict[str, object]) -> None:
    (found,) = findings(facts(record(), **changed))

    assert (found.level, found.what) == (Level.RISK, what)


def test_invalid_packets_are_a_risk_unless_conntrack_is_liberal() -> None:
    wall = Firewall(invalid=("ip filter KUBE-FORWARD",))

    (found,) = findings(facts(firewall=wall))

    assert found.level is Level.RISK
    assert "nf_conntrack_tcp_be_liberal=1" in found.remedy
    assert findings(facts(firewall=wall, is_liberal=True)) == ()


def test_what_nobody_can_tell_is_unknown() -> None:
    assert findings(facts(firewall=Firewall(unknown="nft is not here"))) == (
        Finding(Level.UNKNOWN, "whether a firewall drops what is forwarded: nft is not here"),
    )


def test_the_same_fault_of_many_pods_is_one_line() -> None:
    pods = [record(f"c{number}", f"default/web-{number}") for number in range(5)]

    (found,) = findings(facts(*pods, missing={pod.owner: ("host: ip rule",) for pod in pods}))

    whose = "default/web-0 eth0, default/web-1 eth0, default/web-2 eth0 and 2 more"
    assert found.what == f"{whose}: missing or changed: host: ip rule"


def test_ipv6_need_not_be_forwarded_where_no_pod_has_it() -> None:
    assert findings(facts(record(), forwarding={4: "1", 6: "0"})) == ()


# Where facts come from


def test_chains_of_nft() -> None:
    listed = """{"nftables": [{"metainfo": {"version": "1.0.6"}},
        {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter",
                   "hook": "forward", "prio": 0, "policy": "drop"}},
        {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "handle": 2, "type": "filter",
                   "hook": "input", "prio": 0, "policy": "drop"}},
        {"chain": {"family": "ip", "table": "filter", "name": "KUBE-FORWARD", "handle": 3}}]}"""

    found = chains(listed)

    assert dropping(found) == ("ip filter FORWARD",)
    assert list(map(str, of_kube_proxy(found))) == ["ip filter KUBE-FORWARD"]


@pytest.mark.parametrize(
    ("rule", "is_dropped"),
    [
        ("ct state invalid counter packets 0 bytes 0 drop", True),
        ('xt match "conntrack" counter packets 0 bytes 0 drop', True),
        ("ct state established,related accept", False),
        ("meta mark & 0x00004000 == 0x00004000 counter accept", False),
    ],
)
def test_a_rule_against_invalid_packets(rule: str, is_dropped: bool) -> None:
    assert drops_invalid(f"table ip filter {{\n\tchain KUBE-FORWARD {{\n\t\t{rule}\n\t}}\n}}") == is_dropped


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        ([], ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules")),
        (["[Network]\nManageForeignRoutes=no\n"], ("ManageForeignRoutingPolicyRules",)),
        (["[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules = false # ours\n"], ()),
        (
            ["ManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no", "ManageForeignRoutes=yes"],
            ("ManageForeignRoutes",),
        ),
        (["#ManageForeignRoutes=no\nManageForeignRoutingPolicyRules=0"], ("ManageForeignRoutes",)),
    ],
)
def test_what_networkd_takes_away(texts: list[str], left: tuple[str, ...]) -> None:
    assert foreign_settings(texts) == left


def test_who_manages_a_link() -> None:
    assert is_managed_by_network_manager("[device]\nmanaged=true\nconnection-uuid=1\n")
    assert not is_managed_by_network_manager("[device]\nmanaged=false\n")
    assert is_managed_by_networkd("# This is private data\nADMIN_STATE=configured\nOPER_STATE=routable\n")
    assert not is_managed_by_networkd("ADMIN_STATE=unmanaged\nOPER_STATE=carrier\n")
    assert not is_managed_by_networkd("")


# What is printed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h"), (864000, "10 d")],
)
def test_an_age_has_two_units_at_most(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_rows_and_json_say_the_same() -> None:
    node = facts(record(), record("c2", "", "net1"), missing={record().owner: ("host: ip rule",)})

    rows = nics(node)
    raw = as_json(node, findings(node))

    assert [(row.pod, row.ifname, row.addresses, row.age, row.is_whole) for row in rows] == [
        ("c2", "net1", ("192.168.10.101",), 3600.0, True),
        ("default/web", "eth0", ("192.168.10.101",), 3600.0, False),
    ]
    assert [(each.name, each.plugin, each.pods) for each in networks(node)] == [("lan", "veth", 2)]
    assert [each["missing"] for each in raw["attachments"]] == [[], ["host: ip rule"]]
    assert raw["ok"] is False
    assert raw["agent"]["version"] == "1.0"


def test_a_record_keeps_the_name_of_its_pod_and_older_ones_have_none() -> None:
    raw = json.loads(encode(record()))
    assert decode(raw) == record()

    del raw["pod"]
    assert decode(raw).pod == ""


# Leftovers


VETH1 = SeenLink(5, "veth1", "02:00:00:00:00:03", 1500, True, 2, {4: (), 6: ()}, peer_netns=3, kind="veth")


def found(there: Seen) -> list[tuple[str, str]]:
    """What is left over, each with why nobody can say so, "" where it is proved."""
    return [(str(each.thing), each.doubt) for each in leftovers(there)]


def test_nothing_is_left_over_of_a_pod_that_is_there() -> None:
    assert found(seen(record(), tagged=(WAY, RULE), links=(VETH1,))) == []


@pytest.mark.parametrize(
    ("more", "is_proved"),
    [
        ({"directories": frozenset({"/run/netns"})}, True),
        ({}, False),
        ({"sees_all": True, "now": 1100.0}, False),  # a pod that has no process yet
        ({"sees_all": True, "now": 9000.0}, True),
    ],
)
def test_a_pod_is_dead_where_its_directory_is_the_nodes_or_every_process_is_seen(
    more: dict[str, object], is_proved: bool
) -> None:
    ((what, doubt),) = found(seen(record(), at_home=frozenset(), **more))

    assert what == "eth0 of default/web, container c1, in lan (veth)"
    assert (doubt == "") == is_proved


def test_a_number_below_proc_proves_nothing_unless_every_process_is_seen() -> None:
    """In a container it is another process's."""
    of_process = replace(record(), netns="/proc/42/ns/net")
    gone = seen(of_process, at_home=frozenset(), directories=frozenset({"/proc/42/ns"}))

    assert [doubt == "" for _, doubt in found(gone)] == [False]
    assert [doubt == "" for _, doubt in found(replace(gone, sees_all=True, now=9000.0))] == [True]


def test_what_the_node_itself_has_from_an_ipam_is_alive_as_long_as_it_is() -> None:
    own = replace(record(), netns="/proc/self/ns/net", netns_id="5")

    assert found(seen(own, at_home=frozenset(), identity="5", sees_all=True, now=9000.0)) == []


def test_a_namespace_that_is_found_elsewhere_is_alive() -> None:
    other = Netns("/proc/7/ns/net", "77")

    assert found(seen(record(), at_home=frozenset(), others=(other,), sees_all=True, now=9000.0)) == []


def test_a_damaged_record_stays() -> None:
    ((what, doubt),) = found(seen(unreadable=(Unreadable("c9", "lan:eth0:veth.json"),)))

    assert what == "the record c9/lan:eth0:veth.json"
    assert doubt


def test_ways_without_a_record_go_where_their_pod_lacks_the_address() -> None:
    pod = Netns("/run/netns/pod", "1", number=3, ips=frozenset({POD_IP}))
    loose = seen(tagged=(WAY,), links=(VETH1,))

    assert found(replace(loose, others=(pod,))) == [
        (
            "ip route del 192.168.10.101/32 dev veth1 scope link table 500 proto 201",
            "/run/netns/pod has that address: its records are lost",
        )
    ]
    assert [doubt for _, doubt in found(replace(loose, others=(replace(pod, ips=frozenset()),)))] == [""]
    assert [doubt for _, doubt in found(loose)] == ["who is behind veth1 can't be seen from here"]


def test_a_claim_is_its_owners_as_long_as_there_is_one() -> None:
    route = claim_route(POD_IP, "mv_blue")
    entry = {POD_IP: Claimed("mv_blue", record().owner)}

    assert found(seen(record(), claims=entry, tagged=(route,))) == []
    assert [doubt for _, doubt in found(seen(claims=entry, tagged=(route,)))] == [""]
    assert [doubt == "" for _, doubt in found(seen(tagged=(route,), sees_all=True))] == [True]
    assert [doubt == "" for _, doubt in found(seen(tagged=(route,)))] == [False]


def test_a_segment_is_its_users_as_long_as_they_are_on_record() -> None:
    node = replace(record("node-vxlan-blue-1", ""), plan=Plan(()))
    users = frozenset({marker_of(record().owner)})

    assert found(seen(record(plan=Plan(())), segments=(Segment("vxlan:blue", node, users),))) == []
    assert [what for what, _ in found(seen(segments=(Segment("vxlan:blue", node, users),)))] == [
        "1 users of vxlan:blue"
    ]
    assert [what for what, _ in found(seen(segments=(Segment("vxlan:blue", node, frozenset()),)))] == [
        "what the node has in vxlan:blue"
    ]
