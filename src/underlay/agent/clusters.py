"""The Kubernetes APIs that calls have asked for, one for each kubeconfig: a node has one, as a rule.

They stay: what is known of the cluster is worth most when nothing has been asked for a while and the API
is gone.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

from underlay.kube import informed
from underlay.log import Log

if TYPE_CHECKING:
    from underlay.kube.informer import Informer


class Clusters:
    """For all threads of the agent. `log` is told what the API does to us."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._known: dict[str, Informer] = {}

    def of(self, kubeconfig: str) -> Informer:
        """That of a kubeconfig, of which a copy is kept from now on; InvalidConfig where it is of no use."""
        with self._lock:
            if kubeconfig not in self._known:
                self._known[kubeconfig] = informed(kubeconfig, node_name(), self._log)
            return self._known[kubeconfig]

    def close(self) -> None:
        """Ends their threads."""
        with self._lock:
            for informer in self._known.values():
                informer.close()


def node_name() -> str:
    """This node's, as the API server knows it: from the environment, else what a kubelet takes by itself."""
    return os.environ.get("NODE_NAME") or socket.gethostname().lower()
