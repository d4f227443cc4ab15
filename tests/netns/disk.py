"""A disk of its own, which has as much room as a test wants."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def disk(mountpoint: Path, size: str) -> Iterator[Path]:
    """A new one with so many bytes (tmpfs(5): `4k`), gone afterwards."""
    mountpoint.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mountpoint], check=True)
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", mountpoint], check=True)


def resize(mountpoint: Path, option: str) -> None:
    """From now on it has `size=…` bytes, or `nr_inodes=…` files and directories."""
    subprocess.run(["mount", "-o", f"remount,{option}", mountpoint], check=True)
