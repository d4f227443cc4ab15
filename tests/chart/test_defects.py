"""What was wrong with the chart multus-underlay, each closed by a test here or in the file that is named.

- Upgrade and uninstall never touched networks: test_release.py.
- No CIDR was discovered: test_release.py.
"""

from __future__ import annotations

import json

from tests.chart.helm import (
    CHART,
    container,
    default_values,
    definitions,
    helm,
    named,
    of_kind,
    pod_spec,
    rendered,
)
from tests.chart.values import ALL_NETWORKS, MACVLAN, SRIOV, UPSTREAM_SRIOV, V4, V6

ALL = {"cluster_subnet": V4, **ALL_NETWORKS}


def test_a_cluster_with_ipv6_alone_gets_valid_json() -> None:
    found = definitions(rendered({"cluster_subnet": V6, "macvlan": MACVLAN}))

    veth = found["macvlan-standalone-vlan0"]["plugins"][1]
    assert veth["service_hijack_subnet"] == ["fd00:10:96::/108"]


def test_the_device_plugin_selects_by_devices_and_not_by_a_key_that_it_does_not_know() -> None:
    manifests = rendered({"cluster_subnet": V4, "sriov": UPSTREAM_SRIOV})

    config = json.loads(named("sriov-dp", of_kind("ConfigMap", manifests))["data"]["config.json"])
    assert config == {
        "resourceList": [
            {
                "resourceName": "sriov_netdevice",
                "resourcePrefix": "intel.com",
                "selectors": {
                    "vendors": ["8086"],
                    "devices": ["154c"],
                    "drivers": ["iavf"],
                    "pfNames": ["ens1f0"],
                },
            }
        ]
    }


def test_networks_of_sriov_on_two_vlans_have_two_names() -> None:
    names = [
        list(definitions(rendered({"cluster_subnet": V4, "sriov": {**SRIOV, "sriov_crd": crd}})))
        for crd in ({**SRIOV["sriov_crd"], "vlanId": 500}, {**SRIOV["sriov_crd"], "vlanId": 501})
    ]

    assert names[0] == ["sriov-standalone-vlan500", "sriov-overlay-vlan500", "sriov-dpdk-vlan500"]
    assert set(names[0]) & set(names[1]) == set()


def test_no_manifest_is_a_hook_or_is_kept() -> None:
    for manifest in rendered(ALL):
        annotations = manifest["metadata"].get("annotations", {})
        assert [key for key in annotations if key.startswith("helm.sh/")] == []


def test_no_taint_keeps_or_takes_the_plugins_off_a_node() -> None:
    manifests = rendered({**ALL, "sriov": UPSTREAM_SRIOV})

    for daemonset in of_kind("DaemonSet", manifests):
        assert pod_spec(manifests, daemonset["metadata"]["name"])["tolerations"] == [
            {"operator": "Exists", "effect": "NoSchedule"},
            {"operator": "Exists", "effect": "NoExecute"},
        ]


def test_a_pod_is_ready_when_its_agent_is() -> None:
    agent = container("agent", pod_spec(rendered(ALL)))

    assert agent["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_macvlan_and_sriov_go_together() -> None:
    done = helm("lint", str(CHART), values={"cluster_subnet": V4, "macvlan": MACVLAN, "sriov": SRIOV})

    assert done.returncode == 0, done.stdout


def test_pods_of_a_vlan_are_behind_the_link_of_that_vlan() -> None:
    found = definitions(rendered({"cluster_subnet": V4, "macvlan": {**MACVLAN, "vlanID": 100}}))

    assert {network["plugins"][0]["master"] for network in found.values()} == {"eth0.100"}


def test_who_has_named_that_link_already_gets_it_and_not_one_on_it() -> None:
    macvlan = {**MACVLAN, "master": "eth0.100", "vlanID": 100}

    found = definitions(rendered({"cluster_subnet": V4, "macvlan": macvlan}))

    assert {network["plugins"][0]["master"] for network in found.values()} == {"eth0.100"}


def test_addresses_come_from_the_ipam_that_is_named() -> None:
    found = definitions(
        rendered({"cluster_subnet": V4, "macvlan": {**MACVLAN, "ipam": {"type": "spiderpool"}}})
    )

    assert {network["plugins"][0]["ipam"]["type"] for network in found.values()} == {"spiderpool"}


def test_every_network_has_a_namespace() -> None:
    for manifest in of_kind("NetworkAttachmentDefinition", rendered(ALL)):
        assert manifest["metadata"]["namespace"] == "kube-system"


def test_no_memory_limit_kills_the_agent_when_many_pods_start_at_once() -> None:
    assert "limits" not in container("agent", pod_spec(rendered(ALL)))["resources"]


def test_the_list_of_images_for_mirrors_has_all_of_them() -> None:
    """.relok8s-images.yaml, as the tools read it that copy a chart into a network without a way out."""
    listed = (CHART / ".relok8s-images.yaml").read_text(encoding="utf-8")
    values = default_values()
    images = [
        values["image"],
        values["multus"]["image"],
        *(values["sriov"]["images"][name] for name in ("sriovCni", "sriovDevicePlugin")),
    ]
    paths = ["image", "multus.image", "sriov.images.sriovCni", "sriov.images.sriovDevicePlugin"]

    for path, image in zip(paths, images, strict=True):
        assert {"registry", "repository", "tag"} <= set(image)
        for key in ("registry", "repository", "tag"):
            assert f"{{{{ .{path}.{key} }}}}" in listed
    assert listed.count(":{{") == len(images)
