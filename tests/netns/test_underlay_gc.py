"""GC and STATUS reach every network, each with what is its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.netns.command import underlay
from tests.netns.nics import VALID, Front, links
from tests.netns.recorder import Recorder
from tests.netns.world import Footprint, Inside, World
from underlay.lab.errors import PluginError
from underlay.lab.namespace import delete
from underlay.lab.pod import Json, Pod


@pytest.fixture
def front(world: World) -> Front:
    return Front(world)


@pytest.fixture
def recorder(front: Front) -> Recorder:
    return front.recorder()


@pytest.fixture
def pods(front: Front, recorder: Recorder) -> list[Pod]:
    """Three pods: one with the network told, two with that and further, three with none."""
    recorder.forget()
    for name in ("told", "further"):
        front.define(name, told(name))
    pods = [front.world.pod(name) for name in ("one", "two", "three")]
    for pod, networks in zip(pods, ("told", "told, further", ""), strict=True):
        front.add(pod, networks)
    return pods


def told(name: str, version: str = "1.1.0") -> Json:
    return {"cniVersion": version, "name": name, "plugins": [{"type": "recorder"}]}


def collected(recorder: Recorder) -> dict[str, list[tuple[str, str]]]:
    """By network, the attachments that GC was told are valid."""
    calls = [call for call in recorder.calls() if call.verb == "GC"]
    assert all(call.stdin["cni.dev/attachments"] == call.stdin[VALID] for call in calls)
    return {
        call.stdin["name"]: [(each["containerID"], each["ifname"]) for each in call.stdin[VALID]]
        for call in calls
    }


def attached(pods: Sequence[Pod]) -> list[str]:
    return [pod.name for pod in pods if links(pod)]


def test_each_network_is_told_its_own_valid_attachments(
    front: Front, recorder: Recorder, pods: list[Pod]
) -> None:
    one, two, three = pods

    front.collect(one, two, three)

    assert collected(recorder) == {
        "told": [
            (each.container_id, "net1") for each in sorted((one, two), key=lambda pod: pod.container_id)
        ],
        "further": [(two.container_id, "net2")],
    }


def test_what_is_not_valid_goes_from_every_network_it_was_in(
    front: Front, recorder: Recorder, pods: list[Pod]
) -> None:
    one, two, three = pods

    front.collect(one)

    assert attached([one]) == ["one"]
    assert [links(pod) for pod in (two, three)] == [[], []]
    assert recorder.holders() == {(one.container_id, "net1")}
    assert collected(recorder) == {"told": [(one.container_id, "net1")], "further": []}
    front.check(one)


def test_after_gc_of_an_empty_list_nothing_is_left(front: Front, recorder: Recorder) -> None:
    before = Footprint(front.world, front.node.netns)
    pod = front.world.pod()
    front.define("told", told("told"))
    front.add(pod, "told, lan-b")

    front.collect()

    assert before.changes() == []
    assert recorder.holders() == set()


def test_without_a_list_only_the_pods_without_namespace_go(
    front: Front, recorder: Recorder, pods: list[Pod]
) -> None:
    one, two, three = pods
    delete(two.netns)

    front.collect(unrelated="key")

    assert attached([one, three]) == ["one", "three"]
    assert recorder.holders() == {(one.container_id, "net1")}
    assert all(VALID not in call.stdin for call in recorder.calls() if call.verb == "GC")


def test_the_node_finds_the_pods_whose_del_nobody_calls(front: Front, recorder: Recorder) -> None:
    before, leased = Footprint(front.world, front.node.netns), front.leases()
    pods = [front.world.pod(name) for name in ("one", "two")]
    front.define("told", told("told"))
    for pod in pods:
        front.add(pod, "told, lan-b")
    delete(pods[0].netns)

    cleared = underlay("gc", "--state", front.world.state, node=front.node.netns)

    assert (cleared.returncode, cleared.stderr) == (0, "")
    one = pods[0].container_id
    assert cleared.stdout.splitlines()[0] == (
        f"removed: eth0, net1, net2 of container {one}, in pods (underlay): its network namespace is gone"
    )
    assert recorder.holders() == {(pods[1].container_id, "net1")}
    front.check(pods[1])
    front.delete(pods[1])
    assert (before.changes(), front.leases()) == ([], leased)


def test_a_pod_whose_nics_others_have_made_keeps_the_plugins_installed(front: Front) -> None:
    front.define("lan-a", front.macvlan(0, veth=False), namespace="kube-system")
    pod = front.world.pod()
    front.add(pod)
    where = ("--state", front.world.state, "--bin-dir", str(front.conflists))

    refused = underlay("uninstall", *where, node=front.node.netns)

    assert refused.returncode == 3
    assert f"eth0 of container {pod.container_id}, in pods" in refused.stdout + refused.stderr
    front.delete(pod)
    assert underlay("uninstall", *where, "--dry-run", node=front.node.netns).returncode == 0


def test_attachments_of_pods_from_before_are_valid_in_every_network(
    front: Front, recorder: Recorder, pods: list[Pod]
) -> None:
    older = Pod(front.node.netns, "older")

    front.collect(*pods, older)

    assert [each[-1] for each in collected(recorder).values()] == [(older.container_id, "eth0")] * 2


def test_a_network_that_can_not_be_taken_off_keeps_its_addresses_and_not_the_others(
    front: Front, recorder: Recorder, pods: list[Pod]
) -> None:
    one, two, _ = pods
    recorder.says("DEL", "net1", {"code": 5, "msg": "disk full"}, code=1)

    with pytest.raises(PluginError, match=r"net1 \(told\)|net1 \(default/told\): recorder: disk full"):
        front.collect(one)

    assert recorder.holders() == {(one.container_id, "net1"), (two.container_id, "net1")}
    assert set(collected(recorder)["told"]) == {(one.container_id, "net1"), (two.container_id, "net1")}
    recorder.is_itself()
    front.collect(one)
    assert recorder.holders() == {(one.container_id, "net1")}


def test_chains_of_older_versions_are_not_asked_and_other_networks_left_alone(
    front: Front, recorder: Recorder
) -> None:
    front.define("old", told("old", "1.0.0"))
    pod = front.world.pod()
    front.add(pod, "old")

    front.call("GC", None, cniVersion="1.1.0", name="another", **{VALID: []})
    assert attached([pod]) == ["pod"]
    front.collect(pod)

    assert collected(recorder) == {}


def test_a_record_that_can_not_be_read_is_collected_by_its_name(front: Front) -> None:
    pod, other = front.world.pod(), front.world.pod("other")
    front.add(pod, "lan-b")
    front.add(other)
    (record,) = Path(front.world.state).rglob(f"underlay:{pod.container_id}/*.json")
    record.write_text("{")

    front.collect(other)

    assert not record.exists()
    assert f"veth{pod.container_id[:11]}" not in front.node.netns.run("ip", "-o", "link")
    front.check(other)


def test_while_a_living_pods_record_can_not_be_read_no_network_gives_its_addresses_away(
    front: Front, recorder: Recorder, pods: list[Pod]
) -> None:
    (record,) = Path(front.world.state).rglob(f"underlay:{pods[0].container_id}/*.json")
    record.write_text('{"format": 99}')

    with pytest.raises(PluginError, match=f"record {pods[0].container_id}/.* can't be read") as refused:
        front.collect(*pods[:2])

    assert refused.value.details == "recreate that pod; its record may be of another version of underlay"
    assert collected(recorder) == {}
    assert attached(pods) == ["one", "two"]
    assert record.exists()


# STATUS


def test_status_is_well_where_every_network_can_serve(front: Front, recorder: Recorder) -> None:
    front.define("told", told("told"))
    front.keys |= {"networks": ["default/told"]}

    front.status()

    assert recorder.verbs() == [("STATUS", "")]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"code": 50, "msg": "no room"}, 50),
        ({"code": 51, "msg": "half the LAN is down"}, 51),
        ({"code": 999, "msg": "it broke"}, 50),
    ],
)
def test_status_says_which_network_of_every_pod_can_not_serve_and_why(
    front: Front, recorder: Recorder, answer: Json, code: int
) -> None:
    front.define("told", told("told"))
    front.keys |= {"networks": ["default/told"]}
    recorder.says("STATUS", "", answer, code=1)

    with pytest.raises(PluginError, match=f"default/told: recorder: {answer['msg']}") as refused:
        front.status()

    assert refused.value.code == code


def test_status_names_every_network_that_is_missing(front: Front) -> None:
    front.keys = {"defaultNetwork": "nowhere", "networks": ["default/absent"]}
    front.define("absent", {"type": "no-such-plugin", "name": "absent"})

    with pytest.raises(PluginError, match='"kube-system/nowhere"') as refused:
        front.status()

    assert refused.value.code == 50
    assert 'default/absent: "no-such-plugin" is an executable in none of' in refused.value.details


def test_status_looks_at_the_networks_that_pods_are_in(front: Front, recorder: Recorder) -> None:
    front.define("told", told("told"))
    front.add(front.world.pod(), "told")
    recorder.says("STATUS", "", {"code": 50, "msg": "no room"}, code=1)

    with pytest.raises(PluginError, match="default/told: recorder: no room") as refused:
        front.status()

    assert refused.value.code == 51


def test_status_does_not_wait_for_a_call_that_runs(front: Front, recorder: Recorder) -> None:
    pod = front.world.pod()
    front.define("told", told("told"))
    front.add(pod, "told")

    with (
        closing(Inside(front.node.netns, front.world.state)) as node,
        node.records.delegates(pod.container_id),
    ):
        front.status()

    assert recorder.verbs()[-1] == ("STATUS", "")
