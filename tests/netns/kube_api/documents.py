"""Documents in the shape and the words of a kube-apiserver's."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

NODE = "node-a"
UID = "5e0c1a3b-6a3f-4c0e-9d55-0a4a3c1de0f1"
GROUP = "k8s.cni.cncf.io"
NADS = "network-attachment-definitions"
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    500: "InternalError",
}


def pod(
    namespace: str, name: str, annotations: dict[str, str] | None, uid: str = UID, node: str = NODE
) -> Json:
    """A pod as the API server gives it while its sandbox is being made; no annotations, no such key."""
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
        "nodeName": node,
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
        "metadata": metadata(namespace, name, uid, annotations),
        "spec": spec,
        "status": {
            "phase": "Pending",
            "containerStatuses": [container_status],
        },
    }


def nad(namespace: str, name: str, config: str | None, annotations: dict[str, str] | None = None) -> Json:
    """A NetworkAttachmentDefinition; `config` None leaves spec.config out."""
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": metadata(namespace, name, UID, annotations),
        "spec": {} if config is None else {"config": config},
    }


def metadata(namespace: str, name: str, uid: str, annotations: dict[str, str] | None) -> Json:
    found: Json = {
        "name": name,
        "namespace": namespace,
        "uid": uid,
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
    return found if annotations is None else {**found, "annotations": annotations}


def partial(document: Json) -> Json:
    """The same as who asks for metadata alone gets it."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": document["metadata"],
    }


def listed(kind: str, items: list[Json], version: int, *, metadata_only: bool) -> Json:
    """A list. Objects of a built-in kind have no kind of their own in it."""
    if metadata_only:
        name, api, found = "PartialObjectMetadata", "meta.k8s.io/v1", [partial(item) for item in items]
    elif kind == "Pod":
        own = ("kind", "apiVersion")
        name, api = kind, "v1"
        found = [{key: value for key, value in item.items() if key not in own} for item in items]
    else:
        name, api, found = kind, f"{GROUP}/v1", items
    head = {"resourceVersion": str(version)}
    return {"kind": f"{name}List", "apiVersion": api, "metadata": head, "items": found}


def status(code: int, message: str, resource: str = "", name: str = "") -> tuple[int, Json]:
    """A refusal as the API server words it."""
    details = {"details": {"name": name, "kind": resource}} if name else {}
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
