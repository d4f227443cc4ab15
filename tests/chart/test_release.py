"""helm installs, upgrades and uninstalls the chart: what the cluster has then, and was asked before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.api_server import Cluster, serving
from tests.chart.helm import CHART, NAMESPACE, RELEASE, Json, definitions, helm
from tests.chart.values import IPAM, MACVLAN, V4

KIND = "network-attachment-definitions.k8s.cni.cncf.io"
KUBEADM = {
    "ClusterConfiguration": """
kind: ClusterConfiguration
networking:
  dnsDomain: cluster.local
  podSubnet: 10.244.0.0/16,fd00:10:244::/56
  serviceSubnet: 10.96.0.0/12,fd00:10:96::/108
"""
}
CILIUM = {"cluster-pool-ipv4-cidr": "10.20.0.0/16 10.21.0.0/16", "cluster-pool-ipv6-cidr": "fd00:20::/104"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with serving(tmp_path) as cluster:
        yield cluster


def released(verb: str, cluster: Cluster, values: Json) -> str:
    """What helm says at the end of `install` or `upgrade`."""
    options = [
        "--kubeconfig",
        str(cluster.kubeconfig),
        "--namespace",
        NAMESPACE,
        "--disable-openapi-validation",
    ]
    done = helm(verb, RELEASE, str(CHART), *options, values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def uninstalled(cluster: Cluster) -> None:
    done = helm("uninstall", RELEASE, "--kubeconfig", str(cluster.kubeconfig), "--namespace", NAMESPACE)
    assert done.returncode == 0, done.stderr


def networks(cluster: Cluster) -> dict[str, Json]:
    return definitions(cluster.of("network-attachment-definitions").values())


def subnets(cluster: Cluster) -> list[list[str]]:
    """Of services and of the overlay, as a network has them."""
    router = networks(cluster)["macvlan-overlay-vlan0"]["plugins"][1]
    return [router["service_hijack_subnet"], router["overlay_hijack_subnet"]]


def test_networks_follow_an_upgrade(cluster: Cluster) -> None:
    first = {"cluster_subnet": V4, "macvlan": MACVLAN}
    released("install", cluster, first)

    released("upgrade", cluster, {**first, "macvlan": {**MACVLAN, "master": "eth1", "vlanID": 7}})

    assert list(networks(cluster)) == ["macvlan-standalone-vlan7", "macvlan-overlay-vlan7"]
    assert {each["plugins"][0]["master"] for each in networks(cluster).values()} == {"eth1.7"}


def test_a_network_that_stays_is_changed_in_place(cluster: Cluster) -> None:
    released("install", cluster, {"cluster_subnet": V4, "macvlan": MACVLAN})

    released("upgrade", cluster, {"cluster_subnet": V4, "macvlan": {**MACVLAN, "mtu": 1400}})

    assert {each["plugins"][0]["mtu"] for each in networks(cluster).values()} == {1400}


def test_networks_that_are_not_wanted_any_more_go(cluster: Cluster) -> None:
    released("install", cluster, {"cluster_subnet": V4, "macvlan": MACVLAN})

    released("upgrade", cluster, {"cluster_subnet": V4})

    assert networks(cluster) == {}


def test_uninstall_leaves_nothing_but_the_definition_of_the_kind(cluster: Cluster) -> None:
    values = {"cluster_subnet": V4, "macvlan": MACVLAN}
    released("install", cluster, values)

    uninstalled(cluster)

    assert [path.rpartition("/")[2] for path in cluster.objects] == [KIND]


def test_uninstall_leaves_the_networks_of_others(cluster: Cluster) -> None:
    released("install", cluster, {"cluster_subnet": V4, "macvlan": MACVLAN})
    path = "/apis/k8s.cni.cncf.io/v1/namespaces/shop/network-attachment-definitions/theirs"
    cluster.objects[path] = {"kind": "NetworkAttachmentDefinition", "metadata": {"name": "theirs"}}

    uninstalled(cluster)

    assert list(networks(cluster)) == ["theirs"]


def test_a_definition_of_the_kind_that_is_there_stays_as_it_is(cluster: Cluster) -> None:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{KIND}"
    theirs = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": KIND},
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }
    cluster.objects[path] = theirs

    released("install", cluster, {})

    assert cluster.objects[path]["metadata"] == theirs["metadata"]


def test_a_cluster_made_by_kubeadm_tells_its_subnets(cluster: Cluster) -> None:
    cluster.has_configmap("kubeadm-config", KUBEADM)

    released("install", cluster, {"macvlan": MACVLAN})

    assert subnets(cluster) == [
        ["10.96.0.0/12", "fd00:10:96::/108"],
        ["10.244.0.0/16", "fd00:10:244::/56"],
    ]


def test_service_cidrs_are_newer_than_what_kubeadm_has_noted(cluster: Cluster) -> None:
    cluster.has_configmap("kubeadm-config", KUBEADM)
    cluster.has("networking.k8s.io/v1", "ServiceCIDR", {"cidrs": ["10.112.0.0/16"]}, name="kubernetes")

    released("install", cluster, {"macvlan": MACVLAN})

    assert subnets(cluster)[0] == ["10.112.0.0/16"]


def test_calico_tells_the_pools_that_it_uses(cluster: Cluster) -> None:
    cluster.has_configmap("kubeadm-config", KUBEADM)
    cluster.has("crd.projectcalico.org/v1", "IPPool", {"cidr": "172.20.0.0/16"}, name="used")
    cluster.has(
        "crd.projectcalico.org/v1", "IPPool", {"cidr": "172.21.0.0/16", "disabled": True}, name="old"
    )

    released("install", cluster, {"macvlan": MACVLAN})

    assert subnets(cluster)[1] == ["172.20.0.0/16"]


def test_cilium_tells_its_pools_of_both_families(cluster: Cluster) -> None:
    cluster.has_configmap("kubeadm-config", KUBEADM)
    cluster.has_configmap("cilium-config", CILIUM)

    released("install", cluster, {"macvlan": MACVLAN})

    assert subnets(cluster)[1] == ["10.20.0.0/16", "10.21.0.0/16", "fd00:20::/104"]


def test_what_is_given_is_not_asked_for(cluster: Cluster) -> None:
    cluster.has_configmap("kubeadm-config", KUBEADM)

    released("install", cluster, {"cluster_subnet": V4, "macvlan": MACVLAN})

    assert subnets(cluster) == [["10.96.0.0/12"], ["10.244.0.0/16"]]


def test_helm_says_which_networks_there_are_and_where_the_subnets_come_from(cluster: Cluster) -> None:
    cluster.has_configmap("kubeadm-config", KUBEADM)

    said = released("install", cluster, {"macvlan": {**MACVLAN, "vlanID": 7}})

    assert "k8s.v1.cni.cncf.io/networks: kube-system/macvlan-standalone-vlan7" in said
    assert "services 10.96.0.0/12, fd00:10:96::/108 (from kube-system/kubeadm-config)" in said
    assert "overlay pods 10.244.0.0/16, fd00:10:244::/56 (from kube-system/kubeadm-config)" in said
    assert "macvlan-overlay-vlan7 is on the link eth0.7, which has to be on the nodes" in said


def test_helm_says_what_to_do_next_where_there_is_no_network(cluster: Cluster) -> None:
    said = released("install", cluster, {})

    assert "--set macvlan.enable=true,macvlan.master=eth0" in said


@pytest.mark.parametrize(("exclusive", "is_said"), [("true", True), ("false", False)])
def test_helm_says_that_cilium_keeps_others_out(cluster: Cluster, exclusive: str, is_said: bool) -> None:
    cluster.has_configmap("cilium-config", {**CILIUM, "cni-exclusive": exclusive})

    assert ("CILIUM IS EXCLUSIVE HERE" in released("install", cluster, {})) is is_said


def test_helm_says_how_to_see_that_all_nodes_are_clean(cluster: Cluster) -> None:
    released("install", cluster, {"networks": []})

    said = released("upgrade", cluster, {"uninstall": {"enable": True}})

    assert "kubectl --namespace kube-system rollout status daemonset/underlay" in said
    assert "helm --namespace kube-system uninstall underlay" in said


def test_an_older_bundle_s_addresses_go_on_with_its_ipam(cluster: Cluster) -> None:
    values = {"cluster_subnet": V4, "macvlan": {**MACVLAN, "ipam": {**IPAM, "type": "spiderpool"}}}

    released("install", cluster, values)

    assert {each["plugins"][0]["ipam"]["type"] for each in networks(cluster).values()} == {"spiderpool"}
