"""Every failure of a question turned into an error that says what to do.

The libraries promise little about what they raise: a kubeconfig that lacks a key is a KeyError, an error
page that is no JSON a ValueError. What they raise is therefore judged here, what a bad configuration
raises and what a bad answer raises, and never passed on: its own text may quote a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from json import JSONDecodeError

import httpx2
from lightkube import ConfigError

from underlay.cni.document import shown
from underlay.cni.errors import CniError, Internal, InvalidConfig, TryAgainLater
from underlay.kube.answers import Status
from underlay.kube.queries import Query

ELSEWHERE = (
    "the runtime asks again; if the API has it, the kubeconfig leads to another cluster, or the"
    " CustomResourceDefinition is missing"
)
UNREACHABLE = "the runtime asks again; look whether this node reaches that address"
UNWELL = "the runtime asks again; look at the API server"


class Refusal(Exception):
    """An answer that is no success, as it came. `said` is what the API server says, if it was that."""

    def __init__(self, status: int, said: Status | None) -> None:
        super().__init__(status)
        self.status = status
        self.said = said


class Refused(TryAgainLater):
    """The same as an error for people."""

    def __init__(self, msg: str, details: str, refusal: Refusal) -> None:
        super().__init__(msg, details)
        self.status = refusal.status
        self.said = refusal.said


class Unreadable(TryAgainLater):
    """The answer is not what an API server gives."""


class Absent(TryAgainLater):
    """The API has answered that there is no such object now."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was put: to which server, with which kubeconfig, and how many seconds it had."""

    query: Query
    server: str
    kubeconfig: str
    patience: float

    def failure(self, error: Exception) -> CniError:
        """The error for what was raised instead of an answer."""
        match error:
            case Refusal():
                return Refused(self._said(_status(error)), self._advice(error.status), error)
            case TimeoutError() | httpx2.TimeoutException():
                return TryAgainLater(self._said(f"no answer within {self.patience:g} s"), UNREACHABLE)
            case _ if reason := _bad_credentials(error):
                return unusable(self.kubeconfig, reason)
            case httpx2.HTTPError():
                return TryAgainLater(self._said(reason_of(error)), UNREACHABLE)
            case ValueError():
                return Unreadable(self._said(f"the answer cannot be read: {reason_of(error)}"), UNWELL)
            case _:
                return Internal.of(error)

    def other(self) -> Unreadable:
        """For an answer about something else."""
        return Unreadable(self._said("the answer is not that"), "look whether an API server is there")

    def absent(self, why: str) -> Absent:
        """For what is not there, or not any more."""
        return Absent(self._said(why), ELSEWHERE)

    def _said(self, why: str) -> str:
        return f"{self.query.doing}: Kubernetes API at {self.server}: {why}"

    def _advice(self, status: int) -> str:
        match status:
            case HTTPStatus.UNAUTHORIZED:
                return "the token or certificate has expired or was revoked: renew it"
            case HTTPStatus.FORBIDDEN:
                return (
                    f"the RBAC is missing: bind the user to a ClusterRole with the rule {self.query.right}"
                )
            case HTTPStatus.NOT_FOUND:
                return ELSEWHERE
            case _:
                return UNWELL


def unusable(kubeconfig: str, reason: str) -> InvalidConfig:
    """For a configuration with which no question can be put."""
    if kubeconfig:
        return InvalidConfig(
            f"kubeconfig {shown(kubeconfig)} cannot be used: {reason}",
            "give a file on this node with a current context, its cluster and a user",
        )
    return InvalidConfig(
        f"no kubeconfig is given, and this process has no in-cluster configuration: {reason}",
        "a plugin runs on the node, not in a pod: give the path of a kubeconfig on this node",
    )


def reason_of(error: BaseException) -> str:
    """What is wrong, in one line, and nothing of what YAML's errors quote: the file holds secrets."""
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
            return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _status(refusal: Refusal) -> str:
    phrase = next((status.phrase for status in HTTPStatus if status == refusal.status), "")
    code = f"{refusal.status} {phrase}".strip()
    said = " ".join(refusal.said.message.split()) if refusal.said else ""
    return f"{code}: {said}" if said else code


def _bad_credentials(error: Exception) -> str:
    """Why the question could not even be put: credentials are read with it. Empty if it could."""
    match error:
        case httpx2.LocalProtocolError():  # of a header that may not be sent, which it quotes
            return "its token is not one line"
        case KeyError() | TypeError() | JSONDecodeError():
            return "its exec plugin does not answer with a token"
        case ConfigError() | OSError():
            return reason_of(error)
        case _:
            return ""
