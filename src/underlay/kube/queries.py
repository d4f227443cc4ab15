"""What the API is asked, as values. Nothing here asks.

Of a pod the metadata is wanted and no more: the API server cuts it out of the rest
(PartialObjectMetadata), so that a node with hundreds of pods costs kilobytes. A single pod is asked for
as a list with a selector, which the API server answers by one look-up; so the right to list pods is
enough, and no right to get them is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from underlay.cni.cluster import NAME, NAME_RULE, PodObject
from underlay.cni.document import shown
from underlay.cni.errors import InvalidConfig, InvalidEnvironment

DEFINITIONS = "network-attachment-definitions"
GROUP = "k8s.cni.cncf.io"
WRITER = "underlay"  # `managedFields` shows who has written an annotation
METADATA = "application/json;as={};g=meta.k8s.io;v=v1,application/json"
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Query:
    """A request. `path` follows the server's URL, `doing` is for messages, `right` what RBAC must allow."""

    doing: str
    path: str
    right: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=lambda: {"Accept": "application/json"})
    method: str = "GET"
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Collection:
    """Objects that are kept: those that `query` lists; `accept` is how their watch wants them to look."""

    name: str
    query: Query
    accept: str

    def listed(self, version: str) -> Query:
        """All of them, as they were at that version or later; "" for as they are now."""
        return _with(self.query, {"resourceVersion": version} if version else {})

    def watched(self, version: str, seconds: int) -> Query:
        """What changes after that version, for so long."""
        watch = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        query = replace(self.query, doing=f"watching {self.name}", headers={"Accept": self.accept})
        return _with(query, watch)


def pod(namespace: str, name: str) -> Query:
    """One pod; InvalidEnvironment for what is not the name of one."""
    for variable, value in (("K8S_POD_NAMESPACE", namespace), ("K8S_POD_NAME", name)):
        if not NAME.fullmatch(value):
            raise InvalidEnvironment(
                f"CNI_ARGS: {variable}: {shown(value)} is not a name, and the Kubernetes API is asked by it",
                f"a name is {NAME_RULE}",
            )
    return Query(
        f"reading pod {namespace}/{name}",
        f"api/v1/namespaces/{namespace}/pods",
        _right("", "pods", "list"),
        {"fieldSelector": f"metadata.name={name}"},
        {"Accept": METADATA.format("PartialObjectMetadataList")},
    )


def definition(namespace: str, name: str) -> Query:
    """One NetworkAttachmentDefinition; InvalidConfig for what is not the name of one."""
    for value in (namespace, name):
        if not NAME.fullmatch(value):  # it becomes part of the path, where `../` leads to another object
            raise InvalidConfig(
                f"{shown(f'{namespace}/{name}')} is not the name of a NetworkAttachmentDefinition",
                f"a name is {NAME_RULE}",
            )
    return Query(
        f"reading the NetworkAttachmentDefinition {namespace}/{name}",
        f"apis/{GROUP}/v1/namespaces/{namespace}/{DEFINITIONS}/{name}",
        _right(GROUP, DEFINITIONS, "get"),
    )


def annotation(pod: PodObject, values: Mapping[str, str]) -> Query:
    """Gives a pod annotations. The uid is a condition: another pod of that name is left alone.

    Through `status`, as the kubelet and Multus write: that right changes no pod's specification.
    """
    condition = {"uid": pod.uid} if pod.uid else {}
    return Query(
        f"annotating pod {pod.namespace}/{pod.name}",
        f"api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status",
        _right("", "pods/status", "patch"),
        {"fieldManager": WRITER},
        {"Accept": METADATA.format("PartialObjectMetadata"), "Content-Type": MERGE_PATCH},
        "PATCH",
        json.dumps({"metadata": {**condition, "annotations": dict(values)}}).encode(),
    )


def pods_of(node: str) -> Collection:
    """The pods of a node."""
    query = Query(
        f"listing the pods of node {node}",
        "api/v1/pods",
        _right("", "pods", "list", "watch"),
        {"fieldSelector": f"spec.nodeName={node}"},
        {"Accept": METADATA.format("PartialObjectMetadataList")},
    )
    return Collection(f"the pods of node {node}", query, METADATA.format("PartialObjectMetadata"))


def definitions() -> Collection:
    """The NetworkAttachmentDefinitions of all namespaces."""
    query = Query(
        f"listing {DEFINITIONS}",
        f"apis/{GROUP}/v1/{DEFINITIONS}",
        _right(GROUP, DEFINITIONS, "list", "watch"),
    )
    return Collection(DEFINITIONS, query, query.headers["Accept"])


def _with(query: Query, parameters: Mapping[str, str]) -> Query:
    return replace(query, parameters={**query.parameters, **parameters})


def _right(group: str, resource: str, *verbs: str) -> str:
    """A rule of a ClusterRole, on one line."""
    return f"apiGroups {shown([group])}, resources {shown([resource])}, verbs {shown(list(verbs))}"
