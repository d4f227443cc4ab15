"""The Kubernetes API, for a plugin whose configuration asks for it (`k8sReadAnnotations`): one GET.

    k8sConfigPath ──► kubeconfig ────┐
    ""  ──► the service account's  ──┴──► GET /api/v1/namespaces/NAMESPACE/pods/NAME ──► metadata.annotations
            files, in a pod only

The client library takes longer to import than all the rest of an ADD, so this package imports it when
the API is asked, and not before: who reads no annotations pays nothing.
"""

from __future__ import annotations

import re
import sys

from underlay.cni.document import shown
from underlay.cni.errors import InvalidEnvironment, UnsupportedField
from underlay.site_packages import open_site_packages

__all__ = ["pod_annotations"]

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")  # RFC 1123, as Kubernetes checks the names of pods
NAME_RULE = 'lower case letters, digits, "-" and ".", with a letter or a digit at both ends'


def pod_annotations(namespace: str, name: str, kubeconfig: str) -> dict[str, str]:
    """The annotations of a pod as the API has them now; {} is a pod that has none, and never a failure.

    `kubeconfig` is the value of `k8sConfigPath`, a path on the node; "" is the configuration that
    Kubernetes mounts into a pod (service account, KUBERNETES_SERVICE_HOST and _PORT). Takes 5 s at most,
    with one more attempt where the connection breaks or the server fails (5xx).

    Of a kubeconfig the current context is taken. Supported: `token`; `tokenFile` (an absolute path) and
    the service account's token, read anew at each call, so that rotated ones are no problem; client
    certificates; user name and password; `insecure-skip-tls-verify`; `exec` plugins that answer with a
    token, of client.authentication.k8s.io/v1beta1 and v1alpha1. Not supported: `exec` of v1,
    `auth-provider`, `proxy-url`, `tls-server-name`, impersonation (`as`). Proxies are those of the
    environment: HTTPS_PROXY and NO_PROXY.

    TryAgainLater: the API does not answer, does not let us, does not have the pod, or answers with
    something else. InvalidConfig: the kubeconfig cannot be used, or there is none and this is no pod.
    InvalidEnvironment: not the name of a namespace or a pod. UnsupportedField: the library is missing.
    """
    _check("K8S_POD_NAMESPACE", namespace)
    _check("K8S_POD_NAME", name)
    open_site_packages("lightkube")
    try:
        from underlay.kube import pods
    except ImportError as error:
        raise UnsupportedField(
            f"k8sReadAnnotations needs Python packages that {sys.executable} does not have: {error}",
            "install underlay with what it depends on, or switch the key off and let the runtime give the"
            " annotations",
        ) from error
    return pods.read_annotations(namespace, name, kubeconfig)


def _check(variable: str, value: str) -> None:
    """The name becomes part of the request's path, where `../` would lead to another object."""
    if not NAME.fullmatch(value):
        raise InvalidEnvironment(
            f"CNI_ARGS: {variable}: {shown(value)} is not a name, and k8sReadAnnotations needs one",
            f"a name is {NAME_RULE}",
        )
