"""A wheel holds the shim where it has been built, and is for any machine where it has not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.repo.tree import ROOT

SHIM = "src/underlay/underlay-shim"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a wheel is made from, with nothing that has been built."""
    for name in (".gitignore", "LICENSE", "pyproject.toml", "shim/wheel.py", "src/underlay/__init__.py"):
        target = tmp_path / "clone" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return tmp_path / "clone"


def wheel(clone: Path) -> Path:
    argv = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "dist"]
    subprocess.run(argv, cwd=clone, check=True, capture_output=True)
    (built,) = (clone / "dist").iterdir()
    return built


def test_a_wheel_with_the_shim_is_for_this_machine(clone: Path) -> None:
    (clone / SHIM).write_bytes(b"\x7fELF")
    (clone / SHIM).chmod(0o755)

    built = wheel(clone)

    machine = sysconfig.get_platform().replace("-", "_")
    assert built.name.endswith(f"-py3-none-{machine}.whl")
    with ZipFile(built) as archive:
        shim = archive.getinfo("underlay/underlay-shim")
        assert archive.read(shim) == b"\x7fELF"
        assert shim.external_attr >> 16 & 0o777 == 0o755
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        assert b"Root-Is-Purelib: false" in archive.read(metadata)


def test_a_wheel_without_it_is_for_any(clone: Path) -> None:
    built = wheel(clone)

    assert built.name.endswith("-py3-none-any.whl")
    with ZipFile(built) as archive:
        assert "underlay/__init__.py" in archive.namelist()
