"""`underlay` with a Kubernetes API: annotations and definitions from there, and the status written back.

An API server of the tests is asked, with the rights that the documentation gives; by a process for each
call, and by an agent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agents import until
from tests.netns.kube_api.certificates import Certificates
from tests.netns.kube_api.documents import NODE
from tests.netns.kube_api.faults import answers
from tests.netns.kube_api.rights import Right, documented
from tests.netns.kube_api.server import USER
from tests.netns.members import KubePod, Member, member
from tests.netns.nics import links
from tests.netns.world import Footprint, World
from underlay.lab.errors import PluginError
from underlay.networks.status import NETWORK_STATUS

TRY_AGAIN = 11


@pytest.fixture(autouse=True)
def _named_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name that the agent reads, which the fixture of the world starts after this."""
    monkeypatch.setenv("NODE_NAME", NODE)


@pytest.fixture
def here(world: World, certificates: Certificates, tmp_path: Path, way: str) -> Iterator[Member]:
    with member(world, certificates, tmp_path, way) as here:
        yield here


def test_annotations_come_from_the_api_where_the_runtime_gives_none(here: Member) -> None:
    pod = here.pod(networks="lan-b")

    here.add(pod)

    assert links(pod) == ["eth0", "net1", "veth0"]
    assert here.networks(pod) == {"eth0": "kube-system/lan-a", "net1": "default/lan-b"}


def test_no_question_is_asked_for_what_the_runtime_gives_and_the_node_has(here: Member) -> None:
    pod = here.pod()

    here.front.add(pod, "lan-b")

    assert links(pod) == ["eth0", "net1", "veth0"]
    assert here.networks(pod) == {"eth0": "kube-system/lan-a", "net1": "default/lan-b"}
    assert here.api.asked() == ["PATCH /api/v1/namespaces/default/pods/pod/status?fieldManager=underlay"]


def test_definitions_come_from_the_api_behind_those_of_the_directory(here: Member) -> None:
    here.define("shop", "web")
    here.api.put_nad("default", "lan-b", "{")
    pod = here.pod(networks="shop/web, lan-b")

    here.add(pod)

    assert links(pod) == ["eth0", "net1", "net2", "veth0"]
    assert here.networks(pod) == {
        "eth0": "kube-system/lan-a",
        "net1": "shop/web",
        "net2": "default/lan-b",
    }


def test_a_definition_of_the_api_may_stand_for_a_conflist_of_the_node(here: Member) -> None:
    conflist = {"name": "filed", **here.front.macvlan(1, veth=False)}
    (here.front.conflists / "20-filed.conflist").write_text(json.dumps(conflist))
    here.api.put_nad("default", "filed", None)
    pod = here.pod(networks="filed")

    here.add(pod)

    assert here.networks(pod) == {"eth0": "kube-system/lan-a", "net1": "default/filed"}


def test_a_default_network_that_is_a_file_needs_no_api(here: Member) -> None:
    conflist = {"name": "filed", **here.front.macvlan(0)}
    (here.front.conflists / "20-filed.conflist").write_text(json.dumps(conflist))
    here.front.keys["defaultNetwork"] = "filed"
    pod = here.pod()
    here.api.stop()

    here.front.add(pod)

    assert links(pod) == ["eth0", "veth0"]


def test_the_pod_is_told_what_it_has_got(here: Member) -> None:
    pod = here.pod(networks="lan-b@lan0")

    here.add(pod)

    first, second = here.status(pod)
    shown = {link["ifname"]: link for link in json.loads(pod.netns.run("ip", "-j", "link"))}
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


@pytest.mark.parametrize("given", ["by the runtime", "by the API"])
def test_a_static_pod_has_its_networks_and_is_told(here: Member, given: str) -> None:
    """The API shows a mirror of it, with a uid of its own."""
    uid = "54b8dd31c5a0ab5b64cb9ac7f6e4c2f1"
    pod = KubePod(here.pod(networks="lan-b").netns, "pod", uid)
    here.api.annotate(("default", "pod"), {"kubernetes.io/config.mirror": uid})

    if given == "by the runtime":
        here.front.add(pod, "lan-b")
    else:
        here.add(pod)

    assert here.networks(pod) == {"eth0": "kube-system/lan-a", "net1": "default/lan-b"}


