"""The annotation's `default-route`: the pod's default leads by the NIC that it names, and comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.netns.nics import Front, defaults, links
from tests.netns.world import Footprint, World, address, failures
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.errors import PluginError
from underlay.lab.pod import Pod

GATEWAYS = ["10.7.0.1", "fd00:7::1"]
BY_LAN_A, BY_LAN_B = ["default via 10.6.0.1 dev eth0"], ["default via 10.7.0.1 dev net1"]


@pytest.fixture
def front(world: World) -> Front:
    return Front(world)


@pytest.fixture
def pod(world: World) -> Pod:
    return world.pod()


def asked(name: str, gateways: list[str], **keys: Any) -> str:
    return json.dumps([{"name": name, "default-route": gateways, **keys}])


@pytest.mark.parametrize("veth", [True, False], ids=["veth is chained", "macvlan alone"])
@pytest.mark.parametrize("gateways", [GATEWAYS, []], ids=["gateways", "its own"])
def test_the_pods_default_leads_by_the_nic_that_asks(
    front: Front, pod: Pod, gateways: list[str], *, veth: bool
) -> None:
    front.define("wanted", front.macvlan(1, veth=veth))
    outside = front.world.external()
    before = Footprint(front.world, front.node.netns)

    result = front.add(pod, asked("wanted", gateways))

    assert defaults(pod) == BY_LAN_B
    assert defaults(pod, 6) == ["default via fd00:7::1 dev net1"]
    front.check(pod)
    probes = [Probe(pod.netns, Server(outside.netns, outside.addresses.of(v))) for v in VERSIONS]
    assert failures(probes) == []
    assert str(address(result, 4)).startswith("10.6.0.")
    front.delete(pod)
    assert before.changes() == []


def test_a_gateway_of_one_family_leaves_the_other_family_alone(front: Front, pod: Pod) -> None:
    front.add(pod, asked("lan-b", GATEWAYS[:1]))

    assert defaults(pod) == BY_LAN_B
    assert defaults(pod, 6) == ["default via fd00:6::1 dev eth0"]


def test_it_leaves_the_other_family_alone_where_nothing_of_ours_is_chained(front: Front, pod: Pod) -> None:
    for name, lan in (("one", 0), ("two", 1)):
        front.define(name, front.macvlan(lan, veth=False))
    front.keys = {"defaultNetwork": "default/one"}

    front.add(pod, asked("two", GATEWAYS[:1]))

    assert defaults(pod) == BY_LAN_B
    shown = pod.netns.run("ip", "-6", "route", "show", "default")
    assert all(f"via fd00:{lan}::1 dev {dev}" in shown for lan, dev in ((6, "eth0"), (7, "net1")))


def test_the_nics_own_table_has_the_gateway_that_was_asked_for(front: Front, pod: Pod) -> None:
    """An address that is asked for comes without a gateway (`static`)."""
    wanted = front.macvlan(1, capabilities={"ips": True}, ipam={"type": "static"})
    front.define("wanted", wanted)

    front.add(pod, asked("wanted", ["10.7.0.1"], ips=["10.7.0.77/24"]))

    assert "default via 10.7.0.1 dev net1" in pod.netns.run("ip", "route", "show", "table", "101")
    assert defaults(pod) == BY_LAN_B


def test_nics_that_come_later_and_nobodys_own_give_way(front: Front, pod: Pod) -> None:
    front.define("plain", front.macvlan(0, veth=False))
    front.keys = {"defaultNetwork": "default/plain"}
    before = Footprint(front.world, front.node.netns)

    front.add(pod, json.dumps([{"name": "lan-b", "default-route": []}, {"name": "plain"}]))

    assert links(pod) == ["eth0", "net1", "net2", "veth0"]
    assert defaults(pod) == BY_LAN_B
    front.check(pod)
    front.delete(pod)
    assert before.changes() == []


def test_a_configuration_that_prefers_another_nic_is_overruled(front: Front, pod: Pod) -> None:
    chain = front.macvlan(1)
    chain["plugins"][1]["default_route_nic"] = "eth0"
    front.define("lan-b", chain)

    front.add(pod, asked("lan-b", GATEWAYS))

    assert defaults(pod) == BY_LAN_B


def test_what_eth0_had_to_leave_comes_back_when_a_later_nic_fails(front: Front, pod: Pod) -> None:
    front.define("wrong", front.macvlan(1, mode="sideways"))
    before = Footprint(front.world, front.node.netns, pod.netns)

    with pytest.raises(PluginError, match="sideways"):
        front.add(pod, json.dumps([{"name": "lan-b", "default-route": GATEWAYS}, {"name": "wrong"}]))

    assert before.changes() == []


def test_check_says_that_the_default_route_is_another(front: Front, pod: Pod) -> None:
    front.add(pod, asked("lan-b", GATEWAYS))
    pod.netns.run("ip", "route", "replace", "default", "via", "10.7.0.2")

    with pytest.raises(
        PluginError, match=r"net1 \(default/lan-b\): the default route .* is missing"
    ) as drift:
        front.check(pod)

    assert drift.value.code == 101


def test_an_equal_add_puts_a_default_route_right_that_no_plugin_of_the_chain_looks_at(
    front: Front, pod: Pod
) -> None:
    blue = {
        "name": "blue", "id": 5001, "cidr": "10.66.0.0/24", "peers": [], "default_route": False,
        "options": {"vtepdev": "eth0", "learning": False},
        "ipam": {"type": "routetable", "propagation_wait": "1ms"},
    }  # fmt: skip
    vxlan = {"type": "vxlan", "vxlans": [blue], "defaultNetwork": "blue"}
    front.define("blue", {"cniVersion": "1.1.0", "plugins": [vxlan]})
    front.add(pod, asked("blue", ["10.66.0.1"]))
    pod.netns.run("ip", "route", "replace", "default", "via", "10.66.0.2")

    front.add(pod, asked("blue", ["10.66.0.1"]))

    assert defaults(pod) == ["default via 10.66.0.1 dev net1"]
    front.check(pod)


@pytest.mark.parametrize("second", [[], ["10.6.0.1"]], ids=str)
def test_two_nics_can_not_have_the_same_default(front: Front, pod: Pod, second: list[str]) -> None:
    both = [{"name": "lan-b", "default-route": GATEWAYS}, {"name": "lan-b", "default-route": second}]

    with pytest.raises(
        PluginError, match=r"networks\[1\]: .*networks\[0\] asks for default-route of IPv4"
    ) as refused:
        front.add(pod, json.dumps(both))

    assert refused.value.code == 7
    assert links(pod) == []
