"""A Kubernetes API that keeps whatever it is given: enough for helm to install, upgrade and uninstall.

Every kind that the chart has is served, on a loopback address, without TLS and without a schema. Patches are
merged as RFC 7396 has it, which is what helm sends for the kinds of others, such as our definitions.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.chart.helm import Json

# resource: its kind, and whether it is in a namespace
RESOURCES: dict[str, dict[str, tuple[str, bool]]] = {
    "v1": {
        "configmaps": ("ConfigMap", True),
        "secrets": ("Secret", True),
        "serviceaccounts": ("ServiceAccount", True),
        "services": ("Service", True),
        "namespaces": ("Namespace", False),
    },
    "apps/v1": {"daemonsets": ("DaemonSet", True)},
    "apiextensions.k8s.io/v1": {"customresourcedefinitions": ("CustomResourceDefinition", False)},
    "rbac.authorization.k8s.io/v1": {
        "clusterroles": ("ClusterRole", False),
        "clusterrolebindings": ("ClusterRoleBinding", False),
    },
    "k8s.cni.cncf.io/v1": {"network-attachment-definitions": ("NetworkAttachmentDefinition", True)},
}
OF_CLUSTERS = {
    "networking.k8s.io/v1": {"servicecidrs": ("ServiceCIDR", False)},
    "crd.projectcalico.org/v1": {"ippools": ("IPPool", False)},
}
VERSION = {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}


@dataclass
class Cluster:
    """What is in it: objects by the path that they are at. `kubeconfig` leads there."""

    kubeconfig: Path
    resources: dict[str, dict[str, tuple[str, bool]]] = field(default_factory=lambda: deepcopy(RESOURCES))
    objects: dict[str, Json] = field(default_factory=dict)

    def has(self, version: str, kind: str, spec: Json, name: str = "default") -> None:
        """Another program has made an object of a kind that not every cluster has."""
        self.resources[version] = OF_CLUSTERS[version]
        (resource,) = OF_CLUSTERS[version]
        self.objects[f"/apis/{version}/{resource}/{name}"] = {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }

    def has_configmap(self, name: str, data: dict[str, str]) -> None:
        self.objects[f"/api/v1/namespaces/kube-system/configmaps/{name}"] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "kube-system"},
            "data": data,
        }

    def of(self, resource: str) -> dict[str, Json]:
        """The objects of one resource, by name."""
        found = {path: each for path, each in self.objects.items() if path.split("/")[-2] == resource}
        return {path.rpartition("/")[2]: each for path, each in found.items()}


@contextmanager
def serving(directory: Path) -> Iterator[Cluster]:
    """A cluster without anything in it, until the block ends."""
    cluster = Cluster(directory / "kubeconfig")
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        _write_kubeconfig(cluster.kubeconfig, server.server_address[1])
        yield cluster
        server.shutdown()


def _write_kubeconfig(path: Path, port: int) -> None:
    here = {"cluster": "here", "user": "nobody"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "here", "context": here}],
        "current-context": "here",
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    path.chmod(0o600)


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        found = _discovered(where.path, self.cluster) or self.cluster.objects.get(where.path)
        kind = _kind(where.path, self.cluster)
        if found is None and kind:
            found = self._listed(where.path, kind, parse_qs(where.query).get("labelSelector", [""])[0])
        self._answer(found)

    def do_POST(self) -> None:
        made = self._body()
        path = f"{urlsplit(self.path).path}/{made['metadata']['name']}"
        if path in self.cluster.objects:
            return self._answer(_status("AlreadyExists", 409), 409)
        made["metadata"] |= {
            "uid": path,
            "resourceVersion": "1",
            "creationTimestamp": "2024-01-01T00:00:00Z",
        }
        if made["kind"] == "CustomResourceDefinition":
            made["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        self.cluster.objects[path] = made
        return self._answer(made, 201)

    def do_PUT(self) -> None:
        self.cluster.objects[urlsplit(self.path).path] = made = self._body()
        self._answer(made)

    def do_PATCH(self) -> None:
        path = urlsplit(self.path).path
        self.cluster.objects[path] = merged = _merged(self.cluster.objects[path], self._body())
        self._answer(merged)

    def do_DELETE(self) -> None:
        self._body()
        self._answer(self.cluster.objects.pop(urlsplit(self.path).path, None))

    def _listed(self, path: str, kind: str, selector: str) -> Json:
        wanted = dict(each.split("=") for each in selector.split(",") if "=" in each)
        items = [
            each
            for at, each in self.cluster.objects.items()
            if at.rpartition("/")[0] == path and wanted.items() <= each["metadata"].get("labels", {}).items()
        ]
        version = path.removeprefix("/api/").removeprefix("/apis/")
        version = "/".join(version.split("/")[: 1 if path.startswith("/api/") else 2])
        return {"apiVersion": version, "kind": f"{kind}List", "metadata": {}, "items": items}

    def _body(self) -> Json:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        read: Json = json.loads(text or b"{}")
        return read

    def _answer(self, found: Json | None, code: int = 200) -> None:
        if found is None:
            code, found = 404, _status("NotFound", 404)
        body = json.dumps(found).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """helm's requests are no news."""


def _discovered(path: str, cluster: Cluster) -> Json | None:
    """What a client asks to learn which kinds there are."""
    versions = [version for version in cluster.resources if "/" in version]
    match path:
        case "/version":
            return VERSION
        case "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        case "/apis":
            groups = [_group(version) for version in versions]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case _:
            pass
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version not in cluster.resources:
        return None
    resources = [
        {"name": name, "kind": kind, "namespaced": namespaced, "verbs": ["get", "list", "create", "delete"]}
        for name, (kind, namespaced) in cluster.resources[version].items()
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}


def _group(version: str) -> Json:
    name, _, number = version.partition("/")
    named = {"groupVersion": version, "version": number}
    return {"name": name, "versions": [named], "preferredVersion": named}


def _kind(path: str, cluster: Cluster) -> str:
    """Of which objects it is the list; "" where it is none."""
    resource = path.rpartition("/")[2]
    found = [names[resource][0] for names in cluster.resources.values() if resource in names]
    return found[0] if found else ""


def _status(reason: str, code: int) -> Json:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}


def _merged(old: Json, patch: Json) -> Json:
    """RFC 7396."""
    new = dict(old)
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        elif isinstance(value, dict) and isinstance(new.get(key), dict):
            new[key] = _merged(new[key], value)
        else:
            new[key] = value
    return new
