"""Pods that a person starts on the lab that is up, to try networks: `underlay lab run`, `exec` and `rm`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from underlay.lab import routing, runtimes
from underlay.lab.cluster import Cluster
from underlay.lab.definitions import DEFAULT_NETWORK, NETWORKS
from underlay.lab.errors import LabError
from underlay.lab.namespace import Netns
from underlay.lab.runtimes import PodRuntime
from underlay.lab.setup import kept

NAME = re.compile(
    r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?"
)  # as Kubernetes has them, and short enough for a file
SHORT = {"networks": NETWORKS, "default-network": DEFAULT_NETWORK}


@dataclass(frozen=True)
class Run:
    """A pod by its name, its node's, and its annotations."""

    name: str
    node: str
    annotations: Mapping[str, str]


def annotations_of(words: Iterable[str]) -> dict[str, str]:
    """Annotations by their whole keys, from words such as `networks=lan-a-router,blue`."""
    return dict(_annotation(word) for word in words)


def _annotation(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not value:
        raise LabError(f'--annotate "{word}": KEY=VALUE is needed, such as networks=lan-a-router')
    if "/" not in key and key not in SHORT:
        raise LabError(
            f'--annotate "{word}": {key} is none of {", ".join(SHORT)} and whole keys ({NETWORKS})'
        )
    return SHORT.get(key, key), value


class Runs:
    """Those of the lab that is up; LabError when none is."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.setup = kept(cluster)

    def start(self, run: Run) -> Netns:
        """The namespace of the pod, which is there then. What is half made is taken back."""
        self._refuse(run)
        self._pods(run.node).run(run.name, run.annotations)
        self._keep(run)
        self._spread()
        return self.cluster.lab.netns(run.name)

    def remove(self, name: str) -> None:
        run = self._find(name)
        self._pods(run.node).remove(name)
        os.unlink(self._path(name))
        routing.withdraw(self.cluster)
        self._spread()

    def all(self) -> list[Run]:
        """By name."""
        names = sorted(os.listdir(self._directory)) if os.path.isdir(self._directory) else []
        return [self._find(name) for name in names]

    def netns(self) -> list[Netns]:
        """Their namespaces."""
        return [self.cluster.lab.netns(run.name) for run in self.all()]

    def _refuse(self, run: Run) -> None:
        """Raises LabError for a name that can't be, or is taken."""
        if not NAME.fullmatch(run.name):
            raise LabError(f'"{run.name}" is no name of a pod: up to 30 of a-z, 0-9 and - are')
        if os.path.lexists(self.cluster.lab.netns(run.name).path):
            raise LabError(f"there is a pod or machine {run.name} already: `underlay lab status` lists them")

    def _pods(self, name: str) -> PodRuntime:
        nodes = {node.netns.name.removeprefix(self.cluster.lab.prefix): node for node in self.cluster.nodes}
        if name not in nodes:
            raise LabError(f"there is no node {name}: there are {', '.join(nodes)}")
        return runtimes.pods(self.cluster, self.setup, nodes[name])

    def _spread(self) -> None:
        """Gives the others routes to what the nodes claim, as a routing daemon does."""
        for node in self.cluster.nodes:
            routing.spread(self.cluster, node)

    def _keep(self, run: Run) -> None:
        os.makedirs(self._directory, exist_ok=True)
        with open(self._path(run.name), "w", encoding="utf-8") as file:
            json.dump(asdict(run), file)

    def _find(self, name: str) -> Run:
        try:
            with open(self._path(name), encoding="utf-8") as file:
                return Run(**json.load(file))
        except FileNotFoundError:
            raise LabError(f"`underlay lab run` has started no pod {name}") from None

    @property
    def _directory(self) -> str:
        return self.cluster.path("pods")

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)
