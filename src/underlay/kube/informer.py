"""A cluster of which a copy is kept: all NetworkAttachmentDefinitions, and the pods of this node.

So a call finds what it needs without a request, and goes on finding it when the API is gone. What the copy
can't answer is asked for once, as a process without a copy would: a pod that the scheduler has just
put here may be known to the kubelet sooner than to us, and a definition may be as young.
"""

from __future__ import annotations

from underlay.cni.cluster import Definition, PodObject
from underlay.cni.errors import InvalidConfig, TryAgainLater
from underlay.kube import queries
from underlay.kube.annotator import Annotator
from underlay.kube.answers import DEFINITION, POD, is_pod
from underlay.kube.connection import Connection
from underlay.kube.direct import Direct
from underlay.kube.errors import Absent
from underlay.kube.reflector import Reflector
from underlay.log import Log


class Informer:
    """A Cluster that watches what it is asked for. InvalidConfig where the kubeconfig can't be used now."""

    def __init__(self, kubeconfig: str, node: str, log: Log) -> None:
        Connection(kubeconfig).close()  # a mistake in a path must not leave threads that try for ever
        self._direct = Direct(kubeconfig, log)
        self._pods = Reflector(kubeconfig, queries.pods_of(node), POD, log)
        self._definitions = Reflector(kubeconfig, queries.definitions(), DEFINITION, log)
        self._annotator = Annotator(kubeconfig, log)

    def close(self) -> None:
        for each in (self._pods, self._definitions, self._annotator):
            each.close()

    def pod(self, namespace: str, name: str, uid: str = "") -> PodObject:
        queries.pod(namespace, name)  # refuses what is no name
        known = self._pods.get((namespace, name))
        if known and uid and is_pod(known, uid):
            return known
        try:
            return self._direct.pod(namespace, name, uid)
        except Absent:
            raise
        except (InvalidConfig, TryAgainLater) as error:
            if known and not uid:  # perhaps the one before of that name, so that the API was asked first
                return known
            raise _with(error, self._pods.trouble) from None

    def definition(self, namespace: str, name: str) -> Definition | None:
        queries.definition(namespace, name)
        if known := self._definitions.get((namespace, name)):
            return known
        try:
            return self._direct.definition(namespace, name)
        except (InvalidConfig, TryAgainLater) as error:
            raise _with(error, self._definitions.trouble) from None

    def annotate(self, pod: PodObject, key: str, value: str) -> None:
        self._annotator.annotate(pod, key, value)


def _with(error: InvalidConfig | TryAgainLater, trouble: str) -> InvalidConfig | TryAgainLater:
    """The error, and since when the copy has been what it is."""
    if not trouble:
        return error
    kind = InvalidConfig if isinstance(error, InvalidConfig) else TryAgainLater
    return kind(f"{error.msg}; {trouble}", error.details)
