"""How an API server's answers go wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Protocol

from tests.netns.kube_api.documents import Json

Fault = Callable[[BaseHTTPRequestHandler], None]


class Closing(Protocol):
    """A server that will close."""

    closing: threading.Event


def respond(request: BaseHTTPRequestHandler, code: int, body: str, content_type: str = "") -> None:
    """Sends one whole answer."""
    request.send_response(code)
    if content_type:
        request.send_header("Content-Type", content_type)
    request.send_header("Content-Length", str(len(body.encode())))
    request.end_headers()
    request.wfile.write(body.encode())


def answers(code: int, body: str, content_type: str = "application/json") -> Fault:
    """Answers with this instead."""
    return lambda request: respond(request, code, body, content_type)


def refuses(refusal: tuple[int, Json]) -> Fault:
    """Refuses as the API server words it."""
    code, document = refusal
    return answers(code, json.dumps(document))


def breaks_off(request: BaseHTTPRequestHandler) -> None:
    """Closes the connection without an answer."""
    request.close_connection = True


def breaks_off_after(event: threading.Event) -> Fault:
    """Does so when that has happened."""

    def fault(request: BaseHTTPRequestHandler) -> None:
        event.wait()
        breaks_off(request)

    return fault


def drips(api: Closing) -> Fault:
    """Sends a header without end, often enough for a limit on each read; until the server closes."""

    def fault(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while not api.closing.wait(0.05):
            request.wfile.write(b".")
        request.close_connection = True

    return fault


def is_silent(api: Closing) -> Fault:
    """Says nothing until the server closes."""

    def fault(request: BaseHTTPRequestHandler) -> None:
        api.closing.wait()
        request.close_connection = True

    return fault
