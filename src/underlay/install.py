"""Puts the plugins' executables into a directory, as a container runtime looks for them.

Each is the shim, which hands a call to the agent and without one starts Python; where the shim was not
built for this machine, a launcher that starts Python each time.
"""

from __future__ import annotations

import os
import shlex
import sys

import underlay
from underlay.plugins import PLUGINS

SHEBANG_MAX = 255  # bytes of the first line that the kernel reads
PACKAGE = os.path.dirname(underlay.__file__)
SHIM = os.path.join(PACKAGE, "underlay-shim")  # made by `make build` where there is a C compiler
PYTHON_FILE = ".underlay-python"  # beside the executables: what the shim starts where no agent answers


def install(bin_dir: str, shim: str = SHIM) -> list[str]:
    """Writes an executable for each plugin into `bin_dir`; returns their paths.

    Each is written beside its place and renamed, so that a runtime never finds half a file and a
    plugin that is running is never in the way. OSError where the directory can't be written.
    """
    os.makedirs(bin_dir, exist_ok=True)
    package_dir = os.path.dirname(PACKAGE)
    if not is_built(shim):
        texts = {name: launcher(name, sys.executable, package_dir) for name in PLUGINS}
        return [_write(name, text.encode(), bin_dir) for name, text in texts.items()]
    with open(shim, "rb") as file:
        program = file.read()
    _write(PYTHON_FILE, f"{sys.executable}\n{package_dir}\n".encode(), bin_dir, mode=0o644)
    return [_write(name, program, bin_dir) for name in PLUGINS]


def is_built(shim: str = SHIM) -> bool:
    """Whether there is a shim for this machine."""
    return os.access(shim, os.X_OK)


def _write(name: str, content: bytes, bin_dir: str, mode: int = 0o755) -> str:
    path = os.path.join(os.path.abspath(bin_dir), name)
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        os.rename(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
    return path


def launcher(name: str, python: str, package_dir: str) -> str:
    """The text of an executable: this interpreter, this package, whatever the directory and the PATH.

    -I -S leaves out the user's and the site's settings, which are none of a plugin's business. One call is
    over before a garbage collection would pay.
    """
    program = f"""
import gc, sys
gc.disable()
sys.path.insert(0, {package_dir!r})
from underlay.oneshot import main
sys.exit(main({name!r}))
"""
    shebang = f"#!{python} -IS"
    if len(shebang.encode()) <= SHEBANG_MAX and " " not in python:
        return shebang + program
    return f"#!/bin/sh\nexec {shlex.quote(python)} -IS -c {shlex.quote(program)}\n"
