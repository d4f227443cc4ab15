"""A kubeconfig for plugins that ask the Kubernetes API, from the service account that we run as.

A pod's token is rotated every hour, and whoever has copied it once is "Unauthorized" a day later. So
`watch` writes it anew each time.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping

from underlay.install.errors import InstallError
from underlay.install.files import File

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TEMPLATE = """\
# written by `underlay install` from its service account; the token is a short-lived one
apiVersion: v1
kind: Config
clusters:
- name: cluster
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: underlay
  user:
    token: {token}
contexts:
- name: underlay
  context:
    cluster: cluster
    user: underlay
current-context: underlay
"""


def kubeconfig_file(path: str, env: Mapping[str, str], account: str = SERVICE_ACCOUNT) -> File:
    """The file for the node's `path`; InstallError where we are in no pod of a cluster."""
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise InstallError(
            "--kubeconfig is written from a pod's service account, and KUBERNETES_SERVICE_HOST is not set:"
            " outside of a pod give plugins a kubeconfig of your own"
        )
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    text = TEMPLATE.format(
        server=json.dumps(server),
        authority=base64.b64encode(_read(account, "ca.crt")).decode(),
        token=json.dumps(_read(account, "token").decode().strip()),
    )
    return File(path, text.encode(), 0o600)


def _read(account: str, name: str) -> bytes:
    path = os.path.join(account, name)
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InstallError(
            f"{path}: {error.strerror}: the pod needs its service account's token mounted"
            " (automountServiceAccountToken)"
        ) from error
