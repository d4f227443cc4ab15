"""The plugin `underlay`, as the chart puts it in front: a pod of the overlay gets another NIC.

Its network is one of the chart's, which the agent in its container reads from the cluster's API, as whom the
chart makes it and with the rights that the chart gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.helm import Json, of_kind
from tests.image.site import Site, ping
from tests.netns.kube_api.certificates import Certificates
from tests.netns.kube_api.server import KubeApi
from underlay.lab import overlay_plugin
from underlay.lab.addresses import VERSIONS
from underlay.lab.containerd.grpc import RpcError
from underlay.lab.nics import nics
from underlay.lab.overlay import OVERLAY
from underlay.lab.process import until
from underlay.lab.services import SERVICES

ASKED = {"k8s.v1.cni.cncf.io/networks": "kube-system/macvlan-overlay-vlan0"}
STATUS = "k8s.v1.cni.cncf.io/network-status"


@pytest.fixture
def api(site: Site, tmp_path: Path) -> Iterator[KubeApi]:
    """The cluster's, on the node's loopback address, with the chart's networks and a pod that is to come."""
    api = KubeApi(Certificates(tmp_path))
    for definition in of_kind("NetworkAttachmentDefinition", site.manifests(values(site))):
        metadata = definition["metadata"]
        api.put_nad(metadata["namespace"], metadata["name"], definition["spec"]["config"])
    api.put_pod("default", "pod1", ASKED, uid="uid-pod1", node=site.node.node.netns.name)
    with site.node.node.netns.entered():
        api.start()
    yield api
    api.stop()


@pytest.fixture
def beside_overlay(site: Site, api: KubeApi, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A node whose own network is the overlay's, with the DaemonSet in front of it, without a capability."""
    site.node.containerd.set_network(overlay_plugin.network(site.cluster.path("overlay")))
    site.start(values(site), api, without=getattr(request, "param", ""))
    site.await_network("multus-cni-network")
    yield site
    # Before the configuration is another one: a runtime takes off what that says which is there.
    site.remove_pods(values(site), api)


def values(site: Site) -> Json:
    ipam = site.cluster.host_local(site.cluster.lan_a, 211, 219)
    services = {f"ipv{version}": str(SERVICES.of(version)) for version in VERSIONS}
    subnets = {"service_subnet": services, "pod_subnet": [str(OVERLAY.of(version)) for version in VERSIONS]}
    return {"cluster_subnet": subnets, "macvlan": {"enable": True, "master": "eth0", "ipam": ipam}}


def test_a_pod_gets_the_nic_that_it_asks_for_beside_that_of_the_overlay(beside_overlay: Site) -> None:
    site = beside_overlay

    site.node.pods.run("pod1", ASKED)

    found = nics(site.node.pods.netns("pod1"))
    assert sorted(found) == ["eth0", "net1"]
    assert [ping(site.node.node.netns, str(each)) for each in found["net1"].values()] == [[], []]


def test_the_pod_is_told_of_its_nics(beside_overlay: Site, api: KubeApi) -> None:
    beside_overlay.node.pods.run("pod1", ASKED)

    until(lambda: STATUS in api.annotations("default", "pod1"), "there is no network-status")
    told = json.loads(api.annotations("default", "pod1")[STATUS])
    assert [each["interface"] for each in told] == ["eth0", "net1"]


@pytest.mark.parametrize("beside_overlay", ["SYS_CHROOT"], indirect=True)
def test_plugins_of_others_are_not_run_by_who_may_not_enter_the_node_s_root(beside_overlay: Site) -> None:
    with pytest.raises(RpcError, match="chroot could not"):
        beside_overlay.node.pods.run("pod1", ASKED)
