"""Every manifest, over all options and families, is what the API servers take and what our plugins read."""

from __future__ import annotations

import json
from collections.abc import Iterator

import kubernetes_validate
import pytest
import yaml

import underlay
from tests.chart.helm import (
    CHART,
    KUBERNETES,
    Json,
    container,
    definitions,
    helm,
    of_kind,
    pod_spec,
    rendered,
)
from tests.chart.values import (
    ALL_NETWORKS,
    FAMILIES,
    MORE_NETWORKS,
    OPTIONS,
    UPSTREAM_MULTUS,
    UPSTREAM_SRIOV,
    V4,
    cluster,
)
from underlay.cni.keys import Keys
from underlay.plugins import PLUGINS

EVERY_OPTION = pytest.mark.parametrize("option", OPTIONS)
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
VERSIONS = ["1.25.0", "1.29.0", KUBERNETES, kubernetes_validate.latest_version()]
OF_OTHERS = {"NetworkAttachmentDefinition", "ServiceMonitor"}  # no schema is published with Kubernetes


def test_helm_finds_nothing_to_say_but_that_there_is_no_icon() -> None:
    done = helm("lint", "--strict", str(CHART))

    said = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert (done.returncode, said) == (0, ["[INFO] Chart.yaml: icon is recommended"])


@EVERY_OPTION
def test_helm_lints_every_option(option: str) -> None:
    done = helm("lint", "--strict", str(CHART), values=cluster("dual", option))

    assert done.returncode == 0, done.stdout


@EVERY_OPTION
@EVERY_FAMILY
def test_every_manifest_is_as_the_schemas_of_kubernetes_have_it(family: str, option: str) -> None:
    manifests = rendered(cluster(family, option))

    assert manifests
    for manifest in manifests:
        refuse_what_is_no_object(manifest, KUBERNETES)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_kubernetes_takes_them(version: str) -> None:
    values = {"cluster_subnet": V4, **ALL_NETWORKS, "networks": MORE_NETWORKS}

    for manifest in rendered(values, version):
        refuse_what_is_no_object(manifest, version)


def refuse_what_is_no_object(manifest: Json, version: str) -> None:
    """ValidationError where it is not; of the kinds of others what all objects have."""
    if manifest["kind"] not in OF_OTHERS:
        kubernetes_validate.validate(manifest, version, strict=True)
        return
    assert set(manifest) <= {"apiVersion", "kind", "metadata", "spec"}
    metadata = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]}
    kubernetes_validate.validate(metadata, version, strict=True)


@EVERY_OPTION
@EVERY_FAMILY
def test_our_plugins_read_every_network_and_know_all_its_keys(family: str, option: str) -> None:
    manifests = rendered(cluster(family, option))

    for configuration in (*definitions(manifests).values(), *conflists(manifests)):
        for plugin in configuration.get("plugins", ()):
            if plugin["type"] in PLUGINS:
                keys = Keys(plugin, PLUGINS[plugin["type"]].aliases)
                assert PLUGINS[plugin["type"]].parse(keys) is not None or plugin["skip_call"]
                assert keys.unknown() == [] or plugin["skip_call"]


def conflists(manifests: list[Json]) -> Iterator[Json]:
    for configmap in of_kind("ConfigMap", manifests):
        yield from (json.loads(text) for text in configmap["data"].values())


@EVERY_OPTION
def test_names_are_unique_and_every_object_says_whose_it_is(option: str) -> None:
    manifests = [
        each for each in rendered(cluster("dual", option)) if each["kind"] != "CustomResourceDefinition"
    ]

    names = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in manifests
    ]
    assert len(set(names)) == len(names)
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "underlay"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


@EVERY_OPTION
def test_every_selector_finds_the_pods_of_its_own_daemonset_alone(option: str) -> None:
    daemonsets = of_kind("DaemonSet", rendered(cluster("dual", option)))

    for daemonset in daemonsets:
        wanted = daemonset["spec"]["selector"]["matchLabels"].items()
        found = [
            each for each in daemonsets if wanted <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert found == [daemonset]


@EVERY_OPTION
def test_what_is_mounted_is_there_and_what_is_there_is_mounted(option: str) -> None:
    for daemonset in of_kind("DaemonSet", rendered(cluster("dual", option))):
        spec = daemonset["spec"]["template"]["spec"]
        mounted = {
            mount["name"]
            for each in (*spec.get("initContainers", ()), *spec["containers"])
            for mount in each.get("volumeMounts", ())
        }
        assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_all_is_in_the_namespace_of_the_release_but_the_definitions() -> None:
    values = {"cluster_subnet": V4, **ALL_NETWORKS, "multus": UPSTREAM_MULTUS, "sriov": UPSTREAM_SRIOV}

    done = helm("template", "nics", str(CHART), "--namespace", "net", values=values)
    places = {
        manifest["kind"]: manifest["metadata"].get("namespace", "none")
        for manifest in yaml.safe_load_all(done.stdout)
    }

    assert places == {
        "ServiceAccount": "net",
        "ConfigMap": "net",
        "ClusterRole": "none",
        "ClusterRoleBinding": "none",
        "DaemonSet": "net",
        "NetworkAttachmentDefinition": "kube-system",
    }


def test_the_version_is_that_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    image = container("agent", pod_spec(rendered({})))["image"]

    version = underlay.__version__
    assert [chart["version"], chart["appVersion"], image] == [version, version, f"underlay:{version}"]
