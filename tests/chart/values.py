"""What people write into their values: one cluster, and each option that the chart has."""

from __future__ import annotations

from tests.chart.helm import Json

V4 = {"service_subnet": {"ipv4": "10.96.0.0/12"}, "pod_subnet": ["10.244.0.0/16"]}
V6 = {"service_subnet": {"ipv6": "fd00:10:96::/108"}, "pod_subnet": ["fd00:10:244::/56"]}
DUAL = {
    "service_subnet": {"ipv4": "10.96.0.0/12", "ipv6": "fd00:10:96::/108"},
    "pod_subnet": ["10.244.0.0/16", "fd00:10:244::/56"],
}
FAMILIES = {"v4": V4, "v6": V6, "dual": DUAL}

IPAM = {"type": "whereabouts", "range": "192.168.10.0/24"}
MACVLAN: Json = {"enable": True, "master": "eth0", "ipam": IPAM}
SRIOV: Json = {"enable": True, "sriov_crd": {"ipam": IPAM}}
VXLANS: list[Json] = [
    {"name": "blue", "id": 5001, "cidr": ["10.66.0.0/24", "fd00:66::/64"], "peers": ["192.168.10.11"]},
    {"name": "green", "id": 5002, "cidr": "10.67.0.0/24", "options": {"group": "239.1.1.2"}},
]
VXLAN: Json = {"enable": True, "vxlans": VXLANS}
REGISTRY = {"registry": "registry.example"}
UPSTREAM_MULTUS = {
    "mode": "upstream",
    "image": REGISTRY,
    "config": {"cni_conf": {"clusterNetwork": "k8s-pod-network"}},
}
UPSTREAM_SRIOV = {
    **SRIOV,
    "cni": "upstream",
    "images": {"sriovCni": REGISTRY, "sriovDevicePlugin": REGISTRY},
    "config": {
        "sriov_device_plugin": {
            "vendors": ["8086"],
            "devices": ["154c"],
            "drivers": ["iavf"],
            "pfNames": ["ens1f0"],
        }
    },
}
ALL_NETWORKS = {"macvlan": MACVLAN, "sriov": SRIOV, "vxlan": VXLAN}
MORE_NETWORKS: list[Json] = [
    {"name": "lan-b", "type": "macvlan-overlay", "master": "eth1", "vlanID": 100},
    {"name": "lan-c", "type": "macvlan-standalone", "ipam": {"type": "dhcp"}, "skip_call": True},
    {"name": "vf-b", "type": "sriov-overlay", "vlanID": 200, "resourceName": "vendor.example/vf"},
    {"name": "vf-c", "type": "sriov-standalone"},
    {"name": "vf-d", "type": "sriov-dpdk"},
]

# Each is the cluster's subnets and one option.
OPTIONS: dict[str, Json] = {
    "nothing": {},
    "names": {"nameOverride": "nics", "fullnameOverride": "pod-nics"},
    "image": {
        "image": {**REGISTRY, "repository": "net/underlay", "tag": "1.2.3", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "mirror"}],
    },
    "k3s": {
        "cni": {
            "binDir": "/var/lib/rancher/k3s/data/cni",
            "confDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        }
    },
    "agent": {
        "agent": {
            "threads": 64,
            "port": 19977,
            "hostPID": False,
            "capabilities": ["SYS_MODULE"],
            "gcSeconds": 0,
            "resources": {"limits": {"memory": "1Gi"}},
        }
    },
    "without a watch": {"install": {"watch": False}},
    "reference plugins": {"install": {"referencePlugins": ["macvlan", "host-local"]}},
    "uninstall": {"uninstall": {"enable": True}},
    "uninstall by force": {"uninstall": {"enable": True, "force": True}},
    "pods": {
        "podAnnotations": {"a.example/b": "c"},
        "podLabels": {"team": "net"},
        "nodeSelector": {"nics": "lan"},
        "affinity": {"nodeAffinity": {}},
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "system-cluster-critical",
        "updateStrategy": {"maxUnavailable": "10%"},
        "serviceAccount": {"annotations": {"a.example/b": "c"}},
    },
    "monitoring": {
        "metrics": {"serviceMonitor": {"enable": True, "interval": "1m", "labels": {"release": "p"}}}
    },
    "multus of others": {"multus": {"mode": "none"}},
    "multus of upstream": {"multus": UPSTREAM_MULTUS},
    "settings of the meta plugin": {
        "multus": {
            "config": {
                "cni_conf": {
                    "clusterNetwork": "kube-system/lan-b",
                    "defaultNetworks": ["kube-system/lan-c"],
                    "systemNamespaces": ["kube-system", "infra"],
                    "namespaceIsolation": True,
                    "globalNamespaces": "default,shared",
                    "readinessindicatorfile": "/run/ready",
                }
            }
        }
    },
    "overlays": {
        "overlay_crds": {name: {"enable": True} for name in ("calico", "cilium", "k8s-pod-network")}
    },
    "macvlan": {"macvlan": MACVLAN},
    "macvlan on a VLAN": {
        "macvlan": {**MACVLAN, "type": "macvlan-standalone", "name": "lan", "vlanID": 100}
    },
    "macvlan with all": {
        "macvlan": {
            **MACVLAN,
            "mode": "vepa",
            "mtu": 1400,
            "migrate_route": 1,
            "overlayInterface": "eth1",
            "custom_route": ["169.254.25.10/32", "169.254.25.11"],
            "skip_call": True,
            "options": {"ip_conflict": {"enabled": True}, "mac_prefix": "0a:1b"},
        }
    },
    "rp_filter": {"cluster_subnet": {"rp_filter": {"set_host": False, "value": 0}}, "macvlan": MACVLAN},
    "sriov": {"sriov": SRIOV},
    "sriov of upstream": {"sriov": UPSTREAM_SRIOV},
    "sriov for DPDK": {
        "sriov": {**SRIOV, "sriov_crd": {"type": "sriov-dpdk", "name": "fast", "ipam": IPAM}}
    },
    "vxlan": {"vxlan": VXLAN},
    "vxlan alone": {"vxlan": {**VXLAN, "type": "vxlan-standalone"}, "multus": {"mode": "none"}},
    "vxlan with another IPAM": {"vxlan": {**VXLAN, "ipam": IPAM}, "multus": {"mode": "none"}},
    "all networks": ALL_NETWORKS,
    "more networks": {**ALL_NETWORKS, "networks": MORE_NETWORKS},
    "elsewhere": {"macvlan": MACVLAN, "definitions": {"namespace": "default", "cniVersion": "0.4.0"}},
}


def merged(one: Json, other: Json) -> Json:
    """As helm puts one file of values over another."""
    both = dict(one)
    for key, value in other.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and key in both else value
    return both


def cluster(family: str, option: str) -> Json:
    return merged({"cluster_subnet": FAMILIES[family]}, OPTIONS[option])
