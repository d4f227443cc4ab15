"""What is run for each NIC of a pod: a chain of plugins, and all that they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from underlay.networks.conflist import Conflist
from underlay.objects import IP
from underlay.values import dataclass

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delegate:
    """One NIC: the chain that makes it, exactly as it is run, and what it has answered.

    `network` is how a person knows the network. `capabilities` is what a runtime would give to plugins
    that declare them, `args` are those of CNI_ARGS. `default_route` are the gateways by which this NIC
    shall have the pod's default route, () for that of its own network, None: it is not asked for.
    `result` is {} until ADD has succeeded. `notes` go to the log.
    """

    ifname: str
    network: str
    conflist: Conflist
    capabilities: Json = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    default_route: tuple[IP, ...] | None = None
    result: Json = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def place(self) -> str:
        """How messages name it."""
        return f"{self.ifname} ({self.network})"

    def is_same_as(self, other: Delegate) -> bool:
        """Whether the same is run for both, whatever was answered."""
        return replace(self, result={}) == replace(other, result={})


def with_cni_args(conflist: Conflist, cni_args: Mapping[str, Any]) -> Conflist:
    """The chain with `args.cni` for each plugin, beside what it has there already (CONVENTIONS.md)."""
    if not cni_args:
        return conflist
    return replace(conflist, plugins=tuple(_with_cni_args(each, cni_args) for each in conflist.plugins))


def _with_cni_args(plugin: Json, cni_args: Mapping[str, Any]) -> Json:
    args = plugin.get("args")
    args = args if isinstance(args, dict) else {}
    own = args.get("cni")
    return {**plugin, "args": {**args, "cni": {**(own if isinstance(own, dict) else {}), **cni_args}}}
