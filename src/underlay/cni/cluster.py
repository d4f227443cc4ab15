"""What a Kubernetes API knows of pods and of the networks that they may ask for. Nothing here asks it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Protocol

from underlay.values import dataclass

NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")  # RFC 1123, as the API checks names
NAME_RULE = 'lower case letters, digits, "-" and ".", with a letter or a digit at both ends'


@dataclass(frozen=True, slots=True)
class PodObject:
    """A pod as the API has it: metadata alone."""

    namespace: str
    name: str
    uid: str
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Definition:
    """A NetworkAttachmentDefinition (k8s.cni.cncf.io/v1).

    `config` is its spec.config, a plugin or a list of plugins as JSON; "" where it has none: then the
    file of confDir is meant whose network has that name.
    """

    namespace: str
    name: str
    config: str
    annotations: Mapping[str, str] = field(default_factory=dict)


class Cluster(Protocol):
    """One API. Whatever it can't answer is TryAgainLater or InvalidConfig, which say why."""

    def pod(self, namespace: str, name: str, uid: str = "") -> PodObject:
        """The pod; with a `uid`, that one and no other of its name."""

    def definition(self, namespace: str, name: str) -> Definition | None:
        """The definition, None where the API says that there is none."""

    def annotate(self, pod: PodObject, key: str, value: str) -> None:
        """Gives the pod an annotation. It never fails; the agent does it some time from now, and a process
        that answers one call takes 2 s at most."""
