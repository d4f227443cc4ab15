"""Every object of every plan has a reason, a place and a command; an answer is imagined as it could be."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from tests.repo.tree import ROOT
from underlay.cni.result import parse
from underlay.explain.example import DOCUMENTATION, example
from underlay.explain.grouping import groups
from underlay.explain.reasons import SETTINGS, reason
from underlay.explain.text import commands_text
from underlay.objects import HOST, POD, Object, Sysctl, as_json, from_json
from underlay.objects.sysctl import IPV4_PLACES, IPV6_PLACES
from underlay.plugins import PLUGINS

SAMPLES = [obj for plugin in PLUGINS.values() for obj in plugin.needs.objects]


@pytest.mark.parametrize("obj", SAMPLES, ids=str)
def test_each_object_has_a_reason_and_a_command(obj: Object) -> None:
    (group,) = groups([obj])

    ((why, objects),) = group.by_reason
    assert why == reason(obj)
    assert why[0].islower()
    assert objects == (obj,)
    assert group.commands == [str(obj).partition(":")[2].strip()]


def test_each_setting_that_a_plan_can_have_says_why() -> None:
    keys = {*IPV4_PLACES, *IPV6_PLACES} - {"arp_ignore", "accept_ra_defrtr"}  # theirs depend on more

    assert keys - SETTINGS.keys() == set()
    assert reason(Sysctl(HOST, 4, "vx", "arp_ignore", 8)) != reason(Sysctl(POD, 4, "eth0", "arp_ignore", 1))


def test_every_kind_of_object_is_among_the_samples_or_can_be_explained() -> None:
    missing = [kind for kind in get_args(Object) if not any(isinstance(obj, kind) for obj in SAMPLES)]
    raw: list[dict[str, Any]] = [
        {"kind": "LinkAddress", "ns": "pod", "dev": "eth0", "mac": "0a:1b:00:00:00:01"},
        {"kind": "LinkAlias", "ns": "host", "dev": "vx_1", "alias": "a-long-name"},
        {"kind": "TxQueueLen", "ns": "pod", "dev": "eth0", "packets": 100},
    ]

    assert sorted(kind.__name__ for kind in missing) == [each["kind"] for each in raw]
    for each in raw:
        obj = from_json(each)
        assert as_json(obj) == each
        assert reason(obj)


def test_the_order_of_commands_is_that_in_which_they_can_be_typed() -> None:
    objects = PLUGINS["vxlan"].needs.objects

    ordered = [obj for group in groups(objects) for _, part in group.by_reason for obj in part]

    assert ordered == list(objects)


@pytest.mark.parametrize("width", [64, None])
def test_a_command_can_be_copied(width: int | None) -> None:
    command = "ip route add 10.96.0.0/12 via 192.168.10.11 dev veth0 table 100 proto 201 onlink"

    text = str(commands_text([command], width))

    assert " ".join(text.replace("\\\n", " ").split()) == command
    assert width is None or max(map(len, text.splitlines())) <= width


# What the plugin before ours would answer


IPAMS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "static": (
        {
            "type": "static",
            "addresses": [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}, {"address": "fd00::5/64"}],
        },
        ["10.1.0.5/24", "fd00::5/64"],
    ),
    "ranges": (
        {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.50"}]]},
        ["10.1.0.50/24"],
    ),
    "one subnet": ({"type": "host-local", "subnet": "10.1.0.0/24"}, ["10.1.0.10/24"]),
    "a small subnet": ({"type": "host-local", "subnet": "10.1.0.0/30"}, ["10.1.0.3/30"]),
    "routetable": ({"type": "routetable", "ranges": ["10.66.0.0/24"]}, ["10.66.0.10/24"]),
    "a service": ({"type": "spiderpool"}, [DOCUMENTATION[0]]),
    "nonsense": ({"type": "host-local", "ranges": [["x"]]}, [DOCUMENTATION[0]]),
    "none": ({}, [DOCUMENTATION[0]]),
}


@pytest.mark.parametrize(("ipam", "addresses"), IPAMS.values(), ids=IPAMS)
def test_an_answer_is_imagined_as_its_ipam_could_give_it(ipam: dict[str, Any], addresses: list[str]) -> None:
    found = example({"type": "macvlan", "ipam": ipam}, "net1", "/run/netns/pod", "1.0.0")

    result = parse(found.result, "1.0.0")
    assert [str(ip.address) for ip in result.addresses_of("net1", "/run/netns/pod")] == addresses
    assert found.source


def test_every_example_of_the_documentation_gets_an_answer() -> None:
    for path in sorted((ROOT / "docs/examples").glob("*.conflist")):
        network = json.loads(path.read_text())
        first = network["plugins"][0]

        found = example(first, "eth0", "/no/pod", network["cniVersion"])

        assert parse(found.result, network["cniVersion"]).ips, path.name
