"""Where networks are defined: chains, manifests of a directory, conflists of another, and an API behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from underlay.cni.cluster import Cluster, Definition, PodObject
from underlay.cni.errors import CniError, IncompatibleVersion, InvalidConfig, TryAgainLater
from underlay.networks.catalogue import Catalogue
from underlay.networks.conflist import Conflist, conflist_of, read_conflist
from underlay.networks.delegates import with_cni_args
from underlay.networks.manifests import manifests_in
from underlay.networks.sources import Reference, Sources

PLUGINS = ({"type": "bridge", "bridge": "br0"}, {"type": "veth"})
CHAIN: dict[str, Any] = {"cniVersion": "1.0.0", "name": "lan", "plugins": list(PLUGINS)}


# Chains


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (CHAIN, Conflist("lan", "1.0.0", PLUGINS)),
        ({"type": "bridge", "name": "one"}, Conflist("one", "0.4.0", ({"type": "bridge", "name": "one"},))),
        ({"type": "bridge"}, Conflist("other", "0.4.0", ({"type": "bridge"},))),
        ({**CHAIN, "cniVersion": ""}, Conflist("lan", "0.4.0", PLUGINS)),
        (
            {"CNIVersion": "0.3.1", "Name": "lan", "Plugins": list(PLUGINS)},
            Conflist("lan", "0.3.1", PLUGINS),
        ),
        ({**CHAIN, "cniVersions": ["0.3.1", "1.1.0"]}, Conflist("lan", "1.1.0", PLUGINS)),
        (
            {**CHAIN, "disableCheck": "true", "disableGC": True},
            Conflist("lan", "1.0.0", PLUGINS, disable_check=True, disable_gc=True),
        ),
    ],
)
def test_a_configuration_is_a_chain(document: dict[str, Any], expected: Conflist) -> None:
    assert conflist_of(document, "here", "other", "0.4.0") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "here is not valid JSON"),
        ("[]", "here: [] is not a network configuration"),
        ('{"name": "lan"}', "here.type: null is not the name of a plugin's executable"),
        ('{"name": "lan", "plugins": []}', "here.plugins: [] is no chain"),
        ('{"name": "lan", "plugins": [{"type": "../a"}]}', 'here.plugins[0].type: "../a" is not the name'),
        ('{"name": "a b", "type": "bridge"}', 'here.name: "a b" is not a network name'),
        ('{"type": "bridge"}', "here.name is missing"),
        (
            '{"name": "lan", "type": "bridge", "disableCheck": 1}',
            "here.disableCheck: 1 is not true or false",
        ),
    ],
)
def test_what_is_no_chain_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        read_conflist(text, "here", "", "1.0.0")

    assert refused.value.msg.startswith(message)


@pytest.mark.parametrize(
    "keys", [{"cniVersion": "0.2.0"}, {"cniVersion": "2.0.0"}, {"cniVersions": ["2.0.0"]}]
)
def test_a_version_that_we_do_not_speak_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(IncompatibleVersion, match="is not a version that underlay speaks"):
        conflist_of({"name": "lan", "type": "bridge", **keys}, "here")


def test_arguments_reach_every_plugin_beside_its_own() -> None:
    chain = Conflist(
        "lan", "1.0.0", ({"type": "a"}, {"type": "b", "args": {"x": 1, "cni": {"y": 2, "z": 3}}})
    )

    told = with_cni_args(chain, {"z": 4})

    assert told.plugins == (
        {"type": "a", "args": {"cni": {"z": 4}}},
        {"type": "b", "args": {"x": 1, "cni": {"y": 2, "z": 4}}},
    )
    assert chain.plugins[0] == {"type": "a"}


# Manifests


def manifest(name: str, config: str = "{}", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, **metadata},
        "spec": {"config": config},
    }


YAML = """
# what a person writes
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: lan-a, namespace: shop, annotations: {k8s.v1.cni.cncf.io/resourceName: intel.com/sriov}}
spec:
  config: '{"type": "bridge"}'
