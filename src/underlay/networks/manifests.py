"""NetworkAttachmentDefinitions in a directory of manifests: networks without an API server.

JSON manifests need the standard library alone. YAML needs PyYAML, which is imported with the first one;
what a file holds is remembered until its time or its size changes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from underlay.cni.cluster import Definition
from underlay.cni.errors import CniError, InvalidConfig, IoFailure, UnsupportedField
from underlay.cni.keys import Keys
from underlay.cni.value import Value
from underlay.networks.files import Remembered, files_of
from underlay.site_packages import open_site_packages
from underlay.values import dataclass

YAML, JSON = (".yaml", ".yml"), (".json",)
KIND, GROUP = "NetworkAttachmentDefinition", "k8s.cni.cncf.io/"
NAMESPACE = "default"  # of a manifest that names none, as kubectl takes it


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a file defines; or why it can't be read, "" where it can."""

    path: str
    definitions: tuple[Definition, ...] = ()
    problem: str = ""


def manifests_in(directory: str) -> tuple[Manifest, ...]:
    """Those of a directory, by name; one that is not there has none. IoFailure where it can't be listed."""
    return tuple(map(_manifest, files_of(directory, YAML + JSON)))


def _manifest(path: str) -> Manifest:
    try:
        return READ.of(path, _read)
    except IoFailure as error:
        return Manifest(path, problem=error.msg)


def _read(path: str, text: str) -> Manifest:
    try:
        return Manifest(path, tuple(definitions_in(text, path)))
    except CniError as error:
        return Manifest(path, problem=f"{error.msg} {error.details}".strip())


READ = Remembered[Manifest]()


def definitions_in(text: str, path: str) -> Iterator[Definition]:
    """The definitions of one file, whatever else it holds."""
    for index, document in enumerate(_documents(text, path)):
        if document is not None:
            yield from _definitions(Value(f"{path}, document {index + 1}", document))


def _documents(text: str, path: str) -> list[Any]:
    if path.endswith(JSON):
        try:
            return [json.loads(text)]
        except (ValueError, RecursionError) as error:
            raise InvalidConfig(f"{path} is not valid JSON:", str(error)) from error
    open_site_packages("yaml")
    try:
        import yaml
    except ImportError as error:
        raise UnsupportedField(
            f"{path} needs PyYAML, which {sys.executable} does not have:",
            "install underlay with what it depends on, or write the manifest as JSON",
        ) from error
    try:
        return list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidConfig(f"{path} is not valid YAML:", " ".join(str(error).split())) from error


def _definitions(document: Value) -> Iterator[Definition]:
    keys = Keys(document.object(), where=document.name)
    kind = keys.text("kind", "")
    if kind.endswith("List"):
        items = keys.value("items")
        for item in items.items() if items else ():
            yield from _definitions(item)
    elif kind == KIND and keys.text("apiVersion", "").startswith(GROUP):
        yield definition_of(document.object(), document.name)


def definition_of(document: Mapping[str, Any], where: str) -> Definition:
    """A definition as the API writes it."""
    keys = Keys(document, where=where)
    metadata = keys.section("metadata")
    name = metadata.value("name")
    if name is None:
        raise metadata.missing("name", f"a {KIND} has a name")
    annotations = metadata.value("annotations")
    return Definition(
        namespace=metadata.text("namespace", "") or NAMESPACE,
        name=name.text(),
        config=keys.section("spec").text("config", ""),
        annotations={key: str(each) for key, each in (annotations.object() if annotations else {}).items()},
    )
