"""A Kubernetes API server as far as one pod's GET goes: TLS, users, RBAC, and answers in its wire format.

The documents have the shape and the words of a kube-apiserver's; what a test may change is who may ask,
which pods there are, and how the next answers go wrong.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

POD = re.compile(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)")
REASONS = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound"}
DAY = "1"

OPENSSL_CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
subjectAltName = IP:127.0.0.1, IP:::1
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Certificates:
    """A certificate authority, a server that it vouches for, and the user `admin`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "openssl.cnf").write_text(OPENSSL_CONFIG)
        self._make("ca", "kubernetes")
        for name, subject in (("server", "kube-apiserver"), ("client", "admin")):
            self._make(name, subject, "-CA", str(self["ca.crt"]), "-CAkey", str(self["ca.key"]))

    def __getitem__(self, name: str) -> Path:
        """`ca`, `server` or `client`, with `.crt` or `.key`."""
        return self._directory / name

    def data(self, name: str) -> str:
        """The same as a kubeconfig holds it inside."""
        return base64.b64encode(self[name].read_bytes()).decode()

    def _make(self, name: str, subject: str, *signer: str) -> None:
        key, certificate = str(self[f"{name}.key"]), str(self[f"{name}.crt"])
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-config", str(self["openssl.cnf"]), "-keyout", key, "-out", certificate]
        shape = ["-subj", f"/CN={subject}", "-extensions", name, "-days", DAY]
        subprocess.run(
            ["openssl", "req", "-x509", *curve, *files, *shape, *signer], check=True, capture_output=True
        )


Fault = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class KubeApi:
    """What the server knows and what it saw. `port` and `server` (a URL) are where it listens."""

    certificates: Certificates
    pods: dict[tuple[str, str], dict[str, str] | None] = field(default_factory=dict)  # to their annotations
    users: dict[str, str] = field(default_factory=lambda: {"t0ken": "system:serviceaccount:cni:node"})
    forbidden: set[str] = field(default_factory=set)  # users
    faults: list[Fault] = field(default_factory=list)  # of the next answers, one each
    seen: list[tuple[str, str]] = field(default_factory=list)  # user and path of each request
    closing: threading.Event = field(default_factory=threading.Event)
    server: str = ""
    port: int = 0

    def kubeconfig(self, path: Path, user: Any = None, **cluster: Any) -> str:
        """Write a kubeconfig for this server (JSON is YAML); returns its path."""
        trust = {} if "insecure-skip-tls-verify" in cluster else self.trust()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "node",
            "contexts": [{"name": "node", "context": {"cluster": "lab", "user": "cni"}}],
            "clusters": [{"name": "lab", "cluster": {"server": self.server, **trust, **cluster}}],
            "users": [{"name": "cni", "user": {"token": "t0ken"} if user is None else user}],
        }
        path.write_text(json.dumps(document, indent=2))
        return str(path)

    def trust(self) -> dict[str, str]:
        return {"certificate-authority-data": self.certificates.data("ca.crt")}

    def answer(self, path: str, user: str) -> tuple[int, dict[str, Any]]:
        self.seen.append((user, path))
        found = POD.fullmatch(path)
        if not user:
            return status(401, "Unauthorized")
        if found is None:
            return status(404, "the server could not find the requested resource")
        namespace, name = found.groups()
        if user in self.forbidden:
            who = f'User "{user}" cannot get resource "pods" in API group "" in the namespace "{namespace}"'
            return status(403, f'pods "{name}" is forbidden: {who}', name)
        if (namespace, name) not in self.pods:
            return status(404, f'pods "{name}" not found', name)
        return 200, pod(namespace, name, self.pods[namespace, name])


def status(code: int, message: str, name: str = "") -> tuple[int, dict[str, Any]]:
    """A refusal as the API server words it."""
    details = {"details": {"name": name, "kind": "pods"}} if name else {}
    return code, {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": REASONS[code],
        **details,
        "code": code,
    }