---
apiVersion: v1
kind: ConfigMap
metadata: {name: something-else}
---
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: from-a-file}
"""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("one.json", json.dumps(manifest("lan-a")), [Definition("default", "lan-a", "{}")]),
        (
            "several.json",
            json.dumps({"kind": "List", "items": [manifest("a"), manifest("b", namespace="shop")]}),
            [Definition("default", "a", "{}"), Definition("shop", "b", "{}")],
        ),
        (
            "several.yaml",
            YAML,
            [
                Definition(
                    "shop",
                    "lan-a",
                    '{"type": "bridge"}',
                    {"k8s.v1.cni.cncf.io/resourceName": "intel.com/sriov"},
                ),
                Definition("default", "from-a-file", ""),
            ],
        ),
        ("empty.yml", "", []),
        ("readme.txt", "no manifest", None),
        (".hidden.json", "{", None),
    ],
)
def test_the_definitions_of_a_file(
    tmp_path: Path, name: str, text: str, expected: list[Definition] | None
) -> None:
    (tmp_path / name).write_text(text)

    found = manifests_in(str(tmp_path))

    assert [list(each.definitions) for each in found] == ([] if expected is None else [expected])
    assert [each.problem for each in found if each.problem] == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.json", "{", "a.json is not valid JSON: Expecting"),
        ("a.yaml", "a: [", "a.yaml is not valid YAML: while parsing a flow"),
        ("a.yaml", "a: &a [*a]\n", ""),
        ("a.json", "[]", "a.json, document 1: [] is not an object"),
        ("a.json", json.dumps(manifest("") | {"metadata": {}}), "document 1.metadata.name is missing"),
        ("a.json", json.dumps(manifest("a") | {"spec": {"config": {}}}), "spec.config: {} is not a string"),
    ],
)
def test_a_file_that_can_not_be_read_is_a_problem_and_not_a_failure(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    (tmp_path / name).write_text(text)

    (found,) = manifests_in(str(tmp_path))

    assert problem in found.problem
    assert bool(problem) == bool(found.problem)


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for name in ("lan-a", "lan-b"):
        path.write_text(json.dumps(manifest(name)))
        os.utime(path, ns=(0, len(name) + ord(name[-1])))

        assert [each.name for found in manifests_in(str(tmp_path)) for each in found.definitions] == [name]


# What is meant by a name


class Api:
    """An API that knows one definition."""

    def pod(self, namespace: str, name: str, uid: str = "") -> PodObject:
        raise NotImplementedError

    def definition(self, namespace: str, name: str) -> Definition | None:
        known = Definition("shop", "from-api", json.dumps(CHAIN))
        return known if (namespace, name) == ("shop", "from-api") else None

    def annotate(self, pod: PodObject, key: str, value: str) -> None:
        raise NotImplementedError


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    """Definitions a/defined, a/in-file and a/lost, a conflist `lan`, and one of ours before it."""
    definitions, conflists = tmp_path / "definitions", tmp_path / "conflists"
    definitions.mkdir()
    conflists.mkdir()
    for name, config in (("defined", json.dumps(CHAIN)), ("in-file", ""), ("lost", ""), ("bad", "{")):
        (definitions / f"{name}.json").write_text(json.dumps(manifest(name, config, namespace="a")))
    (definitions / "z-broken.json").write_text("{")
    ours = {"name": "pods", "plugins": [{"type": "underlay"}]}
    for number, each in enumerate((ours, {**CHAIN, "name": "first"}, CHAIN, {**CHAIN, "name": "in-file"})):
        (conflists / f"{number}.conflist").write_text(json.dumps(each))
    return in_directories(tmp_path)


def in_directories(directory: Path, kubeconfig: str | None = None) -> Catalogue:
    sources = Sources(str(directory / "conflists"), str(directory / "definitions"), kubeconfig)
    return Catalogue(sources, "1.1.0", api)


def api(_kubeconfig: str) -> Cluster:
    return Api()


def found(catalogue: Catalogue, name: str, namespace: str = "a") -> str:
    network = catalogue.configured(Reference("defaultNetwork", name, namespace))
    return f"{network.name} is {network.conflist.name}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("defined", "a/defined is lan"),
        ("a/defined", "a/defined is lan"),
        ("in-file", "a/in-file is in-file"),
        ("lan", "lan is lan"),
        ("", "first is first"),
        ("{conflists}", "first is first"),
        ("{conflists}/2.conflist", "lan is lan"),
    ],
)
def test_a_name_means_a_definition_else_a_conflist(
    tmp_path: Path, catalogue: Catalogue, name: str, expected: str
) -> None:
    assert found(catalogue, name.format(conflists=tmp_path / "conflists")) == expected


def test_the_api_is_asked_behind_the_directory(tmp_path: Path, catalogue: Catalogue) -> None:
    with pytest.raises(InvalidConfig):
        found(catalogue, "shop/from-api")

    assert found(in_directories(tmp_path, ""), "shop/from-api") == "shop/from-api is lan"


@pytest.mark.parametrize(
    ("name", "message", "details"),
    [
        (
            "none",
            'there is no NetworkAttachmentDefinition "a/none", nor a conflist of that name in',
            "a/defined",
        ),
        ("b/lan", 'there is no NetworkAttachmentDefinition "b/lan"', "not read: "),
        ("lost", "NetworkAttachmentDefinition a/lost has no spec.config, and no conflist in ", '"lan"'),
        ("bad", "NetworkAttachmentDefinition a/bad is not valid JSON", "Expecting"),
        ("/nowhere.conflist", "reading /nowhere.conflist: No such file", ""),
    ],
)
def test_what_is_not_there_is_said_with_what_is(
    catalogue: Catalogue, name: str, message: str, details: str
) -> None:
    with pytest.raises(CniError) as refused:
        found(catalogue, name)

    assert message in refused.value.msg
    assert details in refused.value.details


def test_a_definition_that_is_there_twice_is_refused(tmp_path: Path, catalogue: Catalogue) -> None:
    (tmp_path / "definitions/again.json").write_text(json.dumps(manifest("defined", namespace="a")))

    with pytest.raises(InvalidConfig, match='"a/defined" is defined twice') as refused:
        found(catalogue, "defined")

    assert "again.json and" in refused.value.details


@pytest.mark.parametrize("kind", ["underlay", "multus", "multus-shim"])
def test_the_first_network_is_none_that_reads_annotations_itself(
    tmp_path: Path, catalogue: Catalogue, kind: str
) -> None:
    reader = {"cniVersion": "1.0.0", "name": "reader", "type": kind}
    (tmp_path / "conflists/0-first.conf").write_text(json.dumps(reader))

    assert found(catalogue, "") == "first is first"


def test_what_is_on_the_node_is_not_asked_of_the_api(tmp_path: Path, catalogue: Catalogue) -> None:
    def asked(kubeconfig: str) -> Cluster:
        raise AssertionError(f"{kubeconfig} is asked")

    sources = Sources(str(tmp_path / "conflists"), str(tmp_path / "definitions"), "/kubeconfig")
    catalogue = Catalogue(sources, "1.1.0", asked)

    assert found(catalogue, "lan") == "lan is lan"
    assert found(catalogue, "defined") == "a/defined is lan"
    assert found(catalogue, "in-file") == "a/in-file is in-file"
    assert found(catalogue, "") == "first is first"


def test_until_there_is_a_network_beside_ours_the_runtime_has_to_come_again(tmp_path: Path) -> None:
    with pytest.raises(TryAgainLater, match="there is no network in"):
        found(in_directories(tmp_path), "")
