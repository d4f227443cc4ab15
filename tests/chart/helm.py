"""helm, asked to render the chart: manifests for what it takes, its words for what it refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.repo.tree import ROOT

CHART = ROOT / "charts/underlay"
HELM = ROOT / ".venv/bin/helm"
KUBERNETES = "1.32.0"
RELEASE, NAMESPACE = "underlay", "kube-system"

Json = dict[str, Any]


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """One run of it; `values` are given as a file would be."""
    given = [] if values is None else ["--values", "-"]
    return subprocess.run(
        [HELM, *arguments, *given], input=json.dumps(values), capture_output=True, text=True, check=False
    )


@cache
def template(values: str, kubernetes: str) -> subprocess.CompletedProcess[str]:
    """Once for the same values, which are JSON."""
    options = ["--namespace", NAMESPACE, "--kube-version", kubernetes, "--include-crds"]
    return helm("template", RELEASE, str(CHART), *options, values=json.loads(values))


def rendered(values: Mapping[str, Any], kubernetes: str = KUBERNETES) -> list[Json]:
    """Every manifest that the values give."""
    done = template(json.dumps(values), kubernetes)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.load_all(done.stdout, yaml.CSafeLoader) if manifest]


def refused(values: Mapping[str, Any]) -> str:
    """What helm says where it takes the values for wrong."""
    done = template(json.dumps(values), KUBERNETES)
    assert done.returncode, "helm takes it"
    return done.stderr


def of_kind(kind: str, manifests: Iterable[Json]) -> list[Json]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def named(name: str, manifests: Iterable[Json]) -> Json:
    """The one whose name ends so."""
    (found,) = (manifest for manifest in manifests if manifest["metadata"]["name"].endswith(name))
    return found


def definitions(manifests: Iterable[Json]) -> dict[str, Json]:
    """The configurations of the NetworkAttachmentDefinitions, by name; an empty one where there is none."""
    found = of_kind("NetworkAttachmentDefinition", manifests)
    return {each["metadata"]["name"]: json.loads(each.get("spec", {}).get("config", "{}")) for each in found}


def pod_spec(manifests: Iterable[Json], name: str = RELEASE) -> Json:
    """Of the DaemonSet of that name."""
    (found,) = (each for each in of_kind("DaemonSet", manifests) if each["metadata"]["name"] == name)
    spec: Json = found["spec"]["template"]["spec"]
    return spec


def container(name: str, spec: Json) -> Json:
    """One of a pod, whether it starts first or stays."""
    every = [*spec.get("initContainers", ()), *spec["containers"]]
    (found,) = (each for each in every if each["name"] == name)
    return dict(found)


def default_values() -> Json:
    read: Json = yaml.safe_load(Path(CHART / "values.yaml").read_text(encoding="utf-8"))
    return read
