"""A copy of what the Kubernetes API has: kept true by a watch, whatever becomes of the watch."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from tests.netns.agents import until
from tests.netns.kube_api.certificates import Certificates
from tests.netns.kube_api.documents import NODE, UID, nad, pod, status
from tests.netns.kube_api.faults import Fault, answers, breaks_off, breaks_off_after, is_silent, refuses
from tests.netns.kube_api.rights import documented
from tests.netns.kube_api.server import KubeApi, serving
from underlay.cni.cluster import PodObject
from underlay.cni.errors import InvalidConfig, TryAgainLater
from underlay.kube.informer import Informer
from underlay.log import Log, LogOptions

CONFIG = '{"type": "macvlan"}'
STATUS = "k8s.v1.cni.cncf.io/network-status"
POD = PodObject("shop", "web-0", UID, {"a": "1"})


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr("underlay.kube.backoff.FIRST", 0.05)


@pytest.fixture
def api(certificates: Certificates) -> Iterator[KubeApi]:
    with serving(certificates) as api:
        api.put_pod("shop", "web-0", {"a": "1"})
        api.put_pod("shop", "elsewhere", {"a": "1"}, node="node-b")
        api.put_nad("shop", "lan", CONFIG)
        yield api


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("t0ken")
    return path


@pytest.fixture
def kubeconfig(api: KubeApi, tmp_path: Path, token: Path) -> str:
    return api.kubeconfig(tmp_path / "kubeconfig", {"tokenFile": str(token)})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def informer(api: KubeApi, kubeconfig: str, log: Path) -> Iterator[Informer]:
    with closing(informed(kubeconfig, log)) as informer:
        until(lambda: api.watches == 2)
        api.seen.clear()
        yield informer


def informed(kubeconfig: str, log: Path) -> Informer:
    """One that was asked for both kinds already."""
    informer = Informer(kubeconfig, NODE, Log(LogOptions(file=str(log))))
    informer.pod("shop", "web-0", UID)
    informer.definition("shop", "lan")
    return informer


def watches(api: KubeApi) -> list[str]:
    return api.asked("watch=1")


def told(log: Path) -> list[tuple[str, str]]:
    """Each event that was logged, with what it is about."""
    lines = map(json.loads, log.read_text().splitlines()) if log.exists() else ()
    return [(line["event"], line.get("watched") or line["pod"]) for line in lines]


def config(informer: Informer, name: str = "lan") -> str | None:
    """What the definition of that name says now; None where there is none."""
    found = informer.definition("shop", name)
    return None if found is None else found.config


def test_what_is_known_is_not_asked_for(api: KubeApi, informer: Informer) -> None:
    assert config(informer) == CONFIG
    assert informer.pod("shop", "web-0", UID) == POD

    assert api.seen == []


def test_the_rights_that_the_documentation_asks_for_are_needed_and_enough(
    api: KubeApi, kubeconfig: str, log: Path
) -> None:
    with closing(informed(kubeconfig, log)) as informer:
        until(lambda: api.watches == 2)
        assert config(informer, "wan") is None
        informer.annotate(informer.pod("shop", "web-0"), STATUS, "[]")
        until(lambda: STATUS in api.annotations("shop", "web-0"))

    assert told(log) == []
    assert api.used == documented()


def test_calls_that_are_sooner_than_the_first_list_wait_for_it(api: KubeApi, kubeconfig: str) -> None:
    may_answer = threading.Event()
    api.faults = [breaks_off_after(may_answer)]  # and is asked once more
    found: list[PodObject] = []
    with closing(Informer(kubeconfig, NODE, Log(LogOptions()))) as informer:
        callers = [
            threading.Thread(target=lambda: found.append(informer.pod("shop", "web-0", UID)))
            for _ in range(3)
        ]
        for caller in callers:
            caller.start()
        until(lambda: api.seen)
        may_answer.set()
        for caller in callers:
            caller.join()

    assert found == [POD] * 3
    assert not api.asked("metadata.name")


def test_what_nobody_asks_for_is_not_watched(api: KubeApi, kubeconfig: str) -> None:
    with closing(Informer(kubeconfig, NODE, Log(LogOptions()))) as informer:
        assert threads() == []

        assert config(informer) == CONFIG
        until(lambda: api.watches == 1)

    assert not api.asked("/pods")


def test_changes_of_definitions_are_known_by_themselves(api: KubeApi, informer: Informer) -> None:
    api.put_nad("shop", "wan", "{}")
    api.put_nad("shop", "lan", "{}")
    until(lambda: config(informer) == "{}")
    assert config(informer, "wan") == "{}"
    assert api.seen == []

    api.delete_nad("shop", "lan")

    until(lambda: config(informer) is None)


def test_a_watch_brings_any_character_of_an_annotation(api: KubeApi, informer: Informer) -> None:
    odd = {"note": "a\x85b\u2028c\x0bd\ne"}  # each of which ends a line, to somebody
    api.put_pod("shop", "web-0", odd)

    until(lambda: informer.pod("shop", "web-0", UID).annotations == odd)
    assert api.asked() == []


def test_of_pods_those_of_the_node_are_kept(api: KubeApi, informer: Informer) -> None:
    api.put_pod("shop", "web-1", uid="1")
    until(lambda: api.seen or informer.pod("shop", "web-1", "1"))
    asked = len(api.seen)
    assert informer.pod("shop", "web-1", "1").uid == "1"
    assert len(api.seen) == asked

    informer.pod("shop", "elsewhere", UID)

    assert len(api.seen) == asked + 1


def test_a_pod_that_the_watch_has_not_told_of_is_asked_for_once(api: KubeApi, informer: Informer) -> None:
    with api.changed:  # no watcher gets on
        api.pods.objects["shop", "web-1"] = pod("shop", "web-1", {"b": "2"}, "1")

    assert informer.pod("shop", "web-1", "1") == PodObject("shop", "web-1", "1", {"b": "2"})
    with pytest.raises(TryAgainLater, match="there is no such pod"):
        informer.pod("shop", "web-2", "2")

    assert len(api.seen) == 2


def test_a_successor_of_a_known_pod_is_asked_for(api: KubeApi, informer: Informer) -> None:
    with api.changed:
        api.pods.objects["shop", "web-0"] = pod("shop", "web-0", {"b": "2"}, "1")

    assert informer.pod("shop", "web-0", "1").annotations == {"b": "2"}
    assert informer.pod("shop", "web-0").annotations == {"b": "2"}  # without a uid nobody knows which it is
    assert len(api.seen) == 2


def test_a_young_definition_is_asked_for(api: KubeApi, informer: Informer) -> None:
    with api.changed:
        api.nads.objects["shop", "wan"] = nad("shop", "wan", "{}")

    assert config(informer, "wan") == "{}"
    assert len(api.seen) == 1


@pytest.mark.parametrize("how", ["drop_watches", "end_watches"])
def test_a_watch_that_ends_is_begun_again_from_where_it_was(
    api: KubeApi, informer: Informer, how: str
) -> None:
    api.bookmark()
    marked = api.version
    getattr(api, how)()
    until(lambda: len(watches(api)) == 2)
    api.put_nad("shop", "lan", "{}")
    until(lambda: config(informer) == "{}")

    assert api.asked() == watches(api)
    assert all(f"resourceVersion={marked}&" in line for line in watches(api))


def test_a_server_ends_a_watch_after_some_minutes_and_marks_how_far_it_is(
    api: KubeApi, kubeconfig: str, log: Path
) -> None:
    with closing(informed(kubeconfig, log)):
        until(lambda: len(watches(api)) == 2)

    for line in watches(api):
        parameters = dict(parse_qsl(line.partition("?")[2]))
        assert 300 <= int(parameters["timeoutSeconds"]) <= 600
        assert parameters["allowWatchBookmarks"] == "true"


def test_a_first_list_is_what_the_server_has_at_hand_and_a_later_one_is_not(
    api: KubeApi, kubeconfig: str, log: Path
) -> None:
    with closing(informed(kubeconfig, log)):
        until(lambda: api.watches == 2)
        assert [line for line in api.asked() if "watch=1" not in line] == api.asked("resourceVersion=0")
        api.seen.clear()
        api.compact()
        api.end_watches()
        until(lambda: len(watches(api)) == 4)

    assert len(api.asked()) == 6
    assert not api.asked("resourceVersion=0")


@pytest.mark.parametrize("refused", ["in the watch", "instead of the watch"])
def test_after_410_gone_what_was_missed_is_listed(
    api: KubeApi, informer: Informer, log: Path, refused: str
) -> None:
    if refused == "instead of the watch":
        api.watch_faults = [refuses(status(410, "too old resource version"))] * 2
    with api.changed:
        api.put_nad("shop", "wan", "{}")
        del api.nads.objects["shop", "lan"]
        api.compact()
        api.end_watches()

    until(lambda: config(informer) is None)

    asked = len(api.seen)
    assert config(informer, "wan") == "{}"
    assert len(api.seen) == asked
    assert told(log) == []


GARBAGE = ["<html>", '{"type": "ADDED", "object": {}}', '{"type": "ADDED", "object": {"metadata": {}}}', "7"]


@pytest.mark.parametrize("line", GARBAGE)
def test_after_a_watch_that_cannot_be_read_what_was_missed_is_listed(
    api: KubeApi, informer: Informer, log: Path, line: str
) -> None:
    api.watch_faults = [answers(200, line + "\n")] * 2
    api.end_watches()
    until(lambda: len(watches(api)) == 4)

    assert config(informer) == CONFIG
    assert len(api.asked("resourceVersion")) == 4
    until(lambda: {event for event, _ in told(log)} == {"watch-lost", "watch-back"})


@pytest.mark.parametrize("fault", [answers(200, "7"), answers(500, "{}"), breaks_off])
def test_a_list_that_fails_is_asked_for_again(
    api: KubeApi, kubeconfig: str, log: Path, fault: Fault
) -> None:
    api.faults = [fault] * 2
    with closing(Informer(kubeconfig, NODE, Log(LogOptions(file=str(log))))) as informer:
        with suppress(TryAgainLater):
            config(informer)
        until(lambda: api.watches == 1)
        api.seen.clear()

        assert config(informer) == CONFIG

    assert api.seen == []


@pytest.mark.parametrize("code", [401, 403, 500])
def test_a_watch_that_is_refused_is_told_once_and_begun_again(
    api: KubeApi, informer: Informer, log: Path, code: int
) -> None:
    api.watch_faults = [refuses(status(code, "no"))] * 4
    api.end_watches()
    until(lambda: len(watches(api)) == 6)
    until(lambda: len(told(log)) == 4)

    assert config(informer) == CONFIG
    assert api.asked() == watches(api)
    assert sorted(told(log)) == sorted(
        (event, watched)
        for event in ("watch-lost", "watch-back")
        for watched in (f"the pods of node {NODE}", "network-attachment-definitions")
    )


def test_a_token_that_was_rotated_is_read(api: KubeApi, informer: Informer, token: Path) -> None:
    api.users = {"r0tated": "node"}
    token.write_text("r0tated")
    api.drop_watches()
    until(lambda: len(watches(api)) == 2)
    api.put_nad("shop", "lan", "{}")

    until(lambda: config(informer) == "{}")
    assert {user for user, _ in api.seen} == {"node"}


def test_with_the_server_gone_what_is_known_goes_on_working(
    api: KubeApi, informer: Informer, log: Path
) -> None:
    api.stop()
    until(lambda: len(told(log)) == 2)

    assert config(informer) == CONFIG
    assert informer.pod("shop", "web-0", UID) == POD
    assert informer.pod("shop", "web-0") == POD
    since = rf"Connection refused; the pods of node {NODE} have not been watched since 20[-0-9T:]+Z$"
    with pytest.raises(TryAgainLater, match=f"{api.server}: .*{since}"):
        informer.pod("shop", "web-1", "1")
    with pytest.raises(TryAgainLater, match=f"{api.server}: .*network-attachment-definitions have not been"):
        informer.definition("shop", "wan")


def test_a_server_that_comes_back_is_found(api: KubeApi, informer: Informer, log: Path) -> None:
    api.stop()
    until(lambda: len(told(log)) == 2)
    api.put_nad("shop", "lan", "{}")
    api.start()

    until(lambda: config(informer) == "{}")

    until(lambda: len(told(log)) == 4)
    with pytest.raises(TryAgainLater, match=r"there is no such pod$"):
        informer.pod("shop", "web-1", "1")


def test_a_server_that_says_nothing_holds_nobody_up(
    api: KubeApi, kubeconfig: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("underlay.kube.reflector.SECONDS", 0.5)
    api.watch_faults = [is_silent(api)] * 2
    with closing(informed(kubeconfig, log)) as informer:
        until(lambda: len([event for event, _ in told(log) if event == "watch-lost"]) == 2)

        assert config(informer) == CONFIG


@pytest.mark.usefixtures("informer")
def test_a_peer_that_is_gone_without_a_word_is_noticed_by_the_kernel(api: KubeApi) -> None:
    sockets = subprocess.run(
        ["ss", "-tnoH", f"dport = :{api.port}"], check=True, capture_output=True, text=True
    ).stdout.splitlines()

    assert len(sockets) == 2
    assert all("timer:(keepalive," in line for line in sockets)


def test_a_kubeconfig_that_cannot_be_used_leaves_nothing_behind(log: Path) -> None:
    with pytest.raises(InvalidConfig, match="/nowhere/kubeconfig"):
        informed("/nowhere/kubeconfig", log)

    assert threads() == []


def test_an_end_is_not_held_up(api: KubeApi, kubeconfig: str, log: Path) -> None:
    with closing(informed(kubeconfig, log)):
        until(lambda: len(watches(api)) == 2)
        assert threads()

    until(lambda: threads() == [])
    assert told(log) == []


def threads() -> list[str]:
    """Those that an informer has started."""
    names = (thread.name for thread in threading.enumerate())
    return [name for name in names if name.startswith("kubernetes-")]


def test_an_annotation_is_written_some_time_later(api: KubeApi, informer: Informer) -> None:
    informer.annotate(POD, STATUS, "[]")

    until(lambda: api.annotations("shop", "web-0") == {"a": "1", STATUS: "[]"})


@pytest.mark.parametrize(
    "fault", [refuses(status(403, "no")), refuses(status(409, "the object has been modified")), breaks_off]
)
def test_what_cannot_be_written_is_tried_again_and_told_once(
    api: KubeApi, informer: Informer, log: Path, fault: Fault
) -> None:
    api.faults = [fault] * 4
    informer.annotate(POD, STATUS, "[]")

    until(lambda: STATUS in api.annotations("shop", "web-0"))

    assert told(log) == [("annotation-late", "shop/web-0")]


def test_the_newest_value_for_a_pod_wins(api: KubeApi, informer: Informer, log: Path) -> None:
    api.faults = [refuses(status(403, "no"))]
    informer.annotate(POD, STATUS, "old")
    informer.annotate(POD, "other", "kept")
    until(lambda: told(log))
    informer.annotate(POD, STATUS, "new")

    until(lambda: api.annotations("shop", "web-0") == {"a": "1", "other": "kept", STATUS: "new"})
    assert len(api.asked("PATCH")) <= 3


@pytest.mark.parametrize("end", ["is deleted", "has a successor"])
def test_for_a_pod_that_is_gone_nothing_is_written(
    api: KubeApi, informer: Informer, log: Path, end: str
) -> None:
    if end == "is deleted":
        api.delete_pod("shop", "web-0")
    else:
        api.put_pod("shop", "web-0", uid="1")
    api.put_pod("shop", "web-1", uid="1")

    informer.annotate(POD, STATUS, "[]")
    informer.annotate(PodObject("shop", "web-1", "1"), STATUS, "[]")

    until(lambda: STATUS in api.annotations("shop", "web-1"))
    assert len(api.asked("PATCH")) == 2
    assert told(log) == []
    assert end == "is deleted" or STATUS not in api.annotations("shop", "web-0")


def test_what_can_never_be_written_is_given_up(
    api: KubeApi, informer: Informer, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("underlay.kube.annotator.LONGEST", 0.2)
    api.rights = {}
    informer.annotate(POD, STATUS, "[]")

    until(lambda: ("annotation-lost", "shop/web-0") in told(log))

    asked = len(api.seen)
    informer.annotate(PodObject("shop", "web-1", UID), STATUS, "[]")
    until(lambda: ("annotation-lost", "shop/web-1") in told(log))
    assert not api.asked("web-0")[asked:]


def test_what_was_just_handed_in_is_written_before_the_end(api: KubeApi, kubeconfig: str, log: Path) -> None:
    with closing(informed(kubeconfig, log)) as informer:
        until(lambda: len(watches(api)) == 2)
        for number in range(20):
            informer.annotate(POD, f"annotation-{number}", "")

    assert len(api.annotations("shop", "web-0")) == 21


def test_what_is_due_goes_over_one_connection(api: KubeApi, informer: Informer) -> None:
    began = threading.Event()
    api.faults = [breaks_off_after(began)]
    for name in ("web-0", "web-1", "web-2"):
        api.put_pod("shop", name)
        informer.annotate(PodObject("shop", name, UID), STATUS, "[]")
    until(lambda: api.asked("PATCH"))
    connections = api.connections
    began.set()
    until(lambda: all(STATUS in api.annotations("shop", name) for name in ("web-0", "web-1", "web-2")))

    assert api.connections - connections <= 1
