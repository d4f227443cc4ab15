"""One pod, asked for with `lightkube`, and every failure turned into an error that says what to do.

The library promises little about what it raises: a kubeconfig that lacks a key is a KeyError, an error
page that is no JSON a ValueError, and no call has a limit in time. What it gives is therefore judged here
in two places, what a bad configuration raises and what a bad answer raises, and never passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from json import JSONDecodeError
from threading import Thread
from typing import Any, TypeVar

import httpx2
from lightkube import Client, ConfigError, KubeConfig
from lightkube.core.resource import ApiInfo, NamespacedResourceG, ResourceDef

from underlay.cni.document import shown
from underlay.cni.errors import CniError, Internal, InvalidConfig, TryAgainLater
from underlay.values import dataclass

SECONDS = 5.0  # for the whole question: name lookup, exec plugin, both attempts
T = TypeVar("T")

ADVICE = {
    401: "the token or certificate has expired or was revoked: renew it",
    403: "the RBAC is missing: bind the user to a ClusterRole with the rule"
    ' apiGroups [""], resources ["pods"], verbs ["get"]',
    404: "the runtime asks again as long as it wants the pod;"
    " if the pod is there, k8sConfigPath leads to another cluster",
}
UNREACHABLE = "the runtime asks again; look whether this node reaches that address"
UNWELL = "the runtime asks again; look at the API server"


class AnyPod(NamespacedResourceG, dict[str, Any]):
    """A pod as it was sent. The library's own class refuses a pod over any field of any container that is
    not as its version of the API has it; {} where the document is no object."""

    _api_info = ApiInfo(ResourceDef("", "v1", "Pod"), "pods", ["get"])

    def __init__(self, document: Any) -> None:
        super().__init__(document if isinstance(document, dict) else {})


@dataclass(frozen=True, slots=True)
class Question:
    """Which pod is asked for, at which API server (a URL), with which kubeconfig ("": in-cluster)."""

    namespace: str
    name: str
    server: str
    kubeconfig: str

    def failed(self, why: str, advice: str) -> TryAgainLater:
        """Make the error for a question that has no answer yet."""
        pod = f"{self.namespace}/{self.name}"
        return TryAgainLater(
            f"reading the annotations of pod {pod} from the Kubernetes API at {self.server}: {why}", advice
        )


def read_annotations(namespace: str, name: str, kubeconfig: str) -> dict[str, str]:
    """See `underlay.kube.pod_annotations`."""
    client = _client(kubeconfig)
    question = Question(namespace, name, client.config.cluster.server, kubeconfig)
    try:
        pod = _in_time(lambda: _get(client, question))
    except Exception as error:  # noqa: BLE001  those that are known become errors of ours, the rest Internal
        raise _failure(error, question) from None  # its own text may quote the token
    return _annotations(pod, question)


def _annotations(pod: AnyPod, question: Question) -> dict[str, str]:
    match pod:
        case {"kind": "Pod", "metadata": {"namespace": question.namespace, "name": question.name, **others}}:
            found = others.get("annotations") or {}
            if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
                return found
        case _:
            pass
    raise question.failed("the answer is not that pod", "look whether an API server is at that address")


def _client(kubeconfig: str) -> Client:
    try:
        loaded = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_service_account()
        client = Client(loaded.get(), timeout=httpx2.Timeout(SECONDS))
    except Exception as error:  # noqa: BLE001  the library checks little, so that a bad file fails anywhere
        reason = _reason(error)
    else:
        server = client.config.cluster.server
        if server.startswith(("http://", "https://")):
            return client
        client.close()
        reason = f"server {shown(server)} does not start with https:// or http://"
    raise _unusable(kubeconfig, reason)  # not with the library's error, which keeps files with keys open


def _unusable(kubeconfig: str, reason: str) -> InvalidConfig:
    if kubeconfig:
        return InvalidConfig(
            f"k8sConfigPath: {shown(kubeconfig)} cannot be used as a kubeconfig: {reason}",
            "give a file on this node with a current context, its cluster and a user who may get pods",
        )
    return InvalidConfig(
        f"k8sConfigPath is missing, and this process has no in-cluster configuration: {reason}",
        "a plugin runs on the node, not in a pod: give the path of a kubeconfig on this node",
    )


def _in_time(work: Callable[[], T]) -> T:
    """Do the work in a thread and wait for `SECONDS`; TimeoutError leaves the thread to end by itself.

    The client's own limits are for one read each: a server that sends a byte a second is in time for ever.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001  raised again by the thread that waits
            outcome.set_exception(error)

    Thread(target=run, name="kubernetes-api", daemon=True).start()
    return outcome.result(SECONDS)


def _get(client: Client, question: Question) -> AnyPod:
    with client:
        try:
            return client.get(AnyPod, question.name, namespace=question.namespace)
        except Exception as error:
            if not _is_passing(error):
                raise
        return client.get(AnyPod, question.name, namespace=question.namespace)


def _is_passing(error: Exception) -> bool:
    """Say whether another attempt, perhaps at another API server behind the address, may do better."""
    status = _status(error)
    if status is not None:
        return status.status_code >= 500
    return isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError)


def _failure(error: Exception, question: Question) -> CniError:
    if (answer := _status(error)) is not None:
        return _refusal(answer, error, question)
    match error:
        case TimeoutError() | httpx2.TimeoutException():
            return question.failed(f"no answer within {SECONDS:.0f} s", UNREACHABLE)
        case _ if reason := _bad_credentials(error):
            return _unusable(question.kubeconfig, reason)
        case httpx2.HTTPError():
            return question.failed(_reason(error), UNREACHABLE)
        case ValueError():
            return question.failed(f"the answer cannot be read: {_reason(error)}", UNWELL)
        case _:
            return Internal.of(error)


def _bad_credentials(error: Exception) -> str:
    """Say why the question could not even be put: credentials are read with it. Empty if it could."""
    match error:
        case httpx2.LocalProtocolError():  # of a header that may not be sent, which it quotes
            return "its token is not one line"
        case KeyError() | TypeError() | JSONDecodeError():
            return "its exec plugin does not answer with a token"
        case ConfigError() | OSError():
            return _reason(error)
        case _:
            return ""


def _refusal(answer: httpx2.Response, error: Exception, question: Question) -> CniError:
    code = f"{answer.status_code} {answer.reason_phrase}".strip()
    status = getattr(error, "status", None)  # of lightkube's ApiError: what the API server says itself
    said = " ".join(str(status.message).split()) if status is not None and status.message else ""
    why = f"{code}: {said}" if said else code
    return question.failed(why, ADVICE.get(answer.status_code, UNWELL))


def _status(error: BaseException) -> httpx2.Response | None:
    """Find the refusal of a server: the library fails over an error page that is not Kubernetes's own."""
    for link in _chain(error):
        if isinstance(link, httpx2.HTTPStatusError):
            return link.response
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str:
    """Say in one line what is wrong, and nothing of what YAML's errors quote: the file holds secrets."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1} is not YAML"
    match error:
        case KeyError():
            return f"{shown(error.args[0])} is missing"
        case AttributeError() | TypeError():
            return "it does not have the form of a kubeconfig"
        case OSError() if error.strerror:
            return f"{error.filename or 'a file that it names'}: {error.strerror}"
        case _:
            return " ".join(str(error).split()) or type(error).__name__
