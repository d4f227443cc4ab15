"""One call in this process: what an installed plugin executes.

Reads the environment and stdin, prints the result or the error as the CNI specification wants it.
The namespace of the calling process is the node's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from underlay import netns
from underlay.cni.call import about, read_call, stated_version
from underlay.cni.errors import CniError, Internal, IoFailure, TryAgainLater, as_json
from underlay.cni.logs import log_of
from underlay.cni.plugin import Memory
from underlay.cni.request import Request
from underlay.cni.verbs import carry_out, finish
from underlay.log import Log, LogOptions
from underlay.netlink.facts import NodeKernel
from underlay.netlink.late import Background
from underlay.netlink.pool import SocketPool
from underlay.plugins import PLUGINS
from underlay.records import Records

if TYPE_CHECKING:
    from underlay.cni.cluster import Cluster

STATE = "/run/underlay"
SOCKET = f"{STATE}/agent.sock"
EXECUTION = 30.0  # seconds that another plugin may take
CHROOT_FAILURES = (125, 126, 127)  # exit codes of chroot(1) where it has not begun the program


class Opened:
    """A descriptor for the time of a `with`, None where there is nothing; `is_lent` if another closes it.

    No generator: each call needs several of these, and they take three times as long.
    """

    __slots__ = ("_is_lent", "fd")

    def __init__(self, fd: int | None, *, is_lent: bool = False) -> None:
        self.fd = fd
        self._is_lent = is_lent

    def __enter__(self) -> int | None:
        return self.fd

    def __exit__(self, *_: object) -> None:
        if self.fd is not None and not self._is_lent:
            os.close(self.fd)


class OpenedKernel:
    """A kernel for the time of a `with`, and the descriptor of the pod that it needs."""

    __slots__ = ("_kernel", "_pod")

    def __init__(self, kernel: NodeKernel, pod: Opened) -> None:
        self._kernel = kernel
        self._pod = pod

    def __enter__(self) -> NodeKernel:
        return self._kernel

    def __exit__(self, *_: object) -> None:
        with self._pod:
            self._kernel.close()


class HostNode:
    """A node by a descriptor of its network namespace, which stays the caller's to close.

    `may_be_pod` is CNI_NETNS_OVERRIDE: the caller knows that the pod's namespace is that one. A process that
    stays has a `memory`, a `pool` of sockets, and a `background` for what no call need wait for.
    """

    root = ""  # another one for an agent in a container
    memory: Memory | None = None
    background: Background | None = None
    pool: SocketPool | None = None
    log = Log(LogOptions())  # what the API does to a call

    def __init__(self, host: int, state: str, *, may_be_pod: bool = False) -> None:
        self._host = host
        self._state = state
        self._may_be_pod = may_be_pod

    @cached_property
    def identity(self) -> str:
        """The host namespace's, which no other one ever has."""
        return netns.identity(self._host)

    @cached_property
    def records(self) -> Records:
        return Records(self._state, self.identity)

    def refuse_abandoned(self) -> None:
        """A runtime that gives up ends the process that it has executed."""

    def opened(self, path: str) -> Opened:
        """A descriptor of the namespace at a path; None where there is provably none."""
        return Opened(_opened(path))

    def kernel(self, path: str) -> AbstractContextManager[NodeKernel]:
        pod = self.opened(path)
        return OpenedKernel(NodeKernel(self._host, pod.fd, self.background, self.memory, self.pool), pod)

    def execute(self, path: str, env: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        import subprocess  # slow to load, and few calls need it

        with netns.entered(self._host):  # this thread's namespace is the one that the plugin starts in
            try:
                done = subprocess.run(
                    ["chroot", self.root, path] if self.root else [path],
                    input=stdin,
                    env={**os.environ, **env},
                    stdout=subprocess.PIPE,
                    timeout=EXECUTION,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise TryAgainLater(
                    f"{path} has not answered for {EXECUTION:.0f} s, and was ended"
                ) from None
            except OSError as error:
                raise IoFailure(f"executing {path}: {error.strerror}") from error
        if self.root and done.returncode in CHROOT_FAILURES and not done.stdout:
            raise IoFailure(f"executing {path} in {self.root}: chroot could not")
        return done.returncode, done.stdout

    def cluster(self, kubeconfig: str) -> Cluster:
        from underlay.kube import asked  # most calls ask no API

        return asked(kubeconfig, self.log)

    @contextmanager
    def scratch(self) -> Iterator[NodeKernel]:
        fd = netns.new_netns()
        kernel = NodeKernel(fd, fd)
        try:
            yield kernel
        finally:
            kernel.close()
            os.close(fd)

    def netns_id(self, path: str) -> str:
        with self.opened(path) as fd:
            return "" if fd is None else netns.identity(fd)

    def is_own(self, path: str) -> bool:
        if self._may_be_pod:
            return False
        with self.opened(path) as fd:
            return fd is not None and netns.is_same(fd, self._host)


class OwnNode(HostNode):
    """The node whose network namespace this process is in."""

    def __init__(self, state: str, *, may_be_pod: bool = False) -> None:
        super().__init__(os.open(netns.OWN, os.O_RDONLY | os.O_CLOEXEC), state, may_be_pod=may_be_pod)


def _opened(path: str) -> int | None:
    try:
        return netns.open_netns(path) if path else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # which proves nothing
        raise IoFailure(f"opening the network namespace {path}: {error.strerror}") from error


def answer(
    name: str, env: Mapping[str, str], stdin: bytes, reply: Callable[[dict[str, Any] | None], None]
) -> int:
    """The exit code of a call. `reply` gets the JSON to print, before all that can wait for that."""
    try:
        call = read_call(env, stdin)
        node = OwnNode(env.get("UNDERLAY_STATE") or STATE, may_be_pod=may_be_pod(env))
        node.log = log_of(name, call)
        request = Request(PLUGINS[name], call, node, node.log)
    except Exception as error:  # noqa: BLE001  the edge of the program: a runtime reads JSON, never a traceback
        reply(_as_json(error, stdin))
        return 1
    code = 0
    try:
        result = carry_out(request)
    except Exception as error:  # noqa: BLE001  the same
        code, result = 1, _as_json(error, stdin)
    reply(result)
    finish(request)
    return code


def _as_json(error: Exception, stdin: bytes) -> dict[str, Any]:
    failure = error if isinstance(error, CniError) else Internal.of(error)
    return as_json(failure, stated_version(stdin))


def may_be_pod(env: Mapping[str, str]) -> bool:
    """Whether the caller says that the pod's namespace may be the node's own."""
    return env.get("CNI_NETNS_OVERRIDE", "").lower() in ("1", "true")


def main(name: str) -> int:
    """Runs the plugin of that name as a container runtime calls it; returns the exit code."""
    if "CNI_COMMAND" not in os.environ:
        print(about(name), file=sys.stderr)
        return 0
    return answer(name, os.environ, sys.stdin.buffer.read(), _print)


def _print(output: dict[str, Any] | None) -> None:
    if output is not None:
        print(json.dumps(output), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
