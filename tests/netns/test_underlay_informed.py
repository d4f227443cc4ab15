"""`underlay` in an agent that keeps a copy of the cluster: what an ADD asks, and what faults do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.agents import Agent, runtime_of, until
from tests.netns.kube_api.certificates import Certificates
from tests.netns.kube_api.documents import NODE
from tests.netns.kube_api.rights import documented
from tests.netns.kube_api.server import USER
from tests.netns.members import KubePod, Member, member
from tests.netns.nics import links
from tests.netns.world import World
from underlay.lab.errors import PluginError
from underlay.networks.status import NETWORK_STATUS

TRY_AGAIN = 11
GOT = {"eth0": "kube-system/pods", "net1": "shop/web"}


@dataclass(frozen=True)
class Informed(Member):
    """A member whose agent has heard of `shop/web` and of the pods that were there before it."""

    agent: Agent
    token: Path

    def first_call(self) -> None:
        """With which the agent begins to watch."""
        self.add(self.pod("first", "shop/web", uid="1"))
        until(lambda: self.api.watches == 2)
        self.api.seen.clear()


@pytest.fixture
def here(
    world: World, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Informed]:
    monkeypatch.setenv("NODE_NAME", NODE)
    with (
        closing(Agent(world.state)) as agent,
        member(world, certificates, tmp_path, "agent") as found,
    ):
        agent.start()
        token = tmp_path / "token"
        token.write_text("t0ken")
        found.front.runtime = runtime_of(world, found.front.node, agent)
        found.front.keys["kubeconfig"] = found.api.kubeconfig(
            tmp_path / "kubeconfig", {"tokenFile": str(token)}
        )
        found.front.keys["defaultNetwork"] = "pods"
        here = Informed(found.front, found.api, agent, token)
        here.define("kube-system", "pods")
        here.define("shop", "web")
        yield here


def test_an_add_asks_for_nothing(here: Informed) -> None:
    pod = here.pod(networks="shop/web")
    here.first_call()

    here.add(pod)

    assert here.networks(pod) == GOT
    assert [line for line in here.api.asked() if "/pods/first/" not in line] == [
        "PATCH /api/v1/namespaces/default/pods/pod/status?fieldManager=underlay"
    ]


def test_it_needs_the_rights_of_the_documentation_and_no_others(here: Informed) -> None:
    here.first_call()
    with pytest.raises(PluginError, match="shop/nowhere"):
        here.add(here.pod("lost", "shop/nowhere", uid="2"))
    pod = here.pod(networks="shop/web")

    here.add(pod)

    assert here.networks(pod) == GOT
    assert here.api.used == documented()
    assert here.agent.events("watch-lost") == here.agent.events("annotation-late") == []


def dropped(here: Informed) -> None:
    here.api.drop_watches()


def expired(here: Informed) -> None:
    """What was changed since is not known any more: 410 Gone."""
    with here.api.changed:
        here.define("shop", "late")
        here.api.compact()
        here.api.end_watches()


def rotated(here: Informed) -> None:
    """The old token is refused with 401 from now on."""
    here.api.users = {"r0tated": USER}
    here.token.write_text("r0tated")
    here.api.drop_watches()


def away(here: Informed) -> None:
    here.api.stop()
    until(lambda: len(here.agent.events("watch-lost")) == 2)
    here.api.start()


@pytest.mark.parametrize("fault", [dropped, expired, rotated, away])
def test_after_a_fault_the_agent_hears_of_pods_and_definitions_again(
    here: Informed, fault: Callable[[Informed], None]
) -> None:
    here.first_call()
    fault(here)
    here.define("shop", "late")
    pod = here.pod(networks="shop/late")
    until(lambda: here.api.asked("watch=1", "network-attachment") and here.api.asked("watch=1", "/pods"))
    until(lambda: here.api.watches == 2)

    here.add(pod)

    assert here.networks(pod) == {"eth0": "kube-system/pods", "net1": "shop/late"}


def test_with_the_api_gone_what_is_known_goes_on_and_the_rest_says_since_when(here: Informed) -> None:
    known, other = here.pod(networks="shop/web"), here.pod("other", "shop/nowhere", uid="2")
    unknown = KubePod(here.front.world.netns("unknown"), "unknown", "3")
    here.first_call()
    here.api.stop()
    until(lambda: len(here.agent.events("watch-lost")) == 2)

    here.add(known)
    here.front.status()
    here.front.collect(known)
    here.front.check(known)

    assert links(known) == ["eth0", "net1"]
    since = "have not been watched since 20"
    with pytest.raises(
        PluginError, match=f"shop/nowhere: .*network-attachment-definitions {since}"
    ) as named:
        here.add(other)
    with pytest.raises(PluginError, match=f"default/unknown: .*the pods of node {NODE} {since}") as asked:
        here.add(unknown)
    assert (named.value.code, asked.value.code) == (TRY_AGAIN, TRY_AGAIN)


def test_what_could_not_be_written_is_written_when_the_api_is_back(here: Informed) -> None:
    pod = here.pod(networks="shop/web")
    here.first_call()
    here.api.stop()
    here.add(pod)
    until(lambda: here.agent.events("annotation-late"))
    assert NETWORK_STATUS not in here.api.annotations("default", "pod")

    here.api.start()

    assert here.networks(pod) == GOT


def test_a_definition_that_is_changed_counts_from_the_next_add_on(here: Informed) -> None:
    pod = here.pod(networks="shop/web")
    here.first_call()
    here.api.put_nad("shop", "web", '{"cniVersion": "1.0.0", "type": "nobody-has-this"}')
    until(lambda: _refusal(here, pod))

    here.define("shop", "web")
    until(lambda: not _refusal(here, pod))

    assert here.networks(pod) == GOT
    assert not here.api.asked("GET")


def _refusal(here: Informed, pod: KubePod) -> str:
    """Of an ADD; "" for none."""
    try:
        here.add(pod)
    except PluginError as error:
        return error.msg
    return ""
