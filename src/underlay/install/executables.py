"""The plugins' executables, as a container runtime looks for them.

Each is the shim, which hands a call to the agent and without one starts Python; where the shim was not
built for this machine, a launcher that starts Python each time.
"""

from __future__ import annotations

import os
import re
import shlex
import sys

import underlay
from underlay.install.errors import InstallError
from underlay.install.files import File, make_directories, put
from underlay.plugins import PLUGINS

SHEBANG_MAX = 255  # bytes of the first line that the kernel reads
PACKAGE = os.path.dirname(underlay.__file__)
SHIM = os.path.join(PACKAGE, "underlay-shim")  # made by `make build` where there is a C compiler
PYTHON_FILE = ".underlay-python"  # beside the executables: what the shim starts where no agent answers
# What no executable of others has in it: the shim of any version, and a launcher.
MARKS = (b".underlay-python\0", b"from underlay.oneshot import main")
FALLBACK = re.compile(rb"/[^\n]+\n/[^\n]+\n")  # the file that leads to Python


def executables(bin_dir: str, shim: str = SHIM) -> tuple[File, ...]:
    """What has to be in `bin_dir` where this very interpreter and package are there too."""
    package_dir = os.path.dirname(PACKAGE)
    if not is_built(shim):
        texts = {name: launcher(name, sys.executable, package_dir) for name in PLUGINS}
        return tuple(_program(name, text.encode(), bin_dir) for name, text in texts.items())
    fallback = f"{sys.executable}\n{package_dir}\n".encode()
    return (File(os.path.join(bin_dir, PYTHON_FILE), fallback), *shims(bin_dir, shim))


def shims(bin_dir: str, shim: str = SHIM) -> tuple[File, ...]:
    """The same for a node of whose Python nothing is known: an agent has to answer.

    InstallError where there is no shim for this machine.
    """
    try:
        with open(shim, "rb") as file:
            program = file.read()
    except OSError as error:
        raise InstallError(
            f"{shim}: {error.strerror}: there is no shim for this machine, and a node that is installed from"
            " outside gets nothing else: build it (make build)"
        ) from error
    return tuple(_program(name, program, bin_dir) for name in PLUGINS)


def _program(name: str, content: bytes, bin_dir: str) -> File:
    return File(os.path.join(bin_dir, name), content, 0o755)


def is_built(shim: str = SHIM) -> bool:
    """Whether there is a shim for this machine."""
    return os.access(shim, os.X_OK)


def is_ours(content: bytes) -> bool:
    """Whether an executable, or what leads it to Python, is one of ours, of whatever version."""
    return any(mark in content for mark in MARKS) or bool(FALLBACK.fullmatch(content))


def install(bin_dir: str, shim: str = SHIM) -> list[str]:
    """Puts the executables alone into a directory, whatever is there; returns their paths.

    OSError where the directory can't be written.
    """
    bin_dir = os.path.abspath(bin_dir)
    make_directories(bin_dir)
    files = executables(bin_dir, shim)
    for file in files:
        put(file, file.path)
    return [file.path for file in files if file.mode & 0o111]


def launcher(name: str, python: str, package_dir: str) -> str:
    """The text of an executable: this interpreter, this package, whatever the directory and the PATH.

    -I -S leaves out the user's and the site's settings, which are none of a plugin's business.
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
