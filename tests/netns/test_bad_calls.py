"""The checklist of CNI as a table of bad calls: each is refused with its code and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns.caller import GONE, VERSIONS, Caller, Changes
from tests.netns.world import LAN_A, Footprint, World
from underlay.lab.pod import Json


@pytest.fixture(scope="module")
def world(bin_dirs: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all: a bad call changes nothing."""
    world = World(bin_dirs, str(tmp_path_factory.mktemp("world")))
    world.lan(LAN_A)
    yield world
    world.down()


@pytest.fixture(scope="module")
def caller(world: World) -> Caller:
    return Caller(world.nic(world.runtime(world.node()), world.pod()))


@pytest.fixture(scope="module")
def before(world: World, caller: Caller) -> Footprint:
    return Footprint(world, caller.nic.runtime.node, caller.nic.pod.netns)


ID, NETNS, IFNAME, PATH, ARGS = "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS"
ALL = (ID, NETNS, IFNAME, PATH)
MISSING = "required env variables [{}] missing"
NO_NAMESPACE = 'CNI_NETNS: "{}" is not a network namespace'
LONG = "n" * 16
OWN, OTHER_KIND = "/proc/self/ns/net", "/proc/self/ns/mnt"
IS_OWN = f'CNI_NETNS: "{OWN}" is the node\'s own network namespace'
JSON = "the network configuration "
CIDR, KEPT = "service_hijack_subnet", "cni.dev/valid-attachments"
BAD_IP: Json = {"ips": [{"address": "10.6.0.9"}]}

