"""Records: written whole, found again, gone without a trace."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from underlay import locks
from underlay.cni.errors import IoFailure, TryAgainLater
from underlay.objects import HOST, POD, Neigh, Route, Rule, Sysctl, VethPair
from underlay.objects.route import Hop
from underlay.plan import MainDefault, Plan
from underlay.record import Record, Taken
from underlay.records import Records

PLAN = Plan(
    present=(
        VethPair("vethabc", "02:00:00:00:00:01", "veth0", "02:00:00:00:00:02", 1500),
        Neigh(HOST, ip_address("fd00::9"), "02:00:00:00:00:02", "vethabc"),
        Route(POD, ip_network("10.96.0.0/12"), "veth0", via=ip_address("10.6.0.1"), onlink=True),
        Route(POD, ip_network("0.0.0.0/0"), hops=(Hop("eth0", "10.6.0.1"), Hop("net1"))),
        Rule(POD, 6, 100, 2000, src=ip_network("fd00::9/128")),
        Sysctl(POD, 4, "eth0", "rp_filter", 2),
    ),
    node_rules=(Rule(HOST, 4, 500, 1000),),
    defaults=(MainDefault("eth0", -1),),
    notes=("something",),
)
RECORD = Record(
    plugin="veth",
    network="lan",
    container_id="c1",
    ifname="eth0",
    netns="/run/netns/pod",
    netns_id="7",
    inputs="digest",
    created=1,
    plan=PLAN,
)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(str(tmp_path / "state"), "1")


def test_a_record_reads_back_as_it_was_written(records: Records) -> None:
    with records.pod("c1") as pod:
        pod.write(RECORD)

    with records.pod("c1") as pod:
        assert pod.all() == [RECORD]


def test_what_was_displaced_reads_back_until_it_is_nothing(records: Records) -> None:
    default = Route(POD, ip_network("::/0"), "eth0", via=ip_address("fe80::1"), proto=9)
    with records.pod("c1") as pod:
        pod.write_displaced({"eth0": Taken(2, (default,))})
        assert pod.displaced() == {"eth0": Taken(2, (default,))}
    with records.pod("c1") as pod:
        assert pod.displaced() == {"eth0": Taken(2, (default,))}
        assert pod.all() == []  # it is no record
        pod.write_displaced({"eth0": Taken(2, ())})
        assert pod.displaced() == {}


def test_nothing_remains_after_the_last_record(records: Records, tmp_path: Path) -> None:
    with records.pod("c1") as pod:
        pod.write(RECORD)
    with records.pod("c1") as pod:
        pod.delete(RECORD.name)

    assert list(tmp_path.iterdir()) == []


def test_directories_above_the_state_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "somebodys").mkdir()

    with Records(str(tmp_path / "somebodys" / "state"), "1").pod("c1"):
        pass

    assert [path.name for path in tmp_path.iterdir()] == ["somebodys"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "plan": {"present": [{"kind": "Nonsense"}]}}']
)
def test_a_record_that_cannot_be_read_is_none_at_all(records: Records, tmp_path: Path, text: str) -> None:
    with records.pod("c1") as pod:
        pod.write(RECORD)
    (tmp_path / "state" / "1" / "c1" / RECORD.name).write_text(text)

    with records.pod("c1") as pod:
        assert pod.read(RECORD.name) is None
        assert pod.all() == []


def test_a_long_network_name_is_hashed_and_stays_distinct(records: Records) -> None:
    long, other = replace(RECORD, network="n" * 300), replace(RECORD, network="n" * 301)
    with records.pod("c1") as pod:
        pod.write(long)
        pod.write(other)
    with records.pod("c1") as pod:
        assert len(pod.all()) == 2
        assert all(len(name.encode()) <= 251 for name in pod.names())


def test_a_long_container_id_has_a_place_too(records: Records) -> None:
    with records.pod("c" * 400) as pod:
        pod.write(replace(RECORD, container_id="c" * 400))

    with records.pod("c" * 400) as pod:
        assert len(pod.all()) == 1


def test_an_unwritable_state_is_said_before_anything_is_changed(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, where a directory has to be")

    with (
        pytest.raises(IoFailure, match=r"the state directory .*: Not a directory"),
        Records(str(tmp_path / "state"), "1").pod("c1"),
    ):
        pass


def test_one_container_is_changed_by_one_call_at_a_time(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.05)

    with records.pod("c1"), pytest.raises(TryAgainLater) as refused, records.pod("c1"):
        pass

    assert f"process {os.getpid()}" in refused.value.details


def test_what_all_pods_share_is_added_to_by_many_and_removed_by_nobody_meanwhile(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.05)

    with (
        records.pod("c1"),
        records.sharing(),
        records.sharing(),
        pytest.raises(TryAgainLater),
        records.alone(),
    ):
        pass
    with records.alone():
        pass


def test_many_calls_on_one_container_neither_overlap_nor_leave_anything(
    records: Records, tmp_path: Path
) -> None:
    inside, most = 0, 0

    def call() -> None:
        nonlocal inside, most
        for _ in range(20):
            with records.pod("c1") as pod:
                inside += 1
                most = max(most, inside)
                pod.write(RECORD)
                pod.delete(RECORD.name)
                inside -= 1

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1
    assert list(tmp_path.iterdir()) == []
