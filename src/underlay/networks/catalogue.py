"""Where the networks are that annotations and configurations name.

namespace/name ──► a NetworkAttachmentDefinition: a manifest in `nadDir`, else the API's
                        │ spec.config, or where that is empty the file below
name ────────────► a conflist in `confDir`, by the name of its network

What is on the node goes before what the API has: a node whose own network is a file needs no API for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from underlay.cni.cluster import Cluster, Definition
from underlay.cni.document import shown
from underlay.cni.errors import CniError, InvalidConfig, TryAgainLater
from underlay.networks.conflist import Conflist, conflist_of, read_conflist
from underlay.networks.files import Remembered, files_of
from underlay.networks.manifests import Manifest, manifests_in
from underlay.networks.sources import IN_FRONT, Reference, Sources
from underlay.values import dataclass

CONFLISTS = (".conflist", ".conf", ".json")
MOST_NAMED = 12  # names that a message lists
TEXTS = Remembered[str]()


@dataclass(frozen=True, slots=True)
class Network:
    """A network that was found. `name` is how a person knows it: `namespace/name`, or that of a conflist."""

    name: str
    conflist: Conflist
    definition: Definition | None = None


class Catalogue:
    """The networks that there are. A configuration without a version is taken to be of `version`; `root`
    comes before the paths of the node.

    What is asked for and not there is InvalidConfig, with what there is.
    """

    def __init__(
        self, sources: Sources, version: str, cluster: Callable[[str], Cluster], root: str = ""
    ) -> None:
        self._sources = sources
        self._root = root
        self._version = version
        self._cluster = cluster

    def defined(self, namespace: str, name: str, place: str) -> Network:
        """A definition; `place` is where it is asked for, for messages."""
        definition = self._manifest(namespace, name, place) or self._asked(namespace, name)
        if definition is None:
            raise self._missing(f'there is no NetworkAttachmentDefinition "{namespace}/{name}"', place)
        return self._network(definition)

    def configured(self, reference: Reference) -> Network:
        """What a configuration names; of the path of a directory, its first file."""
        name, place = reference.name, reference.place
        if reference.inline:
            conflist = conflist_of(reference.inline, place, version=self._version)
            return Network(conflist.name, conflist)
        if not name:
            return self._first_of(self._sources.conf_dir, place)
        if name.startswith("/"):
            return self._at(name, place)
        return self._named(name, reference.namespace, place)

    def _named(self, name: str, namespace: str, place: str) -> Network:
        said, slash, name = name.rpartition("/")
        namespace = said if slash else namespace
        definition = self._manifest(namespace, name, place)
        file = None if slash or definition else self._file(name)
        if file:
            return Network(name, file)
        definition = definition or self._asked(namespace, name)
        if definition is None:
            where = "" if slash else f", nor a conflist of that name in {self._sources.conf_dir}"
            raise self._missing(
                f'there is no NetworkAttachmentDefinition "{namespace}/{name}"{where}', place
            )
        return self._network(definition)

    def _first_of(self, directory: str, place: str) -> Network:
        for _, conflist in self._files(directory):
            if conflist and IN_FRONT.isdisjoint(conflist.types):
                return Network(conflist.name, conflist)
        raise TryAgainLater(
            f"{place}: there is no network in {directory} but those of underlay and Multus",
            "the cluster's own network may not be installed yet; or name one that is somewhere else",
        )

    def _at(self, path: str, place: str) -> Network:
        if os.path.isdir(self._root + path):
            return self._first_of(path, place)
        try:
            conflist = self._read(self._root + path)
        except CniError as error:
            raise type(error)(f"{place}: {error.msg}", error.details) from error
        return Network(conflist.name, conflist)

    def _network(self, definition: Definition) -> Network:
        name = f"{definition.namespace}/{definition.name}"
        where = f"NetworkAttachmentDefinition {name}"
        if definition.config.strip():
            conflist = read_conflist(definition.config, where, definition.name, self._version)
            return Network(name, conflist, definition)
        file = self._file(definition.name)
        if file is None:
            raise InvalidConfig(
                f"{where} has no spec.config, and no conflist in {self._sources.conf_dir} is of a network"
                f' "{definition.name}"',
                self._what_conflists(),
            )
        return Network(name, file, definition)

    def _manifest(self, namespace: str, name: str, place: str) -> Definition | None:
        found = [
            (definition, manifest)
            for manifest in manifests_in(self._root + self._sources.nad_dir)
            for definition in manifest.definitions
            if (definition.namespace, definition.name) == (namespace, name)
        ]
        if len(found) > 1:
            raise InvalidConfig(
                f'{place}: "{namespace}/{name}" is defined twice',
                f"take one away of {found[0][1].path} and {found[1][1].path}",
            )
        return found[0][0] if found else None

    def _asked(self, namespace: str, name: str) -> Definition | None:
        if self._sources.kubeconfig is None:
            return None
        return self._cluster(self._sources.kubeconfig).definition(namespace, name)

    def _file(self, name: str) -> Conflist | None:
        files = self._files(self._sources.conf_dir)
        return next((conflist for _, conflist in files if conflist and conflist.name == name), None)

    def _files(self, directory: str) -> list[tuple[str, Conflist | None]]:
        """Each file with what it holds, None where that can't be read: it is not the one that is meant."""
        found: list[tuple[str, Conflist | None]] = []
        for path in files_of(self._root + directory, CONFLISTS):
            try:
                found.append((path, self._read(path)))
            except CniError:
                found.append((path, None))
        return found

    def _read(self, path: str) -> Conflist:
        return read_conflist(TEXTS.of(path, lambda _, text: text), path, "", self._version)

    def _missing(self, what: str, place: str) -> InvalidConfig:
        manifests = manifests_in(self._root + self._sources.nad_dir)
        api = "" if self._sources.kubeconfig is None else "; the API has none of that name"
        details = f"{_what_manifests(self._sources.nad_dir, manifests)}{api}"
        return InvalidConfig(f"{place}: {what}", details)

    def _what_conflists(self) -> str:
        files = self._files(self._sources.conf_dir)
        unread = [path for path, conflist in files if conflist is None]
        return _listed([conflist.name for _, conflist in files if conflist]) + _unread(unread)


def _what_manifests(directory: str, manifests: tuple[Manifest, ...]) -> str:
    names = [f"{each.namespace}/{each.name}" for manifest in manifests for each in manifest.definitions]
    unread = [manifest.problem for manifest in manifests if manifest.problem]
    return f"{directory}: {_listed(names)}{_unread(unread)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"there are {', '.join(map(shown, names[:MOST_NAMED]))}{more}" if names else "there is none"


def _unread(problems: list[str]) -> str:
    return f"; not read: {'; '.join(problems)}" if problems else ""