# The verb, what is changed of its environment and its standard input; the code, and how the message begins.
BAD_CALLS: dict[str, tuple[str, Changes, Json | bytes, int, str]] = {
    "no variables": ("ADD", dict.fromkeys(ALL), {}, 4, MISSING.format(",".join(ALL))),
    "an empty variable": ("CHECK", {NETNS: ""}, {}, 4, MISSING.format(NETNS)),
    "DEL of no interface": ("DEL", {IFNAME: GONE, NETNS: GONE}, {}, 4, MISSING.format(IFNAME)),
    "GC without a path": ("GC", {PATH: GONE}, {}, 4, MISSING.format(PATH)),
    "STATUS without a path": ("STATUS", {PATH: GONE}, {}, 4, MISSING.format(PATH)),
    "an empty command": ("", {}, {}, 4, MISSING.format("CNI_COMMAND")),
    "an unknown command": ("UPDATE", {}, {}, 4, 'unknown CNI_COMMAND: "UPDATE"'),
    "a command in lower case": ("add", {}, {}, 4, 'unknown CNI_COMMAND: "add"'),
    "a container id that is a path": ("ADD", {ID: "../x"}, {}, 4, 'CNI_CONTAINERID: "../x" is not'),
    "the same in DEL": ("DEL", {ID: "../x"}, {}, 4, 'CNI_CONTAINERID: "../x" is not'),
    "an interface name of 16 letters": ("ADD", {IFNAME: LONG}, {}, 4, f'CNI_IFNAME: "{LONG}" is not'),
    "an interface name with a slash": ("ADD", {IFNAME: "a/b"}, {}, 4, 'CNI_IFNAME: "a/b" is not'),
    "an interface name with a space": ("DEL", {IFNAME: "a b"}, {}, 4, 'CNI_IFNAME: "a b" is not'),
    "an interface named ..": ("ADD", {IFNAME: ".."}, {}, 4, 'CNI_IFNAME: ".." is not'),
    "arguments that are none": ("ADD", {ARGS: "A=b;c"}, {}, 4, 'CNI_ARGS: "c" is not KEY=VALUE'),
    "no input": ("ADD", {}, b"", 6, JSON + "on standard input is empty"),
    "no JSON": ("ADD", {}, b"{", 6, JSON + "is not valid JSON"),
    "no UTF-8": ("DEL", {}, b'{"name": "\xff"}', 6, JSON + "is not valid UTF-8"),
    "a list": ("GC", {}, b"[]", 6, JSON + "is not a JSON object: []"),
    "a list in a list in a list": ("ADD", {}, b"[" * 100_000, 6, JSON + "is not valid JSON"),
    "no network name": ("ADD", {}, {"name": GONE}, 7, "name is missing"),
    "a bad network name": ("DEL", {}, {"name": "a b"}, 7, 'name: "a b" is not a network name'),
    "too old a version": ("ADD", {}, {"cniVersion": "0.2.0"}, 1, "incompatible CNI versions"),
    "no version": ("ADD", {}, {"cniVersion": GONE}, 1, "incompatible CNI versions"),
    "an unknown version": ("ADD", {}, {"cniVersion": "9.0.0"}, 1, "incompatible CNI versions"),
    "CHECK before 0.4.0": ("CHECK", {}, {"cniVersion": "0.3.1"}, 1, "config version does not allow CHECK"),
    "GC before 1.1.0": ("GC", {}, {"cniVersion": "1.0.0"}, 1, "config version does not allow GC"),
    "STATUS before 1.1.0": ("STATUS", {}, {"cniVersion": "1.0.0"}, 1, "config version does not allow"),
    "no prevResult": ("ADD", {}, {"prevResult": GONE}, 7, "prevResult is missing: veth is a chained plugin"),
    "CHECK without prevResult": ("CHECK", {}, {"prevResult": GONE}, 7, "prevResult is missing"),
    "a bad prevResult": ("ADD", {}, {"prevResult": BAD_IP}, 7, 'prevResult.ips[0].address: "10.6.0.9"'),
    "a missing key": ("ADD", {}, {CIDR: GONE}, 7, f"{CIDR} is missing"),
    "a bad CIDR": ("ADD", {}, {CIDR: ["10.96.0.0/33"]}, 7, f'{CIDR}[0]: "10.96.0.0/33" is not a CIDR'),
    "a bad choice": ("ADD", {}, {"migrate_route": 2}, 7, "migrate_route: 2 is not one of -1, 0, 1"),
    "a bad sub-key": ("CHECK", {}, {"rp_filter": {"value": "2"}}, 7, 'rp_filter.value: "2" is not'),
    "a bad log level": ("ADD", {}, {"log_options": {"log_level": "x"}}, 7, 'log_options.log_level: "x" is'),
    "bad attachments": ("GC", {}, {"cniVersion": "1.1.0", KEPT: 1}, 7, f"{KEPT}: 1 is not a list"),
    "no namespace": ("ADD", {NETNS: "/run/netns/no"}, {}, 4, NO_NAMESPACE.format("/run/netns/no")),
    "a file": ("CHECK", {NETNS: "/etc/passwd"}, {}, 4, NO_NAMESPACE.format("/etc/passwd")),
    "another kind of namespace": ("ADD", {NETNS: OTHER_KIND}, {}, 4, NO_NAMESPACE.format(OTHER_KIND)),
    "the node's own namespace": ("ADD", {NETNS: OWN}, {}, 8, IS_OWN),
    "the same in CHECK": ("CHECK", {NETNS: OWN}, {}, 8, IS_OWN),
    "DEL in the node's own": ("DEL", {NETNS: OWN}, {}, 8, IS_OWN),
    "no such interface": ("ADD", {IFNAME: "eth7"}, {}, 7, "there is no link eth7 in /run/netns/t-pod"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_CALLS)
def test_a_bad_call_is_refused_with_its_code_and_changes_nothing(
    caller: Caller, before: Footprint, what: str
) -> None:
    verb, variables, stdin, code, msg = BAD_CALLS[what]

    printed = caller.run(verb, stdin, variables)

    said = printed.json
    assert (said["code"], said["msg"][: len(msg)]) == (code, msg)
    assert set(said) == {"cniVersion", "code", "msg", "details"}
    assert said["cniVersion"] in VERSIONS
    assert printed.code == 1
    assert "Traceback" not in printed.stdout + printed.stderr
    assert before.changes() == []
