"""gRPC as far as CRI needs it: one request and one answer over a unix socket, a connection for each.

`h2` is here anyway, with the HTTP client of the Kubernetes API; gRPC's own library is a compiled one of
many megabytes, with threads of its own, which a process that starts others has to beware of.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

from underlay.lab.errors import LabError

PREFIX = struct.Struct("!BI")  # whether it is compressed, and the length
PIECE = 1 << 16  # bytes that are read at once
STREAM = 1  # a client's first
OK = "0"


class RpcError(LabError):
    """The server refused a call; `status` is gRPC's code, `msg` what it said."""

    def __init__(self, method: str, status: str, msg: str) -> None:
        super().__init__(f"{method.rpartition('/')[2]}: {msg} (gRPC status {status})")
        self.method = method
        self.status = status
        self.msg = msg


def call(path: str, method: str, request: bytes, seconds: float) -> bytes:
    """The answer of the server at `path` to `/service/method`; RpcError, OSError where nobody answers."""
    exchange = Exchange()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(path)
        connection.sendall(exchange.opening(method, request))
        while not exchange.is_over:
            data = connection.recv(PIECE)
            if not data:
                raise ConnectionError(f"{path}: closed in the midst of {method}")
            connection.sendall(exchange.take(data))
    return exchange.answer(method)


@dataclass
class Exchange:
    """One call in terms of HTTP/2, without the socket."""

    is_over: bool = False
    _http: H2Connection = field(
        default_factory=lambda: H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    )
    _headers: dict[str, str] = field(default_factory=dict)
    _body: bytearray = field(default_factory=bytearray)

    def opening(self, method: str, request: bytes) -> bytes:
        """What is sent first: the whole request."""
        self._http.initiate_connection()
        headers = {
            ":method": "POST", ":scheme": "http", ":authority": "localhost", ":path": method,
            "te": "trailers", "content-type": "application/grpc",
        }  # fmt: skip
        self._http.send_headers(STREAM, list(headers.items()))
        self._http.send_data(STREAM, PREFIX.pack(0, len(request)) + request, end_stream=True)
        return self._http.data_to_send()

    def take(self, data: bytes) -> bytes:
        """Takes what has come; returns what is to be sent for it."""
        for event in self._http.receive_data(data):
            self._hear(event)
        return self._http.data_to_send()

    def _hear(self, event: Event) -> None:
        match event:
            case ResponseReceived() | TrailersReceived():
                self._headers |= {str(name): str(value) for name, value in event.headers}
            case DataReceived():
                self._body += event.data
                self._http.acknowledge_received_data(event.flow_controlled_length, STREAM)
            case StreamReset():
                self._headers.setdefault("grpc-status", f"reset {event.error_code}")
                self.is_over = True
            case StreamEnded():
                self.is_over = True
            case _:
                pass  # settings, pings, windows: `h2` answers them

    def answer(self, method: str) -> bytes:
        """The message that has come; RpcError where it is an error."""
        status = self._headers.get("grpc-status", "missing")
        if status != OK:
            raise RpcError(method, status, unquote(self._headers.get("grpc-message", "no message")))
        _, length = PREFIX.unpack_from(self._body)
        return bytes(self._body[PREFIX.size : PREFIX.size + length])
