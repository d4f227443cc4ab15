"""The Kubernetes API, for configurations that ask for it: pods, NetworkAttachmentDefinitions, annotations.

    kubeconfig ─────────────────────┐            ┌── asked: a question, a request
    ""  ──► the service account's  ─┴─► Cluster ─┤
            files, in a pod only                 └── informed: a copy that a watch keeps true, in the agent

The client library takes longer to import than all the rest of an ADD, and more memory than an agent has
without it. So this package imports it when the API is asked, and not before: who asks nothing pays nothing.

Of a kubeconfig the current context is taken. Supported: `token`; `tokenFile` (an absolute path) and the
service account's token, read anew for each connection, so that rotated ones are no problem; client
certificates; user name and password; `insecure-skip-tls-verify`; `exec` plugins that answer with a
token, of client.authentication.k8s.io/v1beta1 and v1alpha1. Not supported: `exec` of v1,
`auth-provider`, `proxy-url`, `tls-server-name`, impersonation (`as`). Proxies are those of the
environment: HTTPS_PROXY and NO_PROXY.

Errors: TryAgainLater where the API does not answer, does not let us, does not have the pod, or answers
with something else; InvalidConfig where the kubeconfig cannot be used, or there is none and this is no
pod; InvalidEnvironment for what is not the name of a namespace or a pod; UnsupportedField where the
library is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from underlay.cni.cluster import Cluster
from underlay.cni.errors import UnsupportedField
from underlay.log import Log
from underlay.site_packages import open_site_packages

if TYPE_CHECKING:
    from underlay.kube.informer import Informer

__all__ = ["asked", "informed"]


def asked(
    kubeconfig: str, log: Log
) -> Cluster:  # not `direct`: the module of that name would take its place
    """The cluster of a kubeconfig ("": the one that we run in), for a process that answers one call."""
    with _library():
        from underlay.kube.direct import Direct
    return Direct(kubeconfig, log)


def informed(kubeconfig: str, node: str, log: Log) -> Informer:
    """The same for a process that stays: what is on that node is known before anybody asks. To be closed."""
    with _library():
        from underlay.kube.informer import Informer
    return Informer(kubeconfig, node, log)


@contextmanager
def _library() -> Iterator[None]:
    open_site_packages("lightkube")
    try:
        yield
    except ImportError as error:
        raise UnsupportedField(
            f"the Kubernetes API is asked with Python packages that {sys.executable} does not have: {error}",
            "install underlay with what it depends on, or let the runtime give the pods' annotations and do"
            " without the API (k8sReadAnnotations, kubeconfig)",
        ) from error
