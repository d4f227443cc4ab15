"""CHECK names the one thing that is lost and what is there instead; STATUS says whether ADD could work."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.netns.world import LAN_A, Footprint, Inside, Nic, World
from underlay.cni.errors import Drift
from underlay.lab.errors import PluginError
from underlay.lab.runtime import Runtime
from underlay.objects import HOST, LinkUp, Neigh, Object, Route, Rule, Sysctl, VethPair
from underlay.plan import apply


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


@pytest.fixture
def node(nic: Nic, world: World) -> Iterator[Inside]:
    with closing(Inside(nic.runtime.node, world.state)) as node:
        yield node


def typed(nic: Nic, text: str) -> None:
    """Types the text of an object where it says."""
    where, _, command = text.partition(":")
    (nic.runtime.node if where == HOST else nic.pod.netns).run(*command.split())


def restore(nic: Nic, node: Inside, obj: Object) -> None:
    with node.kernel(nic.pod.netns.path) as kernel:
        apply([obj], kernel)


def drift(nic: Nic, node: Inside) -> Drift:
    with pytest.raises(Drift) as found:
        nic.run("CHECK", node)
    return found.value


def test_check_names_each_object_that_is_removed_by_hand(nic: Nic, node: Inside) -> None:
    record = node.record(nic)
    removable = [obj for obj in record.plan.objects if isinstance(obj, Neigh | Route | Rule)]

    for obj in removable:
        typed(nic, str(obj).replace(" add ", " del ", 1))
        found = drift(nic, node)
        restore(nic, node, obj)
        assert found.details == str(obj)
        assert found.msg.startswith(f"1 of the {len(record.plan.objects)} things that veth made for eth0")
        assert found.msg.endswith(str(obj))

    assert len(removable) > 30
    nic.run("CHECK", node)


def others(obj: Object) -> list[Object]:
    """The same thing as somebody else would have it, where nothing else goes with the change."""
    if isinstance(obj, Sysctl) and obj.version == 4:
        return [replace(obj, value=0)]
    if isinstance(obj, Neigh):
        return [replace(obj, mac="02:00:00:00:00:99")]
    if isinstance(obj, Route):
        return [replace(obj, proto=4), replace(obj, mtu=1280)]
    return []


def test_check_says_what_is_there_instead_of_an_object_that_was_changed(nic: Nic, node: Inside) -> None:
    changes = [(obj, other) for obj in node.record(nic).plan.present for other in others(obj)]

    for obj, other in changes:
        typed(nic, str(other).replace(" add ", " replace ", 1))
        found = drift(nic, node)
        typed(nic, str(obj).replace(" add ", " replace ", 1))
        assert found.details == f"{obj}   (there is: {other})"

    assert len(changes) > 40
    nic.run("CHECK", node)


def test_check_puts_first_what_took_others_with_it(nic: Nic, node: Inside) -> None:
    present = node.record(nic).plan.present
    links = [obj for obj in present if isinstance(obj, LinkUp)]
    ipv6 = [obj for obj in present if isinstance(obj, Sysctl) and obj.version == 6 and obj.dev != "eth0"]
    (pair,) = (obj for obj in present if isinstance(obj, VethPair))

    for link in links:
        typed(nic, str(link).replace(" up", " down"))
        assert drift(nic, node).msg.endswith(f": {link}")
        nic.call("ADD")
    for setting in ipv6:
        typed(nic, str(replace(setting, value=1)))
        assert f"{setting}   (there is: {replace(setting, value=1)})" in drift(nic, node).details
        nic.call("ADD")
    nic.run("CHECK", node)
    nic.runtime.node.ip(f"link set {pair.host_dev} address 02:00:00:00:00:99")
    other = replace(pair, host_mac="02:00:00:00:00:99")
    assert drift(nic, node).details.startswith(f"{pair}   (there is: {other})\n")
    nic.runtime.node.ip(f"link del {pair.host_dev}")
    assert drift(nic, node).msg.endswith(f": {pair}")

    assert (len(links), len(ipv6)) == (2, 2)


def test_check_changes_nothing(world: World, nic: Nic) -> None:
    before = Footprint(world, nic.runtime.node, nic.pod.netns)
    nic.call("CHECK")
    passed = before.changes()
    nic.pod.netns.ip("rule del from 10.6.0.100 lookup 100")
    before = Footprint(world, nic.runtime.node, nic.pod.netns)

    with pytest.raises(PluginError, match=r"rule add from 10\.6\.0\.100 lookup 100") as drifted:
        nic.call("CHECK")

    assert drifted.value.code == 101
    assert (passed, before.changes()) == ([], [])


def test_check_passes_when_a_later_plugin_has_changed_the_nic(nic: Nic) -> None:
    nic.pod.netns.ip("link set eth0 mtu 1400", "link set eth0 address 02:00:00:00:00:99")

    nic.call("CHECK")


def test_check_of_what_was_never_added_says_that_all_is_missing(world: World, runtime: Runtime) -> None:
    nic = world.nic(runtime, world.pod())

    with pytest.raises(
        PluginError, match=r"things that veth made for eth0 .*: host: ip link add"
    ) as drifted:
        nic.call("CHECK")

    assert drifted.value.code == 101


def status(nic: Nic, *prefix: str, **keys: Any) -> dict[str, Any]:
    """What STATUS prints, of a process that `prefix` starts."""
    environment = {"CNI_COMMAND": "STATUS", "CNI_PATH": "/x", **nic.runtime.environment}
    with nic.runtime.node.entered():
        done = subprocess.run(
            [*prefix, nic.runtime.find("veth")], input=json.dumps(nic.config(cniVersion="1.1.0", **keys)),
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
    assert bool(answer) == bool(done.returncode)
    return answer


def test_status_says_nothing_when_all_is_well_and_leaves_nothing(world: World, nic: Nic) -> None:
    before = Footprint(world, nic.runtime.node)

    assert status(nic) == {}
    assert before.changes() == []


def test_status_refuses_a_configuration_that_no_add_would_take(nic: Nic) -> None:
    answer = status(nic, service_hijack_subnet=["10.96.0.0/33"])

    assert answer["code"] == 7
    assert answer["msg"].startswith('service_hijack_subnet[0]: "10.96.0.0/33" is not a CIDR')


@pytest.mark.parametrize("capability", ["net_admin", "sys_admin"])
def test_status_is_50_where_the_kernel_does_not_give_what_the_plugin_needs(
    nic: Nic, capability: str
) -> None:
    answer = status(nic, "setpriv", f"--bounding-set=-{capability}", f"--inh-caps=-{capability}")

    assert answer["code"] == 50
    assert answer["msg"].startswith("veth cannot work on this node: ")
    assert "not permitted" in answer["msg"]
