"""The plugins by the name of their executable. One file each, pure: a new one is a file and a name here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from underlay.cni.plugin import Plugin

NAMES = ("veth", "router", "vxlan", "routetable")


class Plugins(Mapping[str, Plugin[Any]]):
    """Each is loaded when it is asked for: who executes one of them need not wait for the others."""

    def __getitem__(self, name: str) -> Plugin[Any]:
        if name not in NAMES:
            raise KeyError(name)
        plugin: Plugin[Any] = import_module(f"underlay.plugins.{name}").PLUGIN
        return plugin

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


PLUGINS = Plugins()
