"""A connection to an API server, with every wait bounded.

`lightkube` knows kubeconfigs, service accounts, tokens that rotate and `exec` plugins, and gives a
client for them. Its own list and watch are not used: its watch waits for ever where a peer has gone
without a word, begins again without a pause where a server ends it, and can't ask for the metadata
alone.

A connection is made anew for each question or watch, and reads kubeconfig and token anew.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock, Thread
from typing import Any, Self, TypeVar, cast

import httpx2
from lightkube import KubeConfig, SingleConfig
from lightkube.config.client_adapter import Client, ConnectionParams

from underlay.cni.document import shown
from underlay.kube.answers import status
from underlay.kube.errors import Asked, Refusal, reason_of, unusable
from underlay.kube.queries import Query

SECONDS = 5.0  # for a whole question: name lookup, exec plugin, both attempts
# A peer that is gone without a word is noticed by the kernel within a minute: nobody wakes up for that.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
T = TypeVar("T")


class Connection:
    """One client, as the kubeconfig says it now. To be closed. `patience` bounds each question, in seconds.

    Whatever fails is a CniError: InvalidConfig for a kubeconfig that can't be used, else TryAgainLater.
    """

    def __init__(self, kubeconfig: str, patience: float = SECONDS) -> None:
        self._kubeconfig = kubeconfig
        self._patience = patience
        self._client, self.server = _client(kubeconfig, patience)
        self._socket: socket.socket | None = None
        self._is_cut = False
        self._lock = Lock()
        self._is_working = False
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes it; where work is left over that nobody waits for, that does it when it ends."""
        with self._lock:
            self._is_over = True
            is_last = not self._is_working
        if is_last:
            self._client.close()

    def asked(self, query: Query) -> Asked:
        """The question, for errors about it."""
        return Asked(query, self.server, self._kubeconfig, self._patience)

    def answer(self, query: Query, decode: Callable[[bytes], T]) -> T:
        """The whole answer. One more attempt is made where the connection breaks or the server fails."""
        try:
            return self._in_time(lambda: decode(self._answered(query)))
        except Exception as error:  # noqa: BLE001  those that are known become errors of ours, the rest Internal
            raise self.asked(query).failure(error) from None

    @contextmanager
    def lines(self, query: Query, silence: float) -> Iterator[Iterator[bytes]]:
        """The lines of an answer that goes on, as they come; fails after so many seconds without a byte.

        What is raised over a line is taken for a failure of the answer.
        """
        try:
            response = self._in_time(lambda: self._sent(query, silence))
            try:
                yield _lines(response.iter_bytes())
            finally:
                response.close()
        except Exception as error:  # noqa: BLE001  as above
            raise self.asked(query).failure(error) from None

    def cut(self) -> None:
        """Ends all that waits for this connection; may be called by another thread."""
        self._is_cut = True
        if connected := self._socket:
            with suppress(OSError):
                # Not its own method: that of a TLS socket pulls the rug from under who reads.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)

    def _answered(self, query: Query) -> bytes:
        try:
            return self._sent(query, self._patience).read()
        except Exception as error:
            if self._is_cut or not _is_passing(error):
                raise
        return self._sent(query, self._patience).read()

    def _sent(self, query: Query, silence: float) -> httpx2.Response:
        """An answer of which the head has come; Refusal if it is no success."""
        request = self._client.build_request(
            query.method,
            query.path,
            params=dict(query.parameters),
            headers=dict(query.headers),
            content=query.body or None,
            timeout=httpx2.Timeout(self._patience, read=silence),
            extensions={"trace": self._note},
        )
        response = self._client.send(request, stream=True)
        if not response.is_success:
            raise Refusal(response.status_code, status(response.read()))
        return response

    def _note(self, event: str, info: dict[str, Any]) -> None:
        """Hears of what the client does: of its socket, and of that once more when TLS has wrapped it."""
        if event not in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            return
        if self._is_cut:
            info["return_value"].close()
            return
        connected = info["return_value"].get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
        self._socket = connected
        if self._is_cut:  # since
            self.cut()

    def _in_time(self, work: Callable[[], T]) -> T:
        """Does the work in a thread and waits for it no longer than `patience`.

        The client's own limits are for one read each: a server that sends a byte a second is in time for
        ever. What is left of the work after that ends by itself, its connection is cut.
        """
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                tell = partial(outcome.set_result, work())
            except BaseException as error:  # noqa: BLE001  raised again by the thread that waits
                tell = partial(outcome.set_exception, error)
            self._end_work()
            tell()

        self._is_working = True
        Thread(target=run, name="kubernetes-api", daemon=True).start()
        try:
            return outcome.result(self._patience)
        except TimeoutError:
            self.cut()
            raise

    def _end_work(self) -> None:
        with self._lock:
            self._is_working = False
            is_last = self._is_over
        if is_last:
            self._client.close()


def _client(kubeconfig: str, patience: float) -> tuple[httpx2.Client, str]:
    try:
        loaded = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_service_account()
        config = cast("SingleConfig", loaded.get())  # where there is no current context it raises
        server = config.cluster.server
        if server.startswith(("http://", "https://")):
            return Client(config, ConnectionParams(timeout=httpx2.Timeout(patience))), server
        reason = f"server {shown(server)} does not start with https:// or http://"
    except Exception as error:  # noqa: BLE001  the library checks little, so that a bad file fails anywhere
        reason = reason_of(error)
    raise unusable(kubeconfig, reason)  # not with the library's error, which keeps files with keys open


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """As they come. The client's own lines end where Unicode ends one, and annotations may hold that."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _is_passing(error: Exception) -> bool:
    """Whether another attempt, perhaps at another API server behind the address, may do better."""
    if isinstance(error, Refusal):
        return error.status >= 500
    return isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError)
