"""The plugin `underlay`, as the chart puts it in front: a pod of the overlay gets another NIC."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.helm import Json, of_kind
from tests.image.site import Site, ping
from underlay.lab import overlay_plugin
from underlay.lab.addresses import VERSIONS
from underlay.lab.nics import nics
from underlay.lab.overlay import OVERLAY
from underlay.lab.services import SERVICES

NAME = "macvlan-overlay-vlan0"
ASKED = {"k8s.v1.cni.cncf.io/networks": f"kube-system/{NAME}"}


@pytest.fixture
def beside_overlay(site: Site) -> Iterator[Site]:
    """A node whose own network is the overlay's, with the DaemonSet in front of it."""
    site.node.containerd.set_network(overlay_plugin.network(site.cluster.path("overlay")))
    define(site)
    site.start(values(site))
    site.await_network("multus-cni-network")
    yield site
    site.remove_pods()  # by the configuration that has made them: a runtime asks the one that is there


def values(site: Site) -> Json:
    ipam = site.cluster.host_local(site.cluster.lan_a, 211, 219)
    services = {f"ipv{version}": str(SERVICES.of(version)) for version in VERSIONS}
    subnets = {"service_subnet": services, "pod_subnet": [str(OVERLAY.of(version)) for version in VERSIONS]}
    return {"cluster_subnet": subnets, "macvlan": {"enable": True, "master": "eth0", "ipam": ipam}}


def define(site: Site) -> None:
    """Gives the node the chart's networks as files: no API server is asked here."""
    directory = Path(site.node.containerd.conf_dir, "underlay.d")
    directory.mkdir(parents=True, exist_ok=True)
    for definition in of_kind("NetworkAttachmentDefinition", site.manifests(values(site))):
        path = directory / f"{definition['metadata']['name']}.json"
        path.write_text(json.dumps(definition), encoding="utf-8")


def test_a_pod_gets_the_nic_that_it_asks_for_beside_that_of_the_overlay(beside_overlay: Site) -> None:
    site = beside_overlay

    site.node.pods.run("pod1", ASKED)

    found = nics(site.node.pods.netns("pod1"))
    assert sorted(found) == ["eth0", "net1"]
    assert [ping(site.node.node.netns, str(each)) for each in found["net1"].values()] == [[], []]
