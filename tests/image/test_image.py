"""The image in the chart's DaemonSet: the agent in its container, the shim on the node, and pods."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.image.kubelet import Failed
from tests.image.site import ALONE, Site
from underlay.lab.containerd.grpc import RpcError
from underlay.lab.process import until
from underlay.lab.traces import Traces
from underlay.plugins import PLUGINS

OUR_FILES = {*PLUGINS, ".underlay-installed.json"}


def test_pods_go_on_while_the_agent_is_replaced_and_new_ones_are_told_to_come_again(site: Site) -> None:
    old = site.start()
    site.node.pods.run("pod1")

    old.remove()
    with pytest.raises(RpcError, match=r"no agent answers at /run/underlay/agent\.sock"):
        site.node.pods.run("pod2")
    meanwhile = site.pings("pod1")
    site.start()
    site.node.pods.run("pod3")

    assert [meanwhile, site.pings("pod1"), site.pings("pod3")] == [[], [], []]


def test_a_pod_that_an_earlier_agent_has_wired_leaves_nothing(site: Site) -> None:
    before = Traces(site.cluster)
    old = site.start()
    site.node.pods.run("pod1")
    old.remove()
    new = site.start()

    site.node.pods.remove("pod1")
    new.remove()

    assert before.left() == []


def test_no_pod_is_wired_by_who_may_not_change_the_network(site: Site) -> None:
    site.start(without="NET_ADMIN")

    with pytest.raises(RpcError, match="Operation not permitted"):
        site.node.pods.run("pod1")


def test_an_agent_that_may_not_enter_namespaces_says_so_at_once(site: Site) -> None:
    with pytest.raises(AssertionError, match="/proc/sys is read-only here: the container needs SYS_ADMIN"):
        site.start(without="SYS_ADMIN")


def test_addresses_are_not_announced_by_who_may_not_send_packets(site: Site) -> None:
    daemon = site.start(without="NET_RAW")

    site.node.pods.run("pod1")

    assert "ARP and neighbour discovery by the pod's link eth0: Operation not permitted" in daemon.said(
        "agent"
    )


def test_the_node_gets_the_plugins_from_the_image_and_keeps_them_without_it(site: Site) -> None:
    daemon = site.start()
    daemon.remove()

    assert set(os.listdir(site.bin_dir)) >= OUR_FILES
    assert ".underlay-python" not in os.listdir(site.bin_dir)


def test_a_plugin_that_somebody_removes_comes_back(site: Site) -> None:
    daemon = site.start()
    until(lambda: "installed-whole" in daemon.said("install-watch"), "the watch does not begin")

    os.unlink(os.path.join(site.bin_dir, "veth"))
    until(lambda: "repaired" in daemon.said("install-watch"), "veth does not come back")
    site.node.pods.run("pod1")

    assert site.pings("pod1") == []


def test_a_reference_plugin_that_a_node_lacks_is_brought_and_taken_off(site: Site) -> None:
    plugin = Path(site.bin_dir, "vrf")
    link = os.readlink(plugin)
    plugin.unlink()

    site.start({**ALONE, "install": {"referencePlugins": ["vrf", "macvlan"]}}).remove()
    brought = plugin.is_file() and not plugin.is_symlink()
    kubelet, spec = site.kubelet({**ALONE, "uninstall": {"enable": True}})
    kubelet.run(spec)

    assert [brought, plugin.exists(), Path(site.bin_dir, "macvlan").is_symlink()] == [True, False, True]
    plugin.symlink_to(link)


def test_uninstall_takes_all_off_the_node(site: Site) -> None:
    site.start().remove()
    kubelet, spec = site.kubelet({**ALONE, "uninstall": {"enable": True}})

    done = kubelet.run(spec)

    assert OUR_FILES & set(os.listdir(site.bin_dir)) == set()
    assert done.running() == ["uninstalled"]
    assert site.node.space.run("find", "/etc/iproute2", "-name", "underlay*") == ""


def test_uninstall_waits_for_pods_that_are_attached(site: Site) -> None:
    daemon = site.start()
    site.node.pods.run("pod1")
    daemon.remove()
    kubelet, spec = site.kubelet({**ALONE, "uninstall": {"enable": True}})

    with pytest.raises(Failed, match=r"uninstall has ended with 3: (.|\n)*delete these pods first"):
        kubelet.run(spec)

    assert set(os.listdir(site.bin_dir)) >= OUR_FILES
