"""A container image with busybox, made without a registry: what every pod of the lab runs.

Its entry point sleeps, so the same image is that of the sandbox itself ("pause") and of containers.
https://github.com/opencontainers/image-spec
"""

from __future__ import annotations

import io
import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from underlay.lab.errors import LabError

NAME = "localhost/underlay-lab:busybox"
SLEEP = ["/bin/sleep", "2147483647"]
DIRECTORIES = ("bin", "dev", "etc", "lib", "lib64", "proc", "root", "sys", "tmp", "usr")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # as Go names them
TYPE = "application/vnd.oci.image"

Json = dict[str, Any]


def write_image(path: str) -> None:
    """Writes an archive that `ctr images import` takes."""
    layer = _layer(_busybox())
    blobs: dict[str, bytes] = {}
    layer_is = _blob(blobs, f"{TYPE}.layer.v1.tar", layer)
    about = {"architecture": ARCHITECTURES.get(platform.machine(), platform.machine()), "os": "linux"}
    config = about | {
        "config": {"Entrypoint": SLEEP, "Env": ["PATH=/bin"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [layer_is["digest"]]},
    }
    config_is = _blob(blobs, f"{TYPE}.config.v1+json", _text(config))
    manifest = {"schemaVersion": 2, "config": config_is, "layers": [layer_is]}
    manifest_is = _blob(blobs, f"{TYPE}.manifest.v1+json", _text(manifest))
    names = {"io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": NAME}
    index = {"schemaVersion": 2, "manifests": [manifest_is | {"annotations": names, "platform": about}]}
    files = {"oci-layout": _text({"imageLayoutVersion": "1.0.0"}), "index.json": _text(index)}
    with tarfile.open(path, "w") as archive:
        for name, content in (files | {f"blobs/sha256/{digest}": blobs[digest] for digest in blobs}).items():
            _add(archive, name, content, 0o644)


def _busybox() -> Path:
    found = shutil.which("busybox")
    if not found:
        raise LabError("busybox is not installed: the lab's containers run it (Debian: busybox-static)")
    return Path(found).resolve()


def _layer(busybox: Path) -> bytes:
    """The root of the containers: busybox under each of its names, and what it is linked to."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for directory in DIRECTORIES:
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        _add(archive, "bin/busybox", busybox.read_bytes(), 0o755)
        for library in _libraries(busybox):
            _add(archive, str(library).lstrip("/"), library.read_bytes(), 0o755)
        for name in _said(str(busybox), "--list").split():
            if name != "busybox":
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(entry)
        _add(archive, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
    return stream.getvalue()


def _libraries(program: Path) -> Iterator[Path]:
    """None for a static one, of which `ldd` says so and fails."""
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    for word in linked.split():
        if word.startswith("/"):
            yield Path(word)


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _blob(blobs: dict[str, bytes], media_type: str, content: bytes) -> Json:
    """Keeps the content under its digest; returns its descriptor."""
    digest = sha256(content).hexdigest()
    blobs[digest] = content
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _text(value: Json) -> bytes:
    return json.dumps(value).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
