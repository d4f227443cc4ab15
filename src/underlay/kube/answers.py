"""What the API answers, decoded into what is kept of it. Nothing here asks.

Only what is needed is decoded, and only that has to be understood: a field of a pod that a later API has
changed is no reason to fail. ValueError is an answer that can't be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from underlay.cni.cluster import Definition, PodObject

T = TypeVar("T")
Key = tuple[str, str]  # namespace and name

MIRRORED = "kubernetes.io/config.mirror"  # a static pod's own uid, on the pod that the kubelet shows of it


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Spec(msgspec.Struct):
    config: str | None = None


class _Pod(msgspec.Struct):
    metadata: _Metadata


class _Definition(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec | None = None


class _List(msgspec.Struct):
    metadata: _Metadata
    items: list[msgspec.Raw]


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Details(msgspec.Struct):
    name: str = ""


class Status(msgspec.Struct):
    """What the API server says of a question that it doesn't answer."""

    kind: str
    code: int = 0
    message: str = ""
    reason: str = ""
    details: _Details | None = None

    def names(self, name: str) -> bool:
        """Whether it is about that object, and not about all of its kind."""
        return self.details is not None and self.details.name == name


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """The objects of a kind, and the version from which on to watch them."""

    version: str
    objects: dict[Key, T]


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What a watch tells: the object that is there now, None where it is gone. A bookmark has no `key`."""

    version: str
    key: Key | None = None
    object: T | None = None


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """How objects of a kind are decoded: the part of them that is read, and what is made of it."""

    decoder: msgspec.json.Decoder[Any]
    made: Callable[[Any], T]

    def one(self, document: bytes | msgspec.Raw) -> T:
        return self.made(self.decoder.decode(document))

    def listed(self, answer: bytes) -> Listed[T]:
        found = LIST.decode(answer)
        parts = [self.decoder.decode(item) for item in found.items]
        return Listed(found.metadata.resource_version, {_key(part): self.made(part) for part in parts})

    def change(self, line: bytes) -> Change[T] | Status:
        """One line of a watch; Status is an error, with which the watch ends."""
        event = EVENT.decode(line)
        if event.type == "ERROR":
            return STATUS.decode(event.object)
        part = self.decoder.decode(event.object)
        version = part.metadata.resource_version
        match event.type:
            case "ADDED" | "MODIFIED":
                return Change(version, _key(part), self.made(part))
            case "DELETED":
                return Change(version, _key(part))
            case _:
                return Change(version)


def is_pod(pod: PodObject, uid: str) -> bool:
    """Whether that is the pod's uid as its runtime knows it."""
    return uid in (pod.uid, pod.annotations.get(MIRRORED))


def status(answer: bytes) -> Status | None:
    """What the API server says itself; None where something else has answered."""
    try:
        found = STATUS.decode(answer)
    except ValueError:
        return None
    return found if found.kind == "Status" else None


def _pod(part: _Pod) -> PodObject:
    metadata = part.metadata
    return PodObject(metadata.namespace, metadata.name, metadata.uid, metadata.annotations or {})


def _definition(part: _Definition) -> Definition:
    metadata, spec = part.metadata, part.spec or _Spec()
    return Definition(metadata.namespace, metadata.name, spec.config or "", metadata.annotations or {})


def _key(part: _Pod | _Definition) -> Key:
    if not part.metadata.name:
        raise ValueError("an object has no name")
    return part.metadata.namespace, part.metadata.name


LIST = msgspec.json.Decoder(_List)
EVENT = msgspec.json.Decoder(_Event)
STATUS = msgspec.json.Decoder(Status)
POD = Form(msgspec.json.Decoder(_Pod), _pod)
DEFINITION = Form(msgspec.json.Decoder(_Definition), _definition)
