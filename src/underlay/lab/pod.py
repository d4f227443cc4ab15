"""Pods as a container runtime knows them, and what it remembers of their attachments."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from underlay.lab.namespace import Netns

Json = dict[str, Any]  # decoded JSON, the one thing in the lab that has no narrower type


@dataclass(frozen=True)
class Pod:
    """A sandbox: a namespace, and the id by which the runtime knows it."""

    netns: Netns
    name: str

    @property
    def container_id(self) -> str:
        """64 hexadecimal digits like a real one, the same in every run."""
        return sha256(self.name.encode()).hexdigest()

    @property
    def cni_args(self) -> str:
        """What a kubelet's runtime says about the pod in CNI_ARGS."""
        return (
            f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={self.name};"
            f"K8S_POD_INFRA_CONTAINER_ID={self.container_id}"
        )

    def up(self) -> None:
        """A pod is no more than its namespace until plugins are called for it."""

    def down(self) -> None:
        """What they made elsewhere their DEL has removed."""


@dataclass(frozen=True)
class Attachment:
    """What the runtime keeps of one ADD, as libcni's cache does."""

    network: str
    container_id: str
    ifname: str
    netns: str
    result: Json
    capabilities: Json = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.network}-{self.container_id}-{self.ifname}"


@dataclass(frozen=True)
class Cache:
    """The attachments of one node, a file each, so that another process can end what this one began."""

    directory: str

    def keep(self, attachment: Attachment) -> None:
        os.makedirs(self.directory, exist_ok=True)
        path = self._path(attachment.key)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(vars(attachment), file)
        os.replace(f"{path}.new", path)  # another thread may list the directory meanwhile

    def find(self, key: str) -> Attachment | None:
        try:
            with open(self._path(key), encoding="utf-8") as file:
                return Attachment(**json.load(file))
        except FileNotFoundError:
            return None

    def all(self) -> list[Attachment]:
        if not os.path.isdir(self.directory):
            return []
        keys = sorted(name for name in os.listdir(self.directory) if not name.endswith(".new"))
        return [attachment for key in keys if (attachment := self.find(key))]

    def forget(self, key: str) -> None:
        if os.path.exists(path := self._path(key)):
            os.unlink(path)

    def _path(self, key: str) -> str:
        return os.path.join(self.directory, key)
