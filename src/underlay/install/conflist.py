"""The network configuration that makes a runtime call us, before all others in its directory.

Those of others are never touched: a runtime takes the first file by name, and ours comes first. Without
ours, after `uninstall`, it takes again the one that it took before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from underlay.cni.call import IDENTIFIER, IDENTIFIER_RULE
from underlay.install.errors import InstallError
from underlay.install.files import Change, File
from underlay.values import dataclass

FILE = "00-underlay.conflist"
ENDINGS = (".conf", ".conflist", ".json")  # what runtimes read (libcni, ConfFiles)
CILIUM = ".cilium_bak"
DEFAULT = "default"  # the word for the network that `several_nics` gives
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
SETTING = "set cni.exclusive=false in Cilium's Helm values"


@dataclass(frozen=True, slots=True)
class Network:
    """A conflist that was read and looked at; `types` are the executables that it needs."""

    text: str
    types: tuple[str, ...]


def several_nics(kubeconfig: str = "") -> Network:
    """The plugin `underlay`: pods get the network that they have without us, and those that they ask for.

    `kubeconfig` is the node's path of one, for definitions that are kept in the cluster's API.
    """
    capabilities = {ANNOTATIONS: True, "portMappings": True}
    plugin: dict[str, Any] = {"type": "underlay", "capabilities": capabilities}
    if kubeconfig:
        plugin["kubeconfig"] = kubeconfig
    conflist = {"cniVersion": "1.0.0", "name": "underlay", "plugins": [plugin]}
    return Network(json.dumps(conflist, indent=2) + "\n", ("underlay",))


def network_of(text: str, where: str) -> Network:
    """A person's own conflist, as it is; InstallError where a runtime would refuse it."""
    try:
        conflist = json.loads(text)
    except ValueError as error:
        raise InstallError(f"{where}: {error}: a conflist is one JSON object") from error
    plugins = conflist.get("plugins") if isinstance(conflist, dict) else None
    if not isinstance(plugins, list) or not plugins:
        raise InstallError(f'{where}: "plugins" is no list: a conflist has a name, a cniVersion and plugins')
    name = conflist.get("name")
    if not isinstance(name, str) or not IDENTIFIER.fullmatch(name):
        raise InstallError(f"{where}: name: {json.dumps(name)} is no name of a network: {IDENTIFIER_RULE}")
    types = [plugin.get("type") if isinstance(plugin, dict) else None for plugin in plugins]
    for index, type_ in enumerate(types):
        if not isinstance(type_, str) or not type_ or "/" in type_:
            raise InstallError(f"{where}: plugins[{index}].type: {json.dumps(type_)} names no executable")
    return Network(text, tuple(map(str, types)))


def refuse_missing_plugins(network: Network, there: Collection[str], bin_dir: str) -> None:
    """InstallError where a plugin of the network is not in the directory: no pod could start any more."""
    missing = [type_ for type_ in network.types if type_ not in there]
    if missing:
        raise InstallError(
            f"{bin_dir} has no executable {', '.join(missing)}, which the network asks for: the runtime"
            " could start no pod; install that plugin first, then this: nothing was changed"
        )


def types_in(text: str) -> tuple[str, ...]:
    """The plugins that a configuration names, of a chain or of one alone; none where it is none."""
    try:
        conflist = json.loads(text)
        plugins = conflist.get("plugins", [conflist])
        return tuple(plugin["type"] for plugin in plugins if isinstance(plugin.get("type"), str))
    except (ValueError, AttributeError, TypeError):
        return ()


def conflist_file(network: Network, conf_dir: str) -> File:
    # A configuration may hold secrets of plugins; runtimes run as root.
    return File(os.path.join(conf_dir, FILE), network.text.encode(), 0o600)


def rivals(names: Iterable[str], conf_dir: str) -> Iterator[Change]:
    """What in the runtime's directory keeps ours from being the one that is taken."""
    for name in sorted(names):
        path = os.path.join(conf_dir, name)
        if name.endswith(CILIUM):
            yield Change("renamed by Cilium", path, f"it takes all configurations for its own: {SETTING}")
        elif name < FILE and name.endswith(ENDINGS):
            yield Change(
                "comes before ours", path, "the runtime takes the first by name: rename it, or remove it"
            )
