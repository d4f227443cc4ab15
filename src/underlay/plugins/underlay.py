"""Meta plugin `underlay`: several NICs for one pod, each in the network that it asks for.

    runtime ─► underlay ─┬─► eth0: the default network's chain      annotations of the pod
                         ├─► net1: macvlan, veth                    + NetworkAttachmentDefinitions
                         └─► lan0: vxlan                            ─► a chain of plugins for each NIC

First in the runtime's configuration directory, it reads the annotations that Multus has made the de-facto
standard, finds the networks that they name, and has the chain of each run: plugins of ours in this
process, others as executables. What is called, and what a call is told, is here and in `underlay_nics.py`;
that it is called, taken back and compared is in `cni/several/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from underlay.cni.call import Call
from underlay.cni.errors import InvalidConfig
from underlay.cni.keys import Aliases, Keys
from underlay.cni.plugin import Attachment, MetaPlugin, Setting
from underlay.cni.value import Value
from underlay.facts import Remains
from underlay.networks.sources import Reference, Sources
from underlay.plan import Plan
from underlay.values import dataclass

if TYPE_CHECKING:  # as in cni/plugin.py
    from underlay.networks.catalogue import Catalogue
    from underlay.networks.delegates import Delegate

CONF_DIR = "/etc/cni/net.d"
NAD_DIR = "/etc/cni/net.d/underlay.d"
ALIASES: Aliases = {  # the words of Multus
    "defaultNetwork": ("clusterNetwork",),
    "networks": ("defaultNetworks",),
    "defaultNamespace": ("multusNamespace",),
}


@dataclass(frozen=True, slots=True)
class Config:
    """`networks` are what every pod gets, the default network first; of these, pods in
    `system_namespaces` get that alone. `default_namespace` is where definitions are that the
    configuration names. With `is_isolated`, pods may ask for definitions of their own namespace and of
    `global_namespaces` only."""

    networks: tuple[Reference, ...]
    system_namespaces: tuple[str, ...]
    default_namespace: str
    is_isolated: bool
    global_namespaces: tuple[str, ...]
    setting: Setting


def parse(keys: Keys) -> Config:
    namespace = keys.text("defaultNamespace", "kube-system")
    kubeconfig = keys.value("kubeconfig")
    return Config(
        networks=_networks(keys, namespace),
        system_namespaces=_names(keys, "systemNamespaces", ("kube-system",)),
        default_namespace=namespace,
        is_isolated=keys.flag("namespaceIsolation", False),
        global_namespaces=_names(keys, "globalNamespaces", ("default",)),
        setting=Setting(
            Sources(
                conf_dir=_path(keys, "confDir", CONF_DIR),
                nad_dir=_path(keys, "nadDir", NAD_DIR),
                kubeconfig=None if kubeconfig is None else kubeconfig.path(),
            ),
            bin_dir=_path(keys, "binDir", ""),
            ready_file=_path(keys, "readinessIndicatorFile", ""),
        ),
    )


def _networks(keys: Keys, namespace: str) -> tuple[Reference, ...]:
    default, inline = keys.value("defaultNetwork"), keys.value("delegates")
    further = _names(keys, "networks", ())
    listed = inline.items() if inline else ()
    if not listed:
        name = default.name if default else "defaultNetwork"
        first = Reference(name, default.text() if default else "", namespace)
        return (first, *_references(keys, further, namespace))
    if default or further:
        raise InvalidConfig(
            "delegates is given beside defaultNetwork or networks",
            "delegates holds whole networks, the default one first; the others name them: keep one way",
        )
    return tuple(Reference(item.name, inline=dict(item.object())) for item in listed)


def _references(keys: Keys, names: tuple[str, ...], namespace: str) -> list[Reference]:
    value = keys.value("networks")
    where = value.name if value else ""
    return [Reference(f"{where}[{index}]", name, namespace) for index, name in enumerate(names)]


def _names(keys: Keys, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """A list of names; or one string with commas between them, as Multus has it."""
    value = keys.value(key)
    if value is None:
        return default
    if isinstance(value.raw, str):
        return tuple(filter(None, (part.strip() for part in value.raw.split(","))))
    return tuple(_name(item) for item in value.items())


def _name(item: Value) -> str:
    if not item.text():
        raise item.wrong("is not a name")
    return item.text()


def _path(keys: Keys, key: str, default: str) -> str:
    path, value = keys.text(key, default), keys.value(key)
    return value.path() if value else path


def _delegates(
    config: Config, call: Call, annotations: Mapping[str, str], catalogue: Catalogue
) -> tuple[Delegate, ...]:
    from underlay.plugins.underlay_nics import delegates_of  # no other plugin needs it

    return delegates_of(config, call, annotations, catalogue)


def traces(_config: Config | None, _pod: Attachment, _remains: Remains) -> Plan:
    """Nothing in the kernel: what there is others have made."""
    return Plan(())


PLUGIN = MetaPlugin(
    name="underlay",
    parse=parse,
    traces=traces,
    needs=Plan(()),
    aliases=ALIASES,
    setting=lambda config: config.setting,
    delegates=_delegates,
    networks=lambda config: config.networks,
)
