"""What somebody changes on the node between two calls is noticed by an agent that has looked before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.agents import Served, served
from tests.netns.world import LAN_A, World, address, failures
from underlay.lab.addresses import VERSIONS
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server

OLD, NEW = 11, 111  # numbers of the node's addresses on the LAN


@pytest.fixture
def there(world: World) -> Iterator[Served]:
    yield from served(world)


def test_the_second_pod_reaches_an_address_that_the_node_has_only_since_the_first(there: Served) -> None:
    node, first, second = there.node.netns, there.nic("first"), there.nic("second")
    there.answer(first, "ADD")

    for version in VERSIONS:
        node.ip(
            f"addr del {LAN_A.interface(OLD, version)} dev eth0",
            f"addr add {LAN_A.interface(NEW, version)} dev eth0",
        )
    there.answer(second, "ADD")

    new = LAN_A.host(NEW)
    assert failures(Probe(second.pod.netns, Server(node, new.of(v))) for v in VERSIONS) == []
    assert failures(Probe(node, Server(second.pod.netns, address(second.result, v))) for v in VERSIONS) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_second_add_puts_back_the_rule_that_leads_to_all_pods(there: Served, version: int) -> None:
    node, first, second = there.node.netns, there.nic("first"), there.nic("second")
    there.answer(first, "ADD")
    to_first = Probe(node, Server(first.pod.netns, address(first.result, version)))

    node.run("ip", f"-{version}", "rule", "del", "priority", "1000")
    assert failures([to_first])
    there.answer(second, "ADD")

    assert "from all lookup 500" in node.run("ip", f"-{version}", "rule", "show", "priority", "1000")
    assert failures([to_first]) == []
