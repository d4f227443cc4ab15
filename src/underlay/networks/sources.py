"""What a configuration says of networks: where they are defined, and which of them are meant."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from underlay.values import dataclass

META = "underlay"  # the plugin that calls the others, which none of its networks may call again
# Who reads a pod's annotations: a network of such a plugin would give the pod its NICs twice.
IN_FRONT = frozenset((META, "multus", "multus-shim"))
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sources:
    """Directories on the node; `kubeconfig` None: no API is asked, "": that of the cluster around us."""

    conf_dir: str
    nad_dir: str
    kubeconfig: str | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A network that a configuration names. `name` is that of a definition, `namespace/name` or in
    `namespace`, or of a conflist, or a path; "" is the first of the directory that is not ours. `inline`
    is the network itself. `place` is where it is named, for messages."""

    place: str
    name: str = ""
    namespace: str = ""
    inline: Json = field(default_factory=dict)
