"""The DaemonSet of our own: what its pods may, see and do, and that it is no more than they need."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.chart.helm import Json, container, default_values, named, of_kind, pod_spec, rendered
from tests.chart.values import IPAM, MACVLAN, V4, VXLAN
from tests.repo.tree import ROOT

NETWORK = ["NET_ADMIN", "NET_RAW", "SYS_ADMIN"]
PROCESSES = ["SYS_PTRACE"]  # to look into the namespaces of processes
OTHERS = ["SYS_CHROOT"]  # for plugins of others, in the node's root
ALONE = {"multus": {"mode": "none"}}


def capabilities(each: Json) -> list[str]:
    found = each["securityContext"]["capabilities"]
    assert found["drop"] == ["ALL"]
    return list(found.get("add", []))


def mounts(each: Json) -> dict[str, str | None]:
    return {mount["mountPath"]: mount.get("mountPropagation") for mount in each["volumeMounts"]}


@pytest.mark.parametrize(
    ("values", "needed"),
    [
        ({}, NETWORK + OTHERS + PROCESSES),
        (ALONE, NETWORK + PROCESSES),
        ({**ALONE, "cluster_subnet": V4, "vxlan": VXLAN}, NETWORK + PROCESSES),
        ({**ALONE, "cluster_subnet": V4, "vxlan": {**VXLAN, "ipam": IPAM}}, NETWORK + OTHERS + PROCESSES),
        ({**ALONE, "agent": {"hostPID": False}}, NETWORK),
        ({"agent": {"capabilities": ["SYS_MODULE"]}}, [*NETWORK, *OTHERS, *PROCESSES, "SYS_MODULE"]),
    ],
    ids=["builtin", "without it", "vxlan", "vxlan with another IPAM", "without hostPID", "more"],
)
def test_the_agent_has_the_capabilities_that_its_work_takes(values: Json, needed: list[str]) -> None:
    assert capabilities(container("agent", pod_spec(rendered(values)))) == needed


@pytest.mark.parametrize("name", ["install", "install-watch"])
def test_who_installs_has_no_capability_and_sees_the_directories_that_it_writes(name: str) -> None:
    installer = container(name, pod_spec(rendered({})))

    assert capabilities(installer) == []
    assert list(mounts(installer)) == [
        "/host/opt/cni/bin",
        "/host/etc/cni/net.d",
        "/host/etc/iproute2",
        "/etc/underlay",
    ]


@pytest.mark.parametrize("values", [{}, ALONE, {"uninstall": {"enable": True}}], ids=str)
def test_no_container_is_privileged_or_may_become_more_than_it_is(values: Json) -> None:
    spec = pod_spec(rendered(values))

    for each in (*spec["initContainers"], *spec["containers"]):
        security = each["securityContext"]
        assert "privileged" not in security
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_agent_sees_namespaces_that_are_mounted_after_its_start() -> None:
    agent = container("agent", pod_spec(rendered(ALONE)))

    assert mounts(agent) == {
        "/run/underlay": None,
        "/run/netns": "HostToContainer",
        "/var/log/underlay": None,
    }


def test_the_node_s_root_is_there_where_plugins_of_others_are_executed() -> None:
    agent = container("agent", pod_spec(rendered({})))

    assert mounts(agent)["/host"] == "HostToContainer"
    assert "--host-root=/host" in agent["args"]


@pytest.mark.parametrize("is_seen", [True, False])
def test_processes_of_the_node_are_seen_where_it_is_asked_for(is_seen: bool) -> None:
    assert pod_spec(rendered({"agent": {"hostPID": is_seen}}))["hostPID"] is is_seen


@pytest.mark.parametrize(
    ("version", "is_annotated"), [("1.29.0", True), ("1.30.0", False), ("1.32.0", False)]
)
def test_apparmor_lets_the_agent_write_settings_of_the_network(version: str, is_annotated: bool) -> None:
    manifests = rendered(ALONE, version)
    (daemonset,) = of_kind("DaemonSet", manifests)
    annotations = daemonset["spec"]["template"]["metadata"]["annotations"]
    profile = container("agent", pod_spec(manifests))["securityContext"].get("appArmorProfile")

    annotation = "container.apparmor.security.beta.kubernetes.io/agent"
    assert (annotations.get(annotation) == "unconfined") is is_annotated
    assert (profile == {"type": "Unconfined"}) is not is_annotated


def test_the_kubelet_asks_the_agent_on_the_loopback_address() -> None:
    agent = container("agent", pod_spec(rendered({"agent": {"port": 19977}})))

    assert "--metrics=127.0.0.1:19977" in agent["args"]
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert agent[probe]["httpGet"] == {"host": "127.0.0.1", "port": 19977, "path": path}


def test_it_runs_on_the_node_s_network_before_all_that_needs_it() -> None:
    spec = pod_spec(rendered({}))

    assert spec["hostNetwork"] is True
    assert spec["priorityClassName"] == "system-node-critical"


def test_what_is_left_over_is_looked_for_with_the_plugins_of_the_node() -> None:
    agent = container("agent", pod_spec(rendered({"cni": {"binDir": "/cni"}, "agent": {"gcSeconds": 60}})))

    assert {"--bin-dir=/cni", "--gc-seconds=60"} <= set(agent["args"])


def test_the_agent_knows_the_name_of_its_node() -> None:
    agent = container("agent", pod_spec(rendered({})))

    assert {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}} in agent["env"]


def test_calls_that_run_when_it_is_replaced_are_waited_for() -> None:
    assert pod_spec(rendered({}))["terminationGracePeriodSeconds"] > 30


def test_one_node_at_a_time_is_replaced_and_no_hook_takes_its_plugins_away() -> None:
    (daemonset,) = of_kind("DaemonSet", rendered({}))

    assert daemonset["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1},
    }
    for each in (*pod_spec(rendered({}))["containers"], *pod_spec(rendered({}))["initContainers"]):
        assert "lifecycle" not in each


def test_the_rights_are_those_that_the_agent_uses() -> None:
    documented = yaml.safe_load_all((ROOT / "packaging/kubernetes-rbac.yaml").read_text(encoding="utf-8"))

    (role,) = of_kind("ClusterRole", rendered({}))

    assert role["rules"] == of_kind("ClusterRole", documented)[0]["rules"]


def test_where_the_api_is_not_asked_there_are_no_rights_and_no_token() -> None:
    manifests = rendered({**ALONE, "cluster_subnet": V4, "macvlan": MACVLAN})

    assert of_kind("ClusterRole", manifests) == []
    assert pod_spec(manifests)["automountServiceAccountToken"] is False


def test_the_meta_plugin_stands_in_front_by_a_file_that_is_installed() -> None:
    manifests = rendered({"cni": {"confDir": "/conf", "binDir": "/bin/cni"}})
    text = named("underlay", of_kind("ConfigMap", manifests))["data"]["00-underlay.conflist"]

    (plugin,) = json.loads(text)["plugins"]
    assert plugin == {
        "type": "underlay",
        "kubeconfig": "",
        "confDir": "/conf",
        "nadDir": "/conf/underlay.d",
        "binDir": "/bin/cni",
        "systemNamespaces": ["kube-system"],
        "namespaceIsolation": False,
        "globalNamespaces": "default",
        "capabilities": {"io.kubernetes.cri.pod-annotations": True, "portMappings": True, "bandwidth": True},
    }
    installer = container("install", pod_spec(manifests))
    assert installer["args"] == [
        "install",
        "--host-root=/host",
        "--bin-dir=/bin/cni",
        "--conf-dir=/conf",
        "--network=/etc/underlay/00-underlay.conflist",
    ]


def test_a_configuration_that_changes_replaces_the_pods_that_install_it() -> None:
    checksums = set()
    for isolation in (True, False):
        values = {"multus": {"config": {"cni_conf": {"namespaceIsolation": isolation}}}}
        (daemonset,) = of_kind("DaemonSet", rendered(values))
        checksums.add(daemonset["spec"]["template"]["metadata"]["annotations"]["checksum/conflist"])

    assert len(checksums) == 2


@pytest.mark.parametrize("mode", ["upstream", "none"])
def test_beside_another_multus_nothing_is_put_in_front(mode: str) -> None:
    multus = {
        "mode": mode,
        "image": {"registry": "r.example"},
        "config": {"cni_conf": {"clusterNetwork": "pods"}},
    }
    manifests = rendered({"multus": multus})

    assert [each for each in of_kind("ConfigMap", manifests) if "00-underlay.conflist" in each["data"]] == []
    assert "--network" not in " ".join(container("install", pod_spec(manifests))["args"])


def test_uninstall_takes_the_agent_s_place_and_stays_until_all_nodes_are_done() -> None:
    spec = pod_spec(rendered({"uninstall": {"enable": True}}))

    assert container("uninstall", spec)["args"] == [
        "uninstall",
        "--host-root=/host",
        "--bin-dir=/opt/cni/bin",
        "--conf-dir=/etc/cni/net.d",
    ]
    assert [each["name"] for each in spec["containers"]] == ["uninstalled"]
    assert {"/run/underlay", "/run/netns", "/host/opt/cni/bin"} <= set(mounts(container("uninstall", spec)))


def test_reference_plugins_are_brought_where_they_are_asked_for_and_always_taken_off() -> None:
    spec = pod_spec(rendered({"install": {"referencePlugins": ["macvlan", "static"]}}))
    brought = container("reference-plugins", spec)
    taken = container("reference-plugins", pod_spec(rendered({"uninstall": {"enable": True}})))

    assert brought["command"] == ["reference-plugins", "bring", "/host/opt/cni/bin", "macvlan", "static"]
    assert taken["command"] == ["reference-plugins", "take", "/host/opt/cni/bin"]
    assert "reference-plugins" not in [each["name"] for each in pod_spec(rendered({}))["initContainers"]]


def test_uninstall_goes_to_all_nodes_at_once_so_that_each_says_what_keeps_it() -> None:
    (daemonset,) = of_kind("DaemonSet", rendered({"uninstall": {"enable": True}}))

    assert daemonset["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == "100%"


def test_force_is_given_when_it_is_asked_for() -> None:
    spec = pod_spec(rendered({"uninstall": {"enable": True, "force": True}}))

    assert container("uninstall", spec)["args"][-1] == "--force"


def test_prometheus_finds_the_agents_where_it_is_asked_to() -> None:
    monitoring = {"serviceMonitor": {"enable": True, "labels": {"release": "p"}}}
    manifests = rendered({"metrics": monitoring})

    (service,), (monitor,) = of_kind("Service", manifests), of_kind("ServiceMonitor", manifests)
    (daemonset,) = of_kind("DaemonSet", manifests)
    pods = daemonset["spec"]["template"]["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= pods
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "p"
    assert "--metrics-on=$(HOST_IP):9977" in container("agent", pod_spec(manifests))["args"]


def test_nobody_but_the_node_finds_them_unless_it_is_asked_for() -> None:
    agent = container("agent", pod_spec(rendered({})))

    assert [argument for argument in agent["args"] if "HOST_IP" in argument] == []
    assert default_values()["metrics"]["serviceMonitor"]["enable"] is False
