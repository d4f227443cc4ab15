"""What is in the image, and that packaging/Dockerfile makes it from the scripts that make it here."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.site import layers
from tests.repo.tree import ROOT, files

DOCKERFILE = (ROOT / "packaging/Dockerfile").read_text(encoding="utf-8")
PACKAGES = "usr/local/lib/python3.11/dist-packages"
MACHINES = {"amd64": 62, "arm64": 183}  # e_machine of an ELF header, elf(5)


@pytest.fixture(params=MACHINES)
def package(request: pytest.FixtureRequest) -> Iterator[tarfile.TarFile]:
    """The layer with all that is not Debian's, for each machine that there is an image for."""
    _, layer = layers(request.param)
    if not layer.exists():
        pytest.skip(f"the image: it is not built for {request.param} (scripts/image)")
    with tarfile.open(layer) as opened:
        yield opened


def read(package: tarfile.TarFile, name: str) -> bytes:
    member = package.extractfile(f"./{name}")
    assert member
    return member.read()


def programs(package: tarfile.TarFile) -> dict[str, int]:
    """The machine of each ELF file."""
    found = {}
    for member in package:
        if member.isfile() and (content := read(package, member.name[2:])).startswith(b"\x7fELF"):
            found[Path(member.name).name] = int.from_bytes(content[18:20], "little")
    return found


def test_every_program_is_for_the_machine(package: tarfile.TarFile) -> None:
    found = programs(package)

    wanted = MACHINES["arm64" if "arm64" in str(package.name) else "amd64"]
    assert "underlay-shim" in found
    assert set(found.values()) == {wanted}


def test_the_package_is_that_of_the_tree(package: tarfile.TarFile) -> None:
    modules = [
        path for path in files() if path.suffix == ".py" and path.is_relative_to(ROOT / "src/underlay")
    ]

    for path in modules:
        assert read(package, f"{PACKAGES}/{path.relative_to(ROOT / 'src')}") == path.read_bytes()


def test_modules_are_compiled_for_a_root_that_nobody_can_write(package: tarfile.TarFile) -> None:
    names = set(package.getnames())

    sources = [name for name in names if name.endswith(".py") and "/underlay/" in name]
    compiled = {re.sub(r"/__pycache__/(\w+)\.cpython-311\.pyc$", r"/\1.py", name) for name in names}
    assert sources
    assert [name for name in sources if name not in compiled] == []


def test_all_belongs_to_root_and_nobody_else_may_write(package: tarfile.TarFile) -> None:
    strange = [each.name for each in package if (each.uid, each.gid) != (0, 0) or each.mode & 0o022]

    assert [name for name in strange if name != "."] == []


def test_each_step_of_the_dockerfile_is_a_script_or_pip() -> None:
    steps = re.findall(r"(?m)^RUN (.*)$", DOCKERFILE)

    assert [re.sub(r"^\w+=\S+ ", "", step).split()[0] for step in steps] == [
        "packaging/image/install-tools",
        "python3",
        "/tools/bin/pip",
        "packaging/image/collect",
        "install-packages",
    ]


def test_what_the_dockerfile_copies_is_there_and_let_into_the_build() -> None:
    let_in = re.findall(r"(?m)^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"))
    copied = re.findall(r"(?m)^COPY (?!--from)(\S+) ", DOCKERFILE)

    assert [name for name in (*let_in, *copied) if not (ROOT / name).exists()] == []
    assert [name for name in copied if name != "." and not name.startswith(tuple(let_in))] == []


def test_both_stages_begin_with_debian_and_no_registry_is_named() -> None:
    assert re.findall(r"(?m)^FROM (?:--platform=\S+ )?(\S+)", DOCKERFILE) == ["debian:12-slim"] * 2
