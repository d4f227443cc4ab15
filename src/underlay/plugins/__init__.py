"""The plugins by the name of their executable. One file each, pure: a new one is a file and a name here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from underlay.cni.plugin import MetaPlugin, Plugin


class Plugins(Mapping[str, Plugin[Any]]):
    """Each is loaded when it is asked for: who executes one of them need not wait for the others."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self._loaded: dict[str, Plugin[Any]] = {}

    def __getitem__(self, name: str) -> Plugin[Any]:
        if name not in self._loaded:
            if name not in self.names:
                raise KeyError(name)
            plugin: Plugin[Any] = import_module(f"underlay.plugins.{name}").PLUGIN
            self._loaded[name] = replace(plugin, own=OWN) if isinstance(plugin, MetaPlugin) else plugin
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


OWN = Plugins("veth", "router", "vxlan", "routetable")  # that a meta plugin calls in its own process
PLUGINS = Plugins(*OWN, "underlay")
