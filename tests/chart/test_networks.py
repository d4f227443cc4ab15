"""What the values of a network become in its NetworkAttachmentDefinition."""

from __future__ import annotations

import pytest

from tests.chart.helm import Json, definitions, named, of_kind, rendered
from tests.chart.values import ALL_NETWORKS, DUAL, IPAM, MACVLAN, MORE_NETWORKS, SRIOV, V4, VXLAN, VXLANS

ZERO_EVERYWHERE = {"migrate_route": 0, "vlanID": 0, "skip_call": False, "custom_route": []}


def networks(**values: Json | list[Json]) -> dict[str, Json]:
    return definitions(rendered({"cluster_subnet": V4, **values}))


def types(network: Json) -> list[str]:
    return [plugin["type"] for plugin in network["plugins"]]


def test_macvlan_makes_one_for_pods_without_an_overlay_and_one_for_those_with() -> None:
    found = networks(macvlan=MACVLAN)

    assert {name: types(network) for name, network in found.items()} == {
        "macvlan-standalone-vlan0": ["macvlan", "veth"],
        "macvlan-overlay-vlan0": ["macvlan", "router"],
    }


def test_a_name_is_that_of_the_type_it_is_given_with() -> None:
    found = networks(macvlan={**MACVLAN, "type": "macvlan-standalone", "name": "lan", "vlanID": 7})

    assert list(found) == ["lan", "macvlan-overlay-vlan7"]


def test_macvlan_as_a_whole() -> None:
    found = networks(
        macvlan={
            **MACVLAN,
            "mtu": 1400,
            "custom_route": ["169.254.25.10/32"],
            "options": {"ip_conflict": {"enabled": True}, "rp_filter": {"value": 0}},
        }
    )["macvlan-overlay-vlan0"]

    assert found == {
        "cniVersion": "1.0.0",
        "name": "macvlan-overlay-vlan0",
        "plugins": [
            {"type": "macvlan", "master": "eth0", "mode": "bridge", "mtu": 1400, "ipam": IPAM},
            {
                "type": "router",
                "service_hijack_subnet": ["10.96.0.0/12"],
                "overlay_hijack_subnet": ["10.244.0.0/16"],
                "additional_hijack_subnet": ["169.254.25.10/32"],
                "migrate_route": -1,
                "rp_filter": {"value": 0},
                "overlay_interface": "eth0",
                "skip_call": False,
                "ip_conflict": {"enabled": True},
            },
        ],
    }


def test_each_network_of_vxlan_has_a_definition_of_its_own_that_leads_into_it() -> None:
    found = networks(vxlan=VXLAN)

    assert [network["plugins"][0]["defaultNetwork"] for network in found.values()] == ["blue", "green"]
    assert [network["plugins"][0]["vxlans"] for network in found.values()] == [
        [{**VXLANS[0], "default_route": False}],
        [{**VXLANS[1], "default_route": False}],
    ]
    assert types(found["blue"]) == ["vxlan", "router"]


def test_a_network_of_vxlan_without_an_overlay_keeps_its_default_route_and_needs_no_second_way() -> None:
    found = networks(vxlan={**VXLAN, "type": "vxlan-standalone"})

    assert types(found["blue"]) == ["vxlan"]
    assert found["blue"]["plugins"][0]["vxlans"] == [VXLANS[0]]


def test_a_default_route_that_is_asked_for_is_given() -> None:
    found = networks(vxlan={**VXLAN, "vxlans": [{**VXLANS[1], "default_route": True}]})

    assert found["green"]["plugins"][0]["vxlans"][0]["default_route"] is True


def test_further_networks_have_what_they_leave_out_from_the_first() -> None:
    found = networks(macvlan=MACVLAN, sriov=SRIOV, networks=MORE_NETWORKS)

    assert types(found["lan-b"]) == ["macvlan", "router"]
    assert found["lan-b"]["plugins"][0] | {"type": ""} == {
        "type": "",
        "master": "eth1.100",
        "mode": "bridge",
        "ipam": IPAM,
    }
    assert found["lan-c"]["plugins"][0]["ipam"] == {"type": "dhcp"}
    assert found["lan-c"]["plugins"][1]["skip_call"] is True
    assert found["vf-b"]["plugins"][0] == {"type": "sriov", "vlan": 200, "ipam": IPAM}


def test_zero_and_false_of_a_further_network_are_not_taken_for_left_out() -> None:
    first = {**MACVLAN, "migrate_route": 1, "vlanID": 7, "skip_call": True, "custom_route": ["192.0.2.0/24"]}
    further = {"name": "further", "type": "macvlan-standalone", **ZERO_EVERYWHERE}

    macvlan, veth = networks(macvlan=first, networks=[further])["further"]["plugins"]

    assert macvlan["master"] == "eth0"
    assert [veth["migrate_route"], veth["skip_call"], veth["additional_hijack_subnet"]] == [0, False, []]


def test_networks_of_sriov_ask_for_devices_of_the_resource() -> None:
    manifests = rendered({"cluster_subnet": V4, "sriov": SRIOV, "networks": MORE_NETWORKS[2:]})

    resources = {
        each["metadata"]["name"]: each["metadata"]["annotations"]["k8s.v1.cni.cncf.io/resourceName"]
        for each in of_kind("NetworkAttachmentDefinition", manifests)
    }
    assert resources == {
        "sriov-standalone-vlan0": "intel.com/sriov_netdevice",
        "sriov-overlay-vlan0": "intel.com/sriov_netdevice",
        "sriov-dpdk-vlan0": "intel.com/sriov_netdevice",
        "vf-b": "vendor.example/vf",
        "vf-c": "intel.com/sriov_netdevice",
        "vf-d": "intel.com/sriov_netdevice",
    }


def test_a_device_for_dpdk_has_no_addresses_and_nothing_behind_it() -> None:
    found = networks(sriov=SRIOV)["sriov-dpdk-vlan0"]

    assert found["plugins"] == [{"type": "sriov", "vlan": 0}]


def test_an_overlay_stands_for_its_own_file_on_the_node() -> None:
    manifests = rendered({"overlay_crds": {"calico": {"enable": True}}})

    assert "spec" not in named("calico", of_kind("NetworkAttachmentDefinition", manifests))


def test_every_configuration_is_called_as_its_definition() -> None:
    found = definitions(rendered({"cluster_subnet": DUAL, **ALL_NETWORKS, "networks": MORE_NETWORKS}))

    assert [network["name"] for network in found.values()] == list(found)


@pytest.mark.parametrize("version", ["0.4.0", "1.1.0"])
def test_all_of_them_have_the_version_that_is_asked_for(version: str) -> None:
    found = networks(**ALL_NETWORKS, definitions={"cniVersion": version})

    assert {network["cniVersion"] for network in found.values()} == {version}
