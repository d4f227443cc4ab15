"""The plugins by the name of their executable. One file each, pure: a new one is a file and a name here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from underlay.cni.plugin import Plugin
from underlay.plugins import router, routetable, underlay, veth, vxlan

OWN: dict[str, Plugin[Any]] = {
    plugin.name: plugin for plugin in (veth.PLUGIN, router.PLUGIN, vxlan.PLUGIN, routetable.PLUGIN)
}
PLUGINS: dict[str, Plugin[Any]] = {**OWN, underlay.PLUGIN.name: replace(underlay.PLUGIN, own=OWN)}
