"""A Kubernetes API server as far as underlay asks it: TLS, users, RBAC; list, watch and patch; and faults.

It is a server of HTTPS in threads of this process. What a test may change: who may ask, what there is,
how answers go wrong, and whether the server is there at all.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from tests.netns.kube_api.certificates import Certificates
from tests.netns.kube_api.documents import GROUP, NADS, Json, listed, partial, status
from tests.netns.kube_api.faults import Fault, respond
from tests.netns.kube_api.rights import Right, documented
from tests.netns.kube_api.store import Event, Kind, Store, selects

PODS = re.compile(r"/api/v1(?:/namespaces/([^/]+))?/pods(?:/([^/]+))?(/status)?")
DEFINITIONS = re.compile(rf"/apis/{GROUP}/v1(?:/namespaces/([^/]+))?/{NADS}(?:/([^/]+))?")
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
USER = "system:serviceaccount:cni:node"


class Asked:
    """A request, understood: what it wants of which objects."""

    def __init__(self, store: Store, method: str, target: str, accept: str) -> None:
        split = urlsplit(target)
        self.parameters = dict(parse_qsl(split.query))
        self.selector = self.parameters.get("fieldSelector", "")
        self.is_watch = "watch" in self.parameters
        pods, nads = PODS.fullmatch(split.path), DEFINITIONS.fullmatch(split.path)
        self.is_known = bool(pods or nads)
        self.namespace, self.name, subresource = (
            pods.groups() if pods else (*nads.groups(), None) if nads else ("",) * 3
        )
        self.kind: Kind = store.nads if nads else store.pods
        self.resource = self.kind.resource + (subresource or "")
        reading = "get" if self.name else "watch" if self.is_watch else "list"
        self.verb = {"GET": reading, "PATCH": "patch"}.get(method, method)
        first = accept.split(",", maxsplit=1)[0]
        self.wants_metadata = first == (METADATA if self.is_watch or self.name else METADATA_LIST)

    @property
    def right(self) -> Right:
        return Right(self.verb, self.kind.group, self.resource)

    def takes(self, document: Json) -> bool:
        """Whether an object is among those that are asked for."""
        namespace = document["metadata"].get("namespace")
        return self.namespace in (None, namespace) and selects(self.selector, document)


class KubeApi(Store):
    """A server, what it knows and what it saw. `port` and `server` (a URL) are where it listens."""

    def __init__(self, certificates: Certificates, host: str = "127.0.0.1") -> None:
        super().__init__()
        self.certificates = certificates
        self.host = host
        self.port = 0
        self.users = {"t0ken": USER}
        self.rights = dict.fromkeys((USER, "node", "admin"), documented())
        self.used: set[Right] = set()
        self.cuts_metadata = True
        self.faults: list[Fault] = []  # of the next answers, one each
        self.watch_faults: list[Fault] = []  # of the next watches
        self.seen: list[tuple[str, str]] = []  # user, and method and target of each request
        self.connections = 0  # that were made
        self.watches = 0  # that are under way
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._running: tuple[Server, threading.Thread] | None = None

    @property
    def server(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"

    def start(self) -> None:
        """Listens; at the same port as before."""
        self.closing.clear()
        server = (Server6 if ":" in self.host else Server)((self.host, self.port), handler(self))
        server.socket = self.certificates.context().wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self._running = server, thread

    def stop(self) -> None:
        """Is gone, with all connections."""
        if self._running is None:
            return
        server, thread = self._running
        self._running = None
        self.closing.set()
        with self.changed:
            self.changed.notify_all()
        server.shutdown()
        thread.join()
        for connection in list(self._connections):
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        server.server_close()  # waits for the threads of all connections

    def kubeconfig(self, path: Path, user: Any = None, **cluster: Any) -> str:
        """Writes a kubeconfig for this server (JSON is YAML); returns its path."""
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

    def asked(self, *parts: str) -> list[str]:
        """The requests so far that have all of these in them."""
        return [line for _, line in self.seen if all(part in line for part in parts)]

    @contextmanager
    def connected(self, connection: socket.socket) -> Iterator[None]:
        """A connection that is to end with the server."""
        self.connections += 1
        self._connections.add(connection)
        try:
            yield
        finally:
            self._connections.discard(connection)

    @contextmanager
    def watched(self) -> Iterator[tuple[int, int]]:
        """Counts a watch, for the time that it lasts; gives how many orders to end have been before."""
        with self.changed:
            self.watches += 1
            began = self.dropped, self.ended
        try:
            yield began
        finally:
            with self.changed:
                self.watches -= 1

    def refusal(self, asked: Asked, user: str) -> tuple[int, Json] | None:
        """Why a user gets no answer; None where there is no reason."""
        if not user:
            return status(401, "Unauthorized")
        if not asked.is_known:
            return status(404, "the server could not find the requested resource")
        if asked.right in self.rights.get(user, ()):
            self.used.add(asked.right)
            return None
        where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
        what = f'resource "{asked.resource}" in API group "{asked.kind.group}"'
        return status(
            403, f'{asked.resource} is forbidden: User "{user}" cannot {asked.verb} {what} {where}',
            asked.resource, asked.name or "",
        )  # fmt: skip

    def answer(self, asked: Asked, content_type: str, body: bytes) -> tuple[int, Json]:
        """To all but a watch."""
        metadata_only = asked.wants_metadata and self.cuts_metadata
        with self.changed:
            if asked.verb == "list":
                items = [found for found in asked.kind.objects.values() if asked.takes(found)]
                return 200, listed(asked.kind.name, items, self.version, metadata_only=metadata_only)
            key = asked.namespace or "", asked.name or ""
            if key not in asked.kind.objects:
                of = f".{asked.kind.group}" if asked.kind.group else ""
                message = f'{asked.kind.resource}{of} "{asked.name}" not found'
                return status(404, message, asked.kind.resource, asked.name or "")
            if asked.verb == "patch":
                return self._patched(key, content_type, json.loads(body))
            return 200, asked.kind.objects[key]

    def _patched(self, key: tuple[str, str], content_type: str, patch: Json) -> tuple[int, Json]:
        if content_type != "application/merge-patch+json":
            return status(415, "the body of the request was in an unknown format")
        wanted, found = patch["metadata"], self.pods.objects[key]["metadata"]["uid"]
        if wanted.get("uid", found) != found:
            why = f"Precondition failed: UID in precondition: {wanted['uid']}, UID in object meta: {found}"
            return status(409, f'Operation cannot be fulfilled on pods "{key[1]}": {why}', "pods", key[1])
        return 200, self.annotate(key, wanted.get("annotations", {}))

    def changes(self, asked: Asked, began: tuple[int, int]) -> Iterator[Json | None]:
        """What a watch tells, until it ends; None is a connection that breaks."""
        version, kind = int(asked.parameters["resourceVersion"]), asked.kind
        metadata_only = asked.wants_metadata and self.cuts_metadata
        if version < kind.forgotten:
            _, gone = status(410, f"too old resource version: {version} ({kind.forgotten})")
            yield {"type": "ERROR", "object": gone}
            return
        while True:
            with self.changed:
                found = self._since(asked, version)
                while not (found or self.closing.is_set() or began != (self.dropped, self.ended)):
                    self.changed.wait()
                    found = self._since(asked, version)
            for event in found:
                version = event.version
                document = partial(event.document) if metadata_only else event.document
                yield {"type": event.type, "object": document}
            if self.closing.is_set() or began[0] != self.dropped:
                yield None
            if not found:
                return

    def _since(self, asked: Asked, version: int) -> list[Event]:
        return [
            event
            for event in asked.kind.events
            if event.version > version and (event.type == "BOOKMARK" or asked.takes(event.document))
        ]


@contextmanager
def serving(certificates: Certificates, host: str = "127.0.0.1") -> Iterator[KubeApi]:
    """An API server on a port of its own; ends with all that asks it."""
    api = KubeApi(certificates, host)
    api.start()
    try:
        yield api
    finally:
        api.stop()


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

        def handle(self) -> None:
            with api.connected(self.connection):
                super().handle()

        def do_GET(self) -> None:
            self._do()

        def do_PATCH(self) -> None:
            self._do()

        def _do(self) -> None:
            user = self._user()
            api.seen.append((user, f"{self.command} {self.path}"))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Asked(api, self.command, self.path, self.headers.get("Accept", ""))
            faults = api.watch_faults if asked.is_watch else api.faults
            if faults:
                faults.pop(0)(self)
            elif refused := api.refusal(asked, user):
                self._respond(*refused)
            elif asked.is_watch:
                self._watch(asked)
            else:
                self._respond(*api.answer(asked, self.headers.get("Content-Type", ""), body))

        def _respond(self, code: int, document: Json) -> None:
            respond(self, code, json.dumps(document), "application/json")

        def _watch(self, asked: Asked) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with api.watched() as began:
                for change in api.changes(asked, began):
                    if change is None:
                        self.close_connection = True
                        return
                    line = json.dumps(change, ensure_ascii=False).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.write(b"0\r\n\r\n")

        def _user(self) -> str:
            certificate = cast(ssl.SSLSocket, self.connection).getpeercert()
            if certificate:
                ((_, common_name),) = cast("tuple[tuple[str, str]]", certificate["subject"][0])
                return common_name
            return api.users.get(self.headers.get("Authorization", "").removeprefix("Bearer "), "")

        def log_message(self, *args: Any) -> None:
            return  # pytest shows what a test asserts

    return Handler
