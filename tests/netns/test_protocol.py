"""The protocol of CNI as a runtime sees it: good calls of the real executable."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.netns.caller import GONE, VERSIONS, Caller, Changes, Printed
from tests.netns.world import LAN_A, Footprint, World
from underlay.lab.pod import Json


@pytest.fixture
def caller(world: World) -> Caller:
    world.lan(LAN_A)
    return Caller(world.nic(world.runtime(world.node()), world.pod()))


DUMMY: Changes = {
    "CNI_CONTAINERID": "dummy",
    "CNI_NETNS": "dummy",
    "CNI_IFNAME": "dummy/dummy",
    "CNI_PATH": "dummy",
}


@pytest.mark.parametrize(
    ("stdin", "version"),
    [
        (b"", "1.1.0"),
        (b'{"cniVersion": "0.4.0"}', "0.4.0"),
        (b'{"cniVersion": "9"}', "1.1.0"),
        (b"{", "1.1.0"),
    ],
)
def test_version_needs_nothing(caller: Caller, stdin: bytes, version: str) -> None:
    printed = caller.run("VERSION", stdin, DUMMY)

    assert printed.code == 0
    assert printed.json == {"cniVersion": version, "supportedVersions": list(VERSIONS)}


def test_without_a_command_a_person_is_told_what_it_is(caller: Caller) -> None:
    printed = caller.run("ADD", b"", {"CNI_COMMAND": GONE})

    assert (printed.code, printed.stdout) == (0, "")
    assert printed.stderr.startswith("CNI plugin veth (underlay)")
    assert all(version in printed.stderr for version in VERSIONS)


def as_macvlan_gives_it(caller: Caller, version: str) -> Json:
    """prevResult in the shape of a version, after the one that the real macvlan gave in 1.0.0."""
    result = {**caller.nic.result, "cniVersion": version}
    if version >= "1.0.0":
        return result
    ips = [{**ip, "version": str(ip_interface(ip["address"]).version)} for ip in result["ips"]]
    return {**result, "ips": ips}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_result_has_the_shape_of_the_version_that_was_asked_for(caller: Caller, version: str) -> None:
    given = as_macvlan_gives_it(caller, version)

    result = caller.run("ADD", {"cniVersion": version, "prevResult": given}).json

    nic, host_end, pod_end = result["interfaces"]
    added = {"name", "mac"} | ({"mtu"} if version >= "1.0.0" else set())
    assert (result["cniVersion"], result["ips"], result["routes"]) == (
        version,
        given["ips"],
        given["routes"],
    )
    assert nic == given["interfaces"][0]
    assert (set(host_end), set(pod_end)) == (added, added | {"sandbox"})
    assert pod_end["sandbox"] == caller.nic.pod.netns.path
    assert set(result) == {"cniVersion", "interfaces", "ips", "routes"}


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_what_the_real_macvlan_answers_in_its_versions_is_understood(world: World, version: str) -> None:
    world.lan(LAN_A)
    runtime, pod = world.runtime(world.node()), world.pod()
    network = world.network() | {"cniVersion": version}

    result = runtime.add(network, pod)

    assert [interface["name"] for interface in result["interfaces"]][::2] == ["eth0", "veth0"]
    assert ["version" in ip for ip in result["ips"]] == [version < "1.0.0"] * 2
    runtime.delete(network, pod)


@pytest.mark.parametrize(
    "args",
    [
        "K8S_POD_NAMESPACE=a;IgnoreUnknown=1;K8S_POD_NAME=b",
        "K8S_POD_NAME=b;K8S_POD_NAME=c;K8S_POD_UID=;;IgnoreUnknown=true",
        "IgnoreUnknown=1;nonsense",
        "nonsense=of=another;IP=",
        "",
    ],
)
def test_arguments_come_in_any_order_and_company(caller: Caller, args: str) -> None:
    assert caller.run("ADD", variables={"CNI_ARGS": args}).code == 0


def test_keys_are_found_in_any_case(caller: Caller) -> None:
    config = caller.config({})
    shouted = {key.upper() if key != "log_options" else key: value for key, value in config.items()}

    printed = caller.run("ADD", json.dumps(shouted).encode())

    assert len(printed.json["interfaces"]) == 3


def test_an_unknown_key_is_logged_with_the_nearest_known_one(caller: Caller, tmp_path: Path) -> None:
    log = tmp_path / "log"
    keys = {"migrate_rout": 1, "log_options": {"log_file": str(log)}, "rp_filter": {"valeu": 1}}

    assert caller.run("ADD", keys).code == 0

    said = [line["message"] for line in map(json.loads, log.read_text().splitlines()) if "message" in line]
    assert sum('unknown key "migrate_rout"' in each and '"migrate_route"?' in each for each in said) == 1
    assert sum('"rp_filter.valeu"' in each and '"rp_filter.value"?' in each for each in said) == 1


BROKEN: Json = {"service_hijack_subnet": ["nonsense"], "log_options": {"log_level": 7}, "migrate_route": "x"}


def test_skip_call_prints_prev_result_whatever_the_rest_says(world: World, caller: Caller) -> None:
    before = Footprint(world, caller.nic.runtime.node, caller.nic.pod.netns)

    for verb in ("ADD", "CHECK", "DEL"):
        printed = caller.run(verb, {"skip_call": True, **BROKEN})
        assert printed.code == 0
        assert printed.stdout == "" or printed.json["interfaces"] == caller.nic.result["interfaces"]

    assert before.changes() == []


@pytest.mark.parametrize(
    "keys",
    [
        BROKEN,
        {"service_hijack_subnet": GONE, "overlay_hijack_subnet": GONE},
        {"prevResult": "nonsense"},
        {"prevResult": {"ips": "nonsense"}},
        {"log_options": {"log_file": "relative"}},
        {"log_options": []},
        {"host_rule_table": "x", "rp_filter": 7, "skip_call": 1},
        {"ip_conflict": {"enabled": True, "nonsense": []}},
    ],
    ids=str,
)
@pytest.mark.parametrize("has_record", [True, False], ids=["record", "no record"])
def test_del_succeeds_with_a_broken_configuration_and_cleans_up(
    world: World, caller: Caller, keys: Json, has_record: bool
) -> None:
    before = Footprint(world, caller.nic.runtime.node)
    caller.run("ADD")
    if not has_record:
        shutil.rmtree(world.state)

    printed = caller.run("DEL", keys)

    assert (printed.code, printed.stdout) == (0, "")
    assert before.changes() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "[" * 100 * len(text),
        lambda text: text.replace('"dst": "10.6.0.100/32"', '"dst": null'),
        lambda text: text.replace('"table": 500', '"table": "500"'),
        lambda text: text.replace('"present": [', '"present": ["nonsense", '),
    ],
    ids=["deep", "null", "text for a number", "text for an object"],
)
def test_del_succeeds_with_a_record_of_nonsense(
    world: World, caller: Caller, damage: Callable[[str], str]
) -> None:
    before = Footprint(world, caller.nic.runtime.node)
    caller.run("ADD")
    (record,) = Path(world.state).rglob("*:veth.json")
    text = record.read_text()
    record.write_text(damage(text))
    assert record.read_text() != text

    printed = caller.run("DEL")

    assert (printed.code, printed.stdout) == (0, "")
    assert before.changes() == []


@pytest.mark.parametrize("verb", ["CHECK", "DEL"])
def test_verbs_other_than_add_and_version_print_nothing(caller: Caller, verb: str) -> None:
    caller.run("ADD")

    assert caller.run(verb) == Printed(0, "", "")


def test_it_runs_from_anywhere_with_an_empty_environment(caller: Caller, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    environment = {
        **caller.nic.variables,
        **caller.nic.runtime.environment,
        "CNI_COMMAND": "ADD",
        "PATH": "",
    }
    in_a_deleted_directory = 'cd "$0" && /bin/rmdir "$0" && exec "$1"'
    veth, config = caller.nic.runtime.find("veth"), json.dumps(caller.config({})).encode()

    for cwd, argv in [
        ("/", [veth]),
        ("/proc/self", [veth]),
        ("/", ["/bin/sh", "-c", in_a_deleted_directory, str(gone), veth]),
    ]:
        with caller.nic.runtime.node.entered():
            done = subprocess.run(
                argv, input=config, env=environment, cwd=cwd, capture_output=True, check=False
            )
        assert (done.returncode, done.stderr) == (0, b"")
        assert json.loads(done.stdout)["interfaces"][2]["name"] == "veth0"


def test_a_configuration_of_megabytes_is_read_whole(caller: Caller) -> None:
    subnets = [f"11.{number >> 8}.{number & 255}.0/24" for number in range(1000)]

    printed = caller.run("ADD", {"additional_hijack_subnet": subnets, "args": {"padding": "x" * 4_000_000}})

    assert printed.code == 0
    assert caller.nic.pod.netns.run("ip", "route", "show", "table", "100").count(" via ") > 1000
    assert caller.run("DEL").code == 0
