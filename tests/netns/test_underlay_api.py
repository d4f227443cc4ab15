"""`underlay` with a Kubernetes API: annotations and definitions from there, and the status written back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from tests.netns.nics import Front, links
from tests.netns.world import Footprint, Inside, World
from underlay.cni.cluster import Cluster, Definition, PodObject
from underlay.cni.errors import CniError, TryAgainLater
from underlay.lab.pod import Pod
from underlay.networks.annotations import NETWORKS

KUBECONFIG = "/etc/kubernetes/kubeconfig"


@dataclass
class Api:
    """What a test lets the API know, and what it was told; no connection where it is `gone`."""

    annotations: dict[str, str] = field(default_factory=dict)
    definitions: list[Definition] = field(default_factory=list)
    told: list[tuple[str, str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    gone: bool = False

    def pod(self, namespace: str, name: str, uid: str = "") -> PodObject:
        self._ask(f"pod {namespace}/{name} {uid}".strip())
        return PodObject(namespace, name, uid, self.annotations)

    def definition(self, namespace: str, name: str) -> Definition | None:
        self._ask(f"definition {namespace}/{name}")
        known = {(each.namespace, each.name): each for each in self.definitions}
        return known.get((namespace, name))

    def annotate(self, pod: PodObject, key: str, value: str) -> None:
        self.told.append((f"{pod.namespace}/{pod.name} {pod.uid}".strip(), key, value))

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.gone:
            raise TryAgainLater(f"the API does not answer: {what}")


class Connected(Inside):
    """A node with that API behind one kubeconfig."""

    def __init__(self, front: Front, api: Api) -> None:
        super().__init__(front.node.netns, front.world.state)
        self.api = api

    def cluster(self, kubeconfig: str) -> Cluster:
        assert kubeconfig == KUBECONFIG
        return self.api


@pytest.fixture
def front(world: World) -> Front:
    return Front(world, {"kubeconfig": KUBECONFIG})


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def node(front: Front, api: Api) -> Iterator[Connected]:
    with closing(Connected(front, api)) as node:
        yield node


@pytest.fixture
def pod(world: World) -> Pod:
    return world.pod()


def test_annotations_come_from_the_api_where_the_runtime_gives_none(
    front: Front, node: Connected, api: Api, pod: Pod
) -> None:
    api.annotations = {NETWORKS: "lan-b"}

    front.call_in(node, "ADD", pod, front.config(None))

    assert links(pod) == ["eth0", "net1", "veth0"]
    assert api.asked == ["pod default/pod"]


def test_no_request_is_made_for_annotations_that_the_runtime_gives(
    front: Front, node: Connected, api: Api, pod: Pod
) -> None:
    front.run("ADD", pod, node, "lan-b")

    assert links(pod) == ["eth0", "net1", "veth0"]
    assert api.asked == []


def test_definitions_come_from_the_api_behind_those_of_the_directory(
    front: Front, node: Connected, api: Api, pod: Pod
) -> None:
    chain = json.dumps(front.macvlan(1, veth=False))
    api.definitions = [Definition("shop", "web", chain), Definition("default", "lan-b", "{")]

    front.run("ADD", pod, node, "shop/web, lan-b")

    assert links(pod) == ["eth0", "net1", "net2", "veth0"]
    assert api.asked == ["definition shop/web"]


def test_the_pod_is_told_what_it_has_got(front: Front, node: Connected, api: Api, pod: Pod) -> None:
    front.run("ADD", pod, node, "lan-b@lan0")

    ((whose, key, value),) = api.told
    first, second = json.loads(value)
    shown = {link["ifname"]: link for link in json.loads(pod.netns.run("ip", "-j", "link"))}
    assert (whose, key) == ("default/pod", "k8s.v1.cni.cncf.io/network-status")
    assert first == {
        "name": "kube-system/lan-a",
        "interface": "eth0",
        "ips": ["10.6.0.100", "fd00:6::100"],
        "mac": shown["eth0"]["address"],
        "default": True,
        "dns": {},
        "gateway": ["10.6.0.1", "fd00:6::1"],
    }
    assert (second["name"], second["interface"], "default" in second) == ("default/lan-b", "lan0", False)
    assert second["mac"] == shown["lan0"]["address"]


def test_with_the_api_gone_add_says_so_and_del_goes_by_its_record(
    front: Front, node: Connected, api: Api, pod: Pod
) -> None:
    before = Footprint(front.world, front.node.netns, pod.netns)
    api.gone = True
    with pytest.raises(CniError, match="the API does not answer: definition shop/web") as refused:
        front.run("ADD", pod, node, "shop/web")
    assert (refused.value.code, before.changes()) == (11, [])

    front.run("ADD", pod, node, "lan-b")
    front.run("DEL", pod, node)
    front.call_in(node, "DEL", pod, front.config(None))  # without record, and without an answer

    assert (before.changes(), front.leases()) == ([], [])


def test_an_api_that_can_not_be_told_is_no_reason_to_fail(front: Front, pod: Pod) -> None:
    """Here the node knows no API at all."""
    with closing(Inside(front.node.netns, front.world.state)) as node:
        result = front.run("ADD", pod, node, "lan-b")

    assert result
    assert links(pod) == ["eth0", "net1", "veth0"]
