"""Values that can't be right are refused before anything is installed, in words that say what would be."""

from __future__ import annotations

import pytest

from tests.chart.helm import Json, definitions, refused, rendered
from tests.chart.values import MACVLAN, UPSTREAM_MULTUS, UPSTREAM_SRIOV, V4, VXLAN, VXLANS

BY_SCHEMA: list[tuple[Json, str]] = [
    ({"macvlann": {}}, "Additional property macvlann is not allowed"),
    ({"macvlan": {"vlan": 5}}, "Additional property vlan is not allowed"),
    ({"macvlan": {"vlanID": 4095}}, "macvlan.vlanID: Must be less than or equal to 4094"),
    ({"macvlan": {"vlanID": "100"}}, "macvlan.vlanID: Invalid type. Expected: integer, given: string"),
    ({"macvlan": {"type": "macvlan"}}, "macvlan.type must be one of the following"),
    ({"macvlan": {"migrate_route": 2}}, "macvlan.migrate_route must be one of the following: -1, 0, 1"),
    ({"macvlan": {"mode": "bond"}}, "macvlan.mode must be one of the following"),
    ({"macvlan": {"master": "a-name-that-is-too-long"}}, "String length must be less than or equal to 15"),
    ({"macvlan": {"custom_route": ["169.254.25.300"]}}, "macvlan.custom_route.0: Does not match pattern"),
    ({"macvlan": {"options": {"type": "x"}}}, "macvlan.options"),
    ({"cluster_subnet": {"service_subnet": {"ipv4": "10.96.0.0/33"}}}, "ipv4: Does not match pattern"),
    ({"cluster_subnet": {"service_subnet": {"ipv4": "fd00::/108"}}}, "ipv4: Does not match pattern"),
    ({"cluster_subnet": {"service_subnet": {"ipv6": "10.96.0.0/12"}}}, "ipv6: Does not match pattern"),
    ({"cluster_subnet": {"pod_subnet": "10.244.0.0/16"}}, "Expected: array, given: string"),
    ({"cluster_subnet": {"pod_subnet": ["10.244.0.0"]}}, "pod_subnet.0: Does not match pattern"),
    ({"cluster_subnet": {"rp_filter": {"value": 3}}}, "must be one of the following: 0, 1, 2"),
    (
        {"multus": {"mode": "thick"}},
        'multus.mode must be one of the following: "builtin", "upstream", "none"',
    ),
    ({"sriov": {"cni": "builtin"}}, 'sriov.cni must be one of the following: "upstream", "none"'),
    ({"sriov": {"config": {"sriov_device_plugin": {"devices": ["0x154c"]}}}}, "devices.0: Does not match"),
    ({"sriov": {"config": {"sriov_device_plugin": {"device": ["154c"]}}}}, "Additional property device "),
    ({"networks": [{"type": "macvlan-overlay"}]}, "networks.0: name is required"),
    ({"networks": [{"name": "Lan", "type": "macvlan-overlay"}]}, "networks.0.name: Does not match pattern"),
    ({"networks": [{"name": "lan", "type": "vxlan-overlay"}]}, "networks.0.type must be one of"),
    ({"vxlan": {"vxlans": [{"name": "blue"}]}}, "vxlan.vxlans.0: id is required"),
    ({"cni": {"binDir": "opt/cni/bin"}}, "cni.binDir: Does not match pattern"),
    ({"image": {"tag": ""}}, "image.tag"),
    ({"agent": {"capabilities": ["CAP_SYS_MODULE"]}}, "agent.capabilities.0"),
    ({"agent": {"port": 0}}, "agent.port: Must be greater than or equal to 1"),
    ({"updateStrategy": {"maxUnavailable": 0}}, "maxUnavailable"),
]
IN_WORDS: list[tuple[Json, str]] = [
    (
        {"macvlan": {"enable": True, "ipam": {"type": "dhcp"}}, "cluster_subnet": V4},
        'network "macvlan-standalone-vlan0" (macvlan-standalone): master is missing;'
        " give the nodes' link to the LAN, such as eth0, in macvlan.master",
    ),
    (
        {"macvlan": {"enable": True, "master": "eth0"}, "cluster_subnet": V4},
        'network "macvlan-standalone-vlan0" (macvlan-standalone): ipam.type is missing; give the plugin'
        " that assigns the addresses, such as whereabouts, with its keys",
    ),
    (
        {"macvlan": MACVLAN},
        "cluster_subnet.service_subnet is empty, and the cluster does not tell; give the range of"
        " --service-cluster-ip-range of kube-apiserver, such as"
        " cluster_subnet.service_subnet.ipv4=10.96.0.0/12",
    ),
    (
        {"macvlan": MACVLAN, "cluster_subnet": {"service_subnet": V4["service_subnet"]}},
        "cluster_subnet.pod_subnet is empty, and the cluster does not tell; give the overlay's pod CIDRs",
    ),
    (
        {"macvlan": {**MACVLAN, "name": "macvlan-standalone-vlan0"}, "cluster_subnet": V4},
        'two networks are called "macvlan-standalone-vlan0": their definitions would be one;'
        " give one of them another name",
    ),
    (
        {"vxlan": {**VXLAN, "vxlans": [{**VXLANS[0], "name": "calico"}]}, "cluster_subnet": V4}
        | {"overlay_crds": {"calico": {"enable": True}}},
        'overlay_crds: "calico" is the name of a network too; give one of them another name',
    ),
    ({"multus": {**UPSTREAM_MULTUS, "image": {}}}, "multus.image.registry is missing"),
    (
        {"sriov": {**UPSTREAM_SRIOV, "images": {}}, "cluster_subnet": V4},
        "sriov.images.sriovCni.registry is missing",
    ),
    ({"multus": {**UPSTREAM_MULTUS, "config": {}}}, "multus.config.cni_conf.clusterNetwork is missing"),
]
MOVED: list[tuple[Json, str]] = [
    (
        {"meta-plugins": {"image": {"tag": "v0.2.2"}}},
        "meta-plugins is a value of multus-underlay; here it is image",
    ),
    (
        {"sriov": {"manifests": {"enable": True}}},
        "sriov.manifests is a value of multus-underlay; here it is sriov.enable",
    ),
    ({"multus": {"config": {"cni_conf": {"type": "multus"}}}}, "here it is multus.mode"),
    ({"multus": {"config": {"cni_conf": {"binDir": "/opt/cni/bin"}}}}, "here it is cni.binDir"),
    ({"multus": {"config": {"cni_conf": {"confDir": "/etc/cni/net.d"}}}}, "here it is cni.confDir"),
    ({"multus": {"config": {"cni_conf": {"defaultNetwork": ["lan"]}}}}, "here it is defaultNetworks"),
]


@pytest.mark.parametrize(("values", "said"), BY_SCHEMA, ids=[said for _, said in BY_SCHEMA])
def test_a_value_that_is_of_no_use_is_named(values: Json, said: str) -> None:
    assert said in refused(values)


@pytest.mark.parametrize(("values", "said"), IN_WORDS, ids=[said[:60] for _, said in IN_WORDS])
def test_what_a_network_lacks_is_said_with_what_would_be_right(values: Json, said: str) -> None:
    assert said in refused(values)


@pytest.mark.parametrize(("values", "said"), MOVED, ids=[said for _, said in MOVED])
def test_a_value_of_the_older_chart_that_has_moved_says_where_to(values: Json, said: str) -> None:
    assert said in refused(values)


def test_networks_without_an_overlay_need_to_know_none() -> None:
    network = {"name": "lan", "type": "macvlan-standalone", "master": "eth0", "ipam": {"type": "dhcp"}}
    services = {"service_subnet": V4["service_subnet"]}

    found = definitions(rendered({"cluster_subnet": services, "networks": [network]}))

    assert found["lan"]["plugins"][1]["overlay_hijack_subnet"] == []