def pod(namespace: str, name: str, annotations: dict[str, str] | None) -> dict[str, Any]:
    """A pod as the API server gives it while its sandbox is being made; no annotations, no such key."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "uid": "5e0c1a3b-6a3f-4c0e-9d55-0a4a3c1de0f1",
        "resourceVersion": "81273",
        "creationTimestamp": "2026-01-15T10:20:30Z",
        "managedFields": [
            {
                "manager": "kubectl-create",
                "operation": "Update",
                "apiVersion": "v1",
                "time": "2026-01-15T10:20:30Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}}}}},
            }
        ],
    }
    container = {
        "name": "main",
        "image": "registry.k8s.io/pause:3.10",
        "resources": {"limits": {"memory": "64Mi"}},
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "IfNotPresent",
    }
    spec = {
        "containers": [container],
        "restartPolicy": "Always",
        "nodeName": "node-a",
        "tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}
        ],
    }
    container_status = {
        "name": "main",
        "state": {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": "registry.k8s.io/pause:3.10",
        "imageID": "",
        "started": False,
    }
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata if annotations is None else {**metadata, "annotations": annotations},
        "spec": spec,
        "status": {
            "phase": "Pending",
            "containerStatuses": [container_status],
        },
    }


@contextmanager
def serving(certificates: Certificates, host: str = "127.0.0.1") -> Iterator[KubeApi]:
    """An API server on a port of its own; ends with all that asks it."""
    api = KubeApi(certificates)
    kind = Server6 if ":" in host else Server
    with kind((host, 0), handler(api)) as server:
        server.socket = tls(certificates).wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        api.port = server.server_address[1]
        api.server = f"https://[{host}]:{api.port}" if ":" in host else f"https://{host}:{api.port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield api
        finally:
            api.closing.set()
            server.shutdown()
            thread.join()


def tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates["server.crt"], certificates["server.key"])
    context.load_verify_locations(certificates["ca.crt"])
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


class Server(ThreadingHTTPServer):
    daemon_threads = False  # the end of the server waits for its threads

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves, or does not trust us, is what some tests are about."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Server6(Server):
    address_family = socket.AF_INET6


def handler(api: KubeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30  # a connection that is kept open and not used
        disable_nagle_algorithm = True  # or the body waits 40 ms for the acknowledgement of the header

        def do_GET(self) -> None:
            code, document = api.answer(self.path, self._user())
            if api.faults:
                api.faults.pop(0)(self)
            else:
                respond(self, code, json.dumps(document), "application/json")

        def _user(self) -> str:
            certificate = cast(ssl.SSLSocket, self.connection).getpeercert()
            if certificate:
                ((_, common_name),) = cast("tuple[tuple[str, str]]", certificate["subject"][0])
                return common_name
            return api.users.get(self.headers.get("Authorization", "").removeprefix("Bearer "), "")

        def log_message(self, *args: Any) -> None:
            return  # pytest shows what a test asserts

    return Handler


def respond(request: BaseHTTPRequestHandler, code: int, body: str, content_type: str = "") -> None:
    """Send one whole answer."""
    request.send_response(code)
    if content_type:
        request.send_header("Content-Type", content_type)
    request.send_header("Content-Length", str(len(body.encode())))
    request.end_headers()
    request.wfile.write(body.encode())


def answers(code: int, body: str, content_type: str = "application/json") -> Fault:
    """Answers with this instead."""
    return lambda request: respond(request, code, body, content_type)


def breaks_off(request: BaseHTTPRequestHandler) -> None:
    """Closes the connection without an answer."""
    request.close_connection = True


def drips(api: KubeApi) -> Fault:
    """Sends a header without end, often enough for a limit on each read; until the server closes."""

    def fault(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not api.closing.wait(0.05):
            request.wfile.write(b".")
        request.close_connection = True

    return fault


def is_silent(api: KubeApi) -> Fault:
    """Says nothing until the server closes."""

    def fault(request: BaseHTTPRequestHandler) -> None:
        api.closing.wait()
        request.close_connection = True

    return fault
