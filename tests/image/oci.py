"""An archive that `ctr images import` takes, of layers that are tar files, without a registry.

https://github.com/opencontainers/image-spec
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

TYPE = "application/vnd.oci.image"
Json = dict[str, Any]


@dataclass(frozen=True)
class Image:
    """`config` is what a Dockerfile says besides files, in the words of the specification."""

    name: str
    architecture: str
    layers: Sequence[Path]
    config: Json

    def write(self, path: Path) -> None:
        platform = {"architecture": self.architecture, "os": "linux"}
        digests = [_digest(layer) for layer in self.layers]
        rootfs = {"type": "layers", "diff_ids": digests}
        config = json.dumps(platform | {"config": self.config, "rootfs": rootfs}).encode()
        layers = [
            _descriptor("layer.v1.tar", digest, layer.stat().st_size)
            for layer, digest in zip(self.layers, digests, strict=True)
        ]
        config_is = _descriptor("config.v1+json", _of(config), len(config))
        manifest = json.dumps({"schemaVersion": 2, "config": config_is, "layers": layers}).encode()
        names = {"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": self.name}
        manifest_is = _descriptor("manifest.v1+json", _of(manifest), len(manifest))
        index = {
            "schemaVersion": 2,
            "manifests": [manifest_is | {"annotations": names, "platform": platform}],
        }
        with tarfile.open(path, "w") as archive:
            _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            _add(archive, "index.json", json.dumps(index).encode())
            for blob in (config, manifest):
                _add(archive, _place(_of(blob)), blob)
            for layer, digest in zip(self.layers, digests, strict=True):
                archive.add(layer, _place(digest))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{file_digest(file, 'sha256').hexdigest()}"


def _of(blob: bytes) -> str:
    return f"sha256:{sha256(blob).hexdigest()}"


def _descriptor(kind: str, digest: str, size: int) -> Json:
    return {"mediaType": f"{TYPE}.{kind}", "digest": digest, "size": size}


def _place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))
