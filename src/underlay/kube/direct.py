"""A cluster that is asked anew with each question: what a process does that answers one call."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from underlay.cni.cluster import Definition, PodObject
from underlay.cni.errors import CniError
from underlay.kube import queries
from underlay.kube.answers import DEFINITION, POD, is_pod
from underlay.kube.connection import SECONDS, Connection
from underlay.kube.errors import Absent, Refused
from underlay.log import Log

ANNOTATING = 2.0  # seconds that an ADD may last longer for an annotation
CONFLICTS = (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)


class Direct:
    """A Cluster. Each question is one request, and takes `patience` seconds at most."""

    def __init__(self, kubeconfig: str, log: Log, patience: float = SECONDS) -> None:
        self._kubeconfig = kubeconfig
        self._log = log
        self._patience = patience

    def pod(self, namespace: str, name: str, uid: str = "") -> PodObject:
        with Connection(self._kubeconfig, self._patience) as connection:
            return _pod(connection, namespace, name, uid)

    def definition(self, namespace: str, name: str) -> Definition | None:
        query = queries.definition(namespace, name)
        with Connection(self._kubeconfig, self._patience) as connection:
            try:
                found = connection.answer(query, DEFINITION.one)
            except Refused as error:
                if error.status == HTTPStatus.NOT_FOUND and error.said and error.said.names(name):
                    return None
                raise
            asked = connection.asked(query)
        if (found.namespace, found.name) != (namespace, name):
            raise asked.other()
        return found

    def annotate(self, pod: PodObject, key: str, value: str) -> None:
        """At once: nobody is there to do it later. So it takes a little time, and is tried for no longer."""
        try:
            with Connection(self._kubeconfig, min(self._patience, ANNOTATING)) as connection:
                write(connection, pod, {key: value})
        except CniError as error:
            if not is_of_no_use(error):
                told = {"annotations": [key], "msg": error.msg, "details": error.details}
                self._log.event("annotation-lost", "error", pod=f"{pod.namespace}/{pod.name}", **told)


def write(connection: Connection, pod: PodObject, values: Mapping[str, str]) -> None:
    """Gives a pod annotations. A static pod has another uid in the API than a runtime knows."""
    try:
        connection.answer(queries.annotation(pod, values), bytes)
    except Refused as error:
        if not _has_other_uid(error):
            raise
        mirror = _pod(connection, pod.namespace, pod.name, pod.uid)
        connection.answer(queries.annotation(mirror, values), bytes)


def is_of_no_use(error: CniError) -> bool:
    """Whether the pod is gone that was to be annotated: there is nothing to do, and nothing to say."""
    if isinstance(error, Refused):
        return error.status == HTTPStatus.NOT_FOUND or _has_other_uid(error)
    return isinstance(error, Absent)


def _has_other_uid(error: Refused) -> bool:
    said = error.said.message if error.said else ""
    return error.status in CONFLICTS and "uid" in said.lower()


def _pod(connection: Connection, namespace: str, name: str, uid: str) -> PodObject:
    query = queries.pod(namespace, name)
    found, asked = connection.answer(query, POD.listed).objects, connection.asked(query)
    pod = found.get((namespace, name))
    if pod is None:
        raise asked.other() if found else asked.absent("there is no such pod")
    if uid and not is_pod(pod, uid):
        raise asked.absent(f"the pod with uid {uid} is gone; the one of that name has uid {pod.uid}")
    return pod
