"""A network configuration: the chain of plugins that is run for a NIC (CNI SPEC 1.1.0, section 1).

Read from a conflist, or from the configuration of one plugin, which is a chain of one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from underlay.cni.call import EVERY_VERSION, IDENTIFIER, IDENTIFIER_RULE, SUPPORTED
from underlay.cni.document import get, shown
from underlay.cni.errors import IncompatibleVersion, InvalidConfig
from underlay.cni.keys import Keys
from underlay.cni.value import Value
from underlay.values import dataclass

Json = dict[str, Any]
REMEMBERED = 256  # configurations that a process that stays need not read again


@dataclass(frozen=True, slots=True)
class Conflist:
    """A chain: its network's name, the version that its plugins are spoken to in, and one configuration
    for each. They are shared by all who have read the same text, and never changed."""

    name: str
    cni_version: str
    plugins: tuple[Json, ...]
    disable_check: bool = False
    disable_gc: bool = False

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(plugin["type"] for plugin in self.plugins)

    def speaks(self, version: str) -> bool:
        """Whether its version is that or a newer one."""
        return SUPPORTED.index(self.cni_version) >= SUPPORTED.index(version)


def ipam_type(plugin: Json) -> str:
    """The IPAM plugin that a plugin of a chain will call, "" for none."""
    ipam = plugin.get("ipam")
    kind = ipam.get("type") if isinstance(ipam, dict) else None
    return kind if isinstance(kind, str) else ""


@lru_cache(REMEMBERED)
def read_conflist(text: str, where: str, name: str, version: str) -> Conflist:
    """A configuration as text; InvalidConfig or IncompatibleVersion, with `where` it stands.

    One without a name of its own has `name`, one without a version `version`.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidConfig(f"{where} is not valid JSON", str(error)) from error
    if not isinstance(document, dict):
        raise InvalidConfig(f"{where}: {shown(document)} is not a network configuration: write {{ … }}")
    return conflist_of(document, where, name, version)


def conflist_of(document: Mapping[str, Any], where: str, name: str = "", version: str = "") -> Conflist:
    """The same of decoded JSON."""
    keys = Keys(document, where=where)
    listed = keys.value("plugins")
    plugins = [listed_plugin(item) for item in listed.items()] if listed else [dict(document)]
    if not plugins:
        raise InvalidConfig(f"{where}.plugins: [] is no chain: a NIC needs a plugin that makes it")
    for index, plugin in enumerate(plugins):
        kind = get(plugin, "type")
        if not isinstance(kind, str) or not kind or "/" in kind:
            at = f"{where}.plugins[{index}]" if listed else where
            raise InvalidConfig(f"{at}.type: {shown(kind)} is not the name of a plugin's executable")
        plugin["type"] = kind
    return Conflist(
        name=_name(keys, name),
        cni_version=_version(keys, version),
        plugins=tuple(plugins),
        disable_check=_flag(keys, "disableCheck"),
        disable_gc=_flag(keys, "disableGC"),
    )


def listed_plugin(item: Value) -> Json:
    return dict(item.object())


def _name(keys: Keys, otherwise: str) -> str:
    value = keys.value("name")
    name = value.text() if value else otherwise
    if not name:
        raise keys.missing("name", "the network configuration must name its network")
    if not IDENTIFIER.fullmatch(name):
        raise Value(value.name if value else "name", name).wrong(f"is not a network name: {IDENTIFIER_RULE}")
    return name


def _version(keys: Keys, otherwise: str) -> str:
    """The newest of `cniVersions` that we speak, else `cniVersion`."""
    several = keys.value("cniVersions")
    offered = [item.text() for item in several.items()] if several else []
    value = keys.value("cniVersion")
    stated = value.text() if value and value.raw else ""
    known = [version for version in (*offered, stated) if version in SUPPORTED]
    if known:
        return max(known, key=SUPPORTED.index)
    if not offered and not stated:
        return otherwise or SUPPORTED[-1]
    older = " (0.3.0 and newer say which interface has which address)" if stated in EVERY_VERSION else ""
    raise IncompatibleVersion(
        f"{value.name if value else 'cniVersions'}: {shown(stated or offered)} is not a version that"
        f" underlay speaks{older}",
        f"it speaks {', '.join(SUPPORTED)}",
    )


def _flag(keys: Keys, key: str) -> bool:
    """As libcni reads it: true and false, and the strings "true" and "false"."""
    value = keys.value(key)
    if value and isinstance(value.raw, str):
        return value.raw.lower() == "true"
    return value.flag() if value else False
