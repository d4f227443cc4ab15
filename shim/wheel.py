"""Puts the shim into a wheel, which then is for the machine that it was built on.

Where the shim has not been built (no C compiler, or `pip install` from a source distribution) the wheel is
the same as ever, for any machine, and `underlay install` writes Python launchers.
"""

from __future__ import annotations

import os
import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIM = "src/underlay/underlay-shim"


class ShimHook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls before it makes a wheel: `tool.hatch.build.targets.wheel.hooks.custom`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the file, and names the machine: static, it runs on any Linux there, under any Python 3."""
        if version != "standard" or not os.path.exists(os.path.join(self.root, SHIM)):
            return
        build_data["artifacts"].append(SHIM)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
