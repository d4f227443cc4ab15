"""RBAC: each user of the tests' API server has the rights that the documentation asks for, and no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import yaml

from tests.netns.kube_api.documents import Json
from tests.repo.tree import ROOT

DOCUMENTED = ROOT / "packaging/kubernetes-rbac.yaml"


@dataclass(frozen=True)
class Right:
    """To do something with all objects of a resource."""

    verb: str
    group: str
    resource: str


def documented() -> frozenset[Right]:
    """What the ClusterRole of the documentation allows."""
    with DOCUMENTED.open() as file:
        documents = cast("list[Json]", list(yaml.safe_load_all(file)))
    (role,) = (document for document in documents if document["kind"] == "ClusterRole")
    return frozenset(
        Right(verb, group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    )
