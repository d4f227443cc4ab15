"""Puts the plugins' executables into a directory, as a container runtime looks for them."""

from __future__ import annotations

import os
import shlex
import sys

import underlay
from underlay.plugins import PLUGINS

SHEBANG_MAX = 255  # bytes of the first line that the kernel reads


def install(bin_dir: str) -> list[str]:
    """Writes an executable for each plugin into `bin_dir`; returns their paths.

    Each is written beside its place and renamed, so that a runtime never finds half a file and a
    plugin that is running is never in the way. OSError where the directory can't be written.
    """
    os.makedirs(bin_dir, exist_ok=True)
    return [_install_one(name, bin_dir) for name in PLUGINS]


def _install_one(name: str, bin_dir: str) -> str:
    path = os.path.join(os.path.abspath(bin_dir), name)
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(launcher(name, sys.executable, os.path.dirname(os.path.dirname(underlay.__file__))))
            os.fchmod(file.fileno(), 0o755)
        os.rename(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
    return path


def launcher(name: str, python: str, package_dir: str) -> str:
    """The text of an executable: this interpreter, this package, whatever the directory and the PATH.

    -I -S leaves out the user's and the site's settings, which are none of a plugin's business.
    """
    program = f"""
import sys
sys.path.insert(0, {package_dir!r})
from underlay.oneshot import main
sys.exit(main({name!r}))
"""
    shebang = f"#!{python} -IS"
    if len(shebang.encode()) <= SHEBANG_MAX and " " not in python:
        return shebang + program
    return f"#!/bin/sh\nexec {shlex.quote(python)} -IS -c {shlex.quote(program)}\n"
