"""What an API server has: objects, the version that counts their changes, and the last of those changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.netns.kube_api.documents import NODE, UID, Json, nad, pod

Key = tuple[str, str]  # namespace and name
FIRST_VERSION = 81000


@dataclass(frozen=True)
class Event:
    """A change as a watch tells it."""

    version: int
    type: str
    document: Json


@dataclass
class Kind:
    """The objects of one kind."""

    name: str
    resource: str
    group: str = ""
    objects: dict[Key, Json] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    forgotten: int = 0  # the last version of which the changes are not known any more


class Store:
    """Pods and NetworkAttachmentDefinitions. Watchers wait for `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = FIRST_VERSION
        self.pods = Kind("Pod", "pods")
        self.nads = Kind("NetworkAttachmentDefinition", "network-attachment-definitions", "k8s.cni.cncf.io")
        self.dropped = 0  # how often all watches were to break
        self.ended = 0  # and to end as after their time

    def put_pod(
        self,
        namespace: str,
        name: str,
        annotations: dict[str, str] | None = None,
        uid: str = UID,
        node: str = NODE,
    ) -> None:
        self._put(self.pods, pod(namespace, name, annotations, uid, node))

    def put_nad(
        self, namespace: str, name: str, config: str | None, annotations: dict[str, str] | None = None
    ) -> None:
        self._put(self.nads, nad(namespace, name, config, annotations))

    def delete_pod(self, namespace: str, name: str) -> None:
        self._delete(self.pods, (namespace, name))

    def delete_nad(self, namespace: str, name: str) -> None:
        self._delete(self.nads, (namespace, name))

    def annotations(self, namespace: str, name: str) -> dict[str, str]:
        """A pod's, as they are now."""
        with self.changed:
            found: dict[str, str] = self.pods.objects[namespace, name]["metadata"].get("annotations", {})
            return dict(found)

    def annotate(self, key: Key, changes: dict[str, str | None]) -> Json:
        """A merge patch of a pod's annotations; the pod."""
        with self.changed:
            old = self.pods.objects[key]
            merged = {**old["metadata"].get("annotations", {}), **changes}
            annotations = {name: value for name, value in merged.items() if value is not None}
            self._put(self.pods, {**old, "metadata": {**old["metadata"], "annotations": annotations}})
            return self.pods.objects[key]

    def compact(self) -> None:
        """Forgets which changes led to what is there, as etcd does after some minutes."""
        with self.changed:
            self.version += 1
            for kind in (self.pods, self.nads):
                kind.events.clear()
                kind.forgotten = self.version

    def drop_watches(self) -> None:
        """Breaks the connections of all watches."""
        with self.changed:
            self.dropped += 1
            self.changed.notify_all()

    def end_watches(self) -> None:
        """Ends all watches as after their time."""
        with self.changed:
            self.ended += 1
            self.changed.notify_all()

    def bookmark(self) -> None:
        """Tells all watchers how far they are, without a change of theirs."""
        with self.changed:
            self.version += 1
            for kind in (self.pods, self.nads):
                head = {"resourceVersion": str(self.version), "creationTimestamp": None}
                kind.events.append(Event(self.version, "BOOKMARK", {"kind": kind.name, "metadata": head}))
            self.changed.notify_all()

    def _put(self, kind: Kind, document: Json) -> None:
        metadata = document["metadata"]
        key = metadata["namespace"], metadata["name"]
        with self.changed:
            self._tell(kind, "MODIFIED" if key in kind.objects else "ADDED", document)
            kind.objects[key] = kind.events[-1].document

    def _delete(self, kind: Kind, key: Key) -> None:
        with self.changed:
            self._tell(kind, "DELETED", kind.objects.pop(key))

    def _tell(self, kind: Kind, change: str, document: Json) -> None:
        self.version += 1
        versioned = {**document["metadata"], "resourceVersion": str(self.version)}
        kind.events.append(Event(self.version, change, {**document, "metadata": versioned}))
        self.changed.notify_all()


def selects(selector: str, document: Json) -> bool:
    """Whether a field selector takes an object; those that the API server knows for our kinds."""
    return all(_field(document, path) == value for path, value in _terms(selector))


def _terms(selector: str) -> Iterator[tuple[str, str]]:
    for term in filter(None, selector.split(",")):
        path, _, value = term.partition("=")
        yield path, value


def _field(document: Json, path: str) -> Any:
    found: Any = document
    for name in path.split("."):
        found = found[name]
    return found
