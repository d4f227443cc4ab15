"""The agent and the Kubernetes API: pods of `vxlan` join the network that their annotation names."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.netns.agents import Agent, runtime_of, until
from tests.netns.kube_api.certificates import Certificates
from tests.netns.kube_api.documents import NODE, UID
from tests.netns.kube_api.faults import is_silent
from tests.netns.kube_api.server import KubeApi, serving
from tests.netns.site import Attached, Site, one_node
from tests.netns.world import World
from underlay.lab.errors import PluginError
from underlay.lab.pod import Json

NETWORK = "vxlan-cni.travishegner.com/NetworkName"
TRY_AGAIN = 11


@pytest.fixture
def api(certificates: Certificates) -> Iterator[KubeApi]:
    with serving(certificates) as api:
        api.put_pod("shop", "web-0", {NETWORK: "green"})
        yield api


@dataclass(frozen=True)
class Served:
    """A node with two networks, whose calls an agent answers."""

    site: Site
    agent: Agent
    kubeconfig: str

    def nic(self, name: str, uid: str = UID) -> Attached:
        """The NIC of a pod of the namespace "shop", of which only the API says which network it joins."""
        network = self.site.network(
            self.site.blue(), self.site.green(), k8sReadAnnotations=True, k8sConfigPath=self.kubeconfig
        )
        runtime = runtime_of(self.site.world, self.site.nodes[0], self.agent)
        args = {"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": "shop", "K8S_POD_NAME": name, "K8S_POD_UID": uid}
        named = ";".join(f"{key}={value}" for key, value in args.items())
        return replace(self.site.nic(name, network=network), runtime=runtime, args=named)

    def plain(self, name: str) -> Attached:
        """The same, with a process for each call."""
        return replace(self.nic(name), runtime=self.site.runtime(0))

    def loads(self, library: str) -> bool:
        """Whether the agent has loaded a library."""
        return library in Path(f"/proc/{self.agent.process.pid}/maps").read_text()


@pytest.fixture
def there(world: World, api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("NODE_NAME", NODE)
    with closing(Agent(world.state)) as agent:
        agent.start()
        yield Served(one_node(world), agent, api.kubeconfig(tmp_path / "kubeconfig"))


def added(nic: Attached) -> Json:
    result: Json = json.loads(nic.call("ADD"))
    return result


def network(result: Json) -> str:
    """By its addresses."""
    return {"10.66": "blue", "10.67": "green"}[result["ips"][0]["address"][:5]]


def test_pods_of_the_node_need_no_request(there: Served, api: KubeApi) -> None:
    api.put_pod("shop", "web-1", {NETWORK: "green"}, uid="1")
    assert network(added(there.nic("web-0"))) == "green"
    until(lambda: api.watches == 1)
    api.seen.clear()

    assert network(added(there.nic("web-1", "1"))) == "green"

    assert api.seen == []


def test_a_process_asks_once_for_each_pod(there: Served, certificates: Certificates, tmp_path: Path) -> None:
    with there.site.nodes[0].netns.entered(), serving(certificates) as api:  # where a process would look
        api.put_pod("shop", "web-0", {NETWORK: "green"})
        plain = replace(there, kubeconfig=api.kubeconfig(tmp_path / "kubeconfig")).plain("web-0")
        assert network(added(plain)) == "green"

    assert api.asked() == ["GET /api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Dweb-0"]


def test_with_the_api_gone_known_pods_start_and_others_are_told_since_when(
    there: Served, api: KubeApi
) -> None:
    api.put_pod("shop", "web-1", {NETWORK: "green"}, uid="1")
    added(there.nic("web-0"))
    until(lambda: api.watches == 1)
    api.stop()
    until(lambda: len(there.agent.events("watch-lost")) == 1)

    assert network(added(there.nic("web-1", "1"))) == "green"
    since = f"the pods of node {NODE} have not been watched since 20"
    with pytest.raises(PluginError, match=f"reading pod shop/web-2: .*{api.server}: .*{since}") as refused:
        added(there.nic("web-2", "2"))
    assert refused.value.code == TRY_AGAIN

    api.put_pod("shop", "web-2", {NETWORK: "green"}, uid="2")
    api.start()
    until(lambda: len(there.agent.events("watch-back")) == 1)
    assert network(added(there.nic("web-2", "2"))) == "green"


def test_a_successor_of_a_known_pod_has_its_own_network(there: Served, api: KubeApi) -> None:
    added(there.nic("web-0"))
    until(lambda: api.watches == 1)
    api.put_pod("shop", "web-0", {NETWORK: "blue"}, uid="2")
    there.nic("web-0").call("DEL")

    assert network(added(there.nic("web-0", "2"))) == "blue"


def test_a_kubeconfig_that_cannot_be_used_is_an_error_of_the_call(there: Served) -> None:
    missing = replace(there, kubeconfig="/nowhere/kubeconfig")
    with pytest.raises(PluginError, match='kubeconfig "/nowhere/kubeconfig" cannot be used') as refused:
        added(missing.nic("web-0"))
    assert refused.value.code == 7

    assert network(added(there.nic("web-0"))) == "green"


@pytest.mark.parametrize("state", ["at rest", "silent", "gone"])
def test_an_agent_ends_whatever_the_api_does(there: Served, api: KubeApi, state: str) -> None:
    if state == "silent":
        api.watch_faults = [is_silent(api)] * 2
    added(there.nic("web-0"))
    until(lambda: api.asked("watch=1"))
    if state == "gone":
        api.stop()

    assert there.agent.end() == 0
    assert there.agent.events("agent-stopped")[0]["unfinished"] == 0


def test_an_agent_that_asks_no_api_loads_nothing_for_it(there: Served) -> None:
    added(replace(there.nic("web-0"), network=there.site.network()))
    assert not there.loads("msgspec")

    added(there.nic("web-0"))

    assert there.loads("msgspec")


@pytest.mark.parametrize(
    ("variable", "name"), [("node-of-the-environment", "node-of-the-environment"), ("", "")]
)
def test_the_name_of_the_node_is_given_or_that_of_the_host(
    world: World, api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    monkeypatch.setenv("NODE_NAME", variable)
    with closing(Agent(world.state)) as agent:
        agent.start()
        added(Served(one_node(world), agent, api.kubeconfig(tmp_path / "kubeconfig")).nic("web-0"))
        until(lambda: api.watches == 1)

    expected = name or socket.gethostname().lower()
    assert len(api.asked("watch=1", f"spec.nodeName%3D{expected}&")) == 1