def test_a_pod_that_the_api_does_not_know_has_to_come_again(here: Member) -> None:
    pod = here.pod()
    here.api.delete_pod("default", "pod")
    before = Footprint(here.front.world, here.front.node.netns, pod.netns)

    with pytest.raises(PluginError, match=r"reading pod default/pod: .*there is no such pod") as refused:
        here.add(pod)

    assert (refused.value.code, before.changes()) == (TRY_AGAIN, [])


def test_a_definition_that_nobody_has_is_named(here: Member) -> None:
    with pytest.raises(PluginError) as refused:
        here.add(here.pod(networks="shop/nowhere"))

    assert refused.value.code == 7
    assert refused.value.msg == (
        'k8s.v1.cni.cncf.io/networks[0]: there is no NetworkAttachmentDefinition "shop/nowhere"'
    )
    assert refused.value.details.endswith("; the API has none of that name")


def test_with_the_api_gone_add_says_so_and_del_goes_by_its_record(here: Member) -> None:
    pod, other = here.pod(), here.pod("other", uid="2")
    before = Footprint(here.front.world, here.front.node.netns, other.netns)
    here.front.add(pod, "lan-b")
    here.api.stop()

    with pytest.raises(PluginError, match=f"shop/web: Kubernetes API at {here.api.server}: ") as refused:
        here.front.add(other, "shop/web")
    here.front.delete(other)  # without a record, and without an answer
    here.front.delete(pod)

    assert refused.value.code == TRY_AGAIN
    assert (before.changes(), here.front.leases()) == ([], [])


@pytest.mark.parametrize(
    ("right", "rule"),
    [
        (Right("list", "", "pods"), 'apiGroups [""], resources ["pods"], verbs ["list"]'),
        (
            Right("get", "k8s.cni.cncf.io", "network-attachment-definitions"),
            'apiGroups ["k8s.cni.cncf.io"], resources ["network-attachment-definitions"], verbs ["get"]',
        ),
    ],
    ids=["pods", "definitions"],
)
def test_a_right_that_is_missing_is_named(here: Member, right: Right, rule: str) -> None:
    here.api.rights[USER] = frozenset(documented() - {right})

    with pytest.raises(PluginError, match="403 Forbidden") as refused:
        here.add(here.pod(networks="shop/nowhere"))

    assert (refused.value.code, rule in refused.value.details) == (TRY_AGAIN, True)


def test_a_status_that_can_not_be_written_fails_no_add_and_is_told(here: Member, way: str) -> None:
    pod = here.pod()
    here.api.faults = [answers(403, "{}")]

    here.front.add(pod, "lan-b")

    assert links(pod) == ["eth0", "net1", "veth0"]
    if way == "agent":  # which tries again
        assert here.networks(pod) == {"eth0": "kube-system/lan-a", "net1": "default/lan-b"}
        return
    log = Path(here.front.world.directory, "underlay.log")
    until(lambda: "annotation-lost" in log.read_text())
    (lost,) = (each for each in map(json.loads, log.read_text().splitlines()) if "annotations" in each)
    assert (lost["pod"], lost["annotations"]) == ("default/pod", [NETWORK_STATUS])
    assert "403 Forbidden" in lost["msg"]


def test_a_kubeconfig_that_is_of_no_use_keeps_no_pod_that_needs_none(here: Member) -> None:
    pod = here.pod()
    here.front.keys["kubeconfig"] = "/nowhere/kubeconfig"

    here.front.add(pod, "lan-b")

    assert links(pod) == ["eth0", "net1", "veth0"]


def test_each_way_asks_once_for_each_thing_and_needs_its_rights_alone(here: Member, way: str) -> None:
    here.define("shop", "web")
    pod = here.pod(networks="shop/web")

    here.add(pod)

    assert here.networks(pod) == {"eth0": "kube-system/lan-a", "net1": "shop/web"}
    verbs = {f"{right.verb} {right.resource}" for right in here.api.used}
    pods, definitions = "pods", "network-attachment-definitions"
    if way == "agent":
        assert verbs <= {f"{verb} {of}" for verb in ("list", "watch") for of in (pods, definitions)} | {
            "patch pods/status"
        }
        return
    assert verbs == {f"list {pods}", f"get {definitions}", "patch pods/status"}
    assert here.api.asked() == [
        "GET /api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Dpod",
        f"GET /apis/k8s.cni.cncf.io/v1/namespaces/shop/{definitions}/web",
        "PATCH /api/v1/namespaces/default/pods/pod/status?fieldManager=underlay",
    ]
