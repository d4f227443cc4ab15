"""Where a call acts: the host namespace that its descriptor says, and the pod's. Never the agent's own.

Other namespaces, those that records name, are opened by their path: the agent has to see the node's
/proc and /run/netns as the runtime does.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import cached_property

from underlay.agent.clusters import Clusters
from underlay.agent.wire import OTHER_PROGRAM, Asked, has_gone
from underlay.cni.cluster import Cluster
from underlay.cni.errors import IoFailure, TryAgainLater
from underlay.netns import is_netns
from underlay.oneshot import HostNode, Opened, may_be_pod

OWN = ("/proc/self/ns/net", "/proc/thread-self/ns/net")
OF_A_PROCESS = ("/proc/self/", "/proc/thread-self/")


class CallNode(HostNode):
    """The node of one call: `descriptors` came with it, and stay open while this is used; `client` waits
    for its answer. IoFailure where the first descriptor is no network namespace."""

    def __init__(
        self,
        asked: Asked,
        descriptors: Sequence[int],
        client: socket.socket,
        state: str,
        clusters: Clusters,
    ) -> None:
        host, *pod = descriptors
        if not is_netns(host):
            raise IoFailure("the first descriptor of the request is no network namespace", OTHER_PROGRAM)
        super().__init__(host, state, may_be_pod=may_be_pod(asked.env))
        self._path = asked.env.get("CNI_NETNS", "")
        self._came_with = pod
        self._client = client
        self._clusters = clusters

    def cluster(self, kubeconfig: str) -> Cluster:
        return self._clusters.of(kubeconfig and self.root + kubeconfig)

    def refuse_abandoned(self) -> None:
        if has_gone(self._client):
            raise TryAgainLater("who made this call has closed the connection; nothing is left of it")

    def opened(self, path: str) -> Opened:
        if path in OWN:  # of who called, and of the node that a record is about: in both cases the host's
            return Opened(self._host, is_lent=True)
        if path == self._path and self._came_with:
            return Opened(self._pod, is_lent=True)
        if path.startswith("/") and not path.startswith(OF_A_PROCESS):
            return super().opened(path)
        if path in ("", self._path):  # which the client could not open either
            return Opened(None)
        raise IoFailure(
            f"the network namespace {path} is not known by a path that means the same to the agent"
        )

    @cached_property
    def _pod(self) -> int | None:
        """The second descriptor, if that is of a network namespace."""
        (pod,) = self._came_with
        return pod if is_netns(pod) else None
