"""`vxlan` with the IPAM plugins of others: each ADD has its DEL, and each call is what CNI says it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.netns.crowd import at_once
from tests.netns.faulty import Faulty, failure, refusal
from tests.netns.recorder import Recorder
from tests.netns.site import VALID, Attached, Site, one_node
from tests.netns.world import Inside, World, failures
from underlay.cni.errors import CniError
from underlay.lab.connectivity import Probe, Server
from underlay.lab.pod import Json

CIDR = "10.66.0.0/24"
NODE = "mv_blue"  # the node's own link in the network
GIVEN = {"cniVersion": "1.0.0", "ips": [{"address": "10.66.0.50/24"}]}


@pytest.fixture
def site(world: World) -> Site:
    return one_node(world)


@pytest.fixture
def node(site: Site) -> Iterator[Faulty]:
    with closing(Faulty(site.nodes[0].netns, site.world.state)) as node:
        yield node


@pytest.fixture
def ipam(tmp_path: Path) -> Recorder:
    recorder = Recorder(tmp_path / "ipam")
    recorder.install()
    return recorder


def delegated(site: Site, ipam: Json, **keys: Any) -> Json:
    return site.network(site.blue(**{"cidr": CIDR, "ipam": ipam, **keys}))


def nic(site: Site, name: str, ipam: Recorder, **keys: Any) -> Attached:
    """A pod whose network has the recorder, which is in the last directory of CNI_PATH."""
    pod = site.nic(name, network=delegated(site, {"type": "recorder", "given": "to it"}, **keys))
    return replace(pod, runtime=replace(pod.runtime, bin_dirs=(*pod.runtime.bin_dirs, str(ipam.directory))))


# Good calls


def test_each_call_says_what_it_is_and_for_whom(site: Site, node: Faulty, ipam: Recorder) -> None:
    before = site.footprint()
    pod = nic(site, "one", ipam)
    for verb in ("ADD", "CHECK", "DEL"):
        pod.run(verb, node)

    assert ipam.verbs() == [
        ("DEL", NODE),  # of what the node had before it was started anew
        ("ADD", NODE), ("ADD", "eth0"), ("CHECK", "eth0"), ("DEL", "eth0"), ("DEL", NODE)
    ]  # fmt: skip
    with site.nodes[0].netns.entered():
        host = os.readlink("/proc/thread-self/ns/net")
    for call in ipam.calls():
        assert call.env["CNI_PATH"] == pod.variables["CNI_PATH"]
        assert (call.stdin["name"], call.stdin["cniVersion"]) == ("vx", "1.0.0")
        assert (call.stdin["ipam"], call.netns) == ({"type": "recorder", "given": "to it"}, host)
    of_pod = [call for call in ipam.calls() if call.env["CNI_IFNAME"] == "eth0"]
    assert {(*call.whose, call.env["CNI_NETNS"]) for call in of_pod} == {
        (pod.pod.container_id, "eth0", pod.pod.netns.path)
    }
    of_node = [call for call in ipam.calls() if call not in of_pod]
    assert len({call.whose for call in of_node}) == 1
    assert all(call.env["CNI_NETNS"] for call in of_node)
    assert before.changes() == []


def test_check_passes_on_what_add_has_answered_in_the_version_of_the_configuration(
    site: Site, node: Faulty, ipam: Recorder
) -> None:
    pod = nic(site, "one", ipam)
    pod.run("ADD", node)
    pod.run("CHECK", node)

    (check,) = (call for call in ipam.calls() if call.verb == "CHECK")

    assert check.stdin["prevResult"] == pod.result


def test_a_check_that_the_ipam_plugin_fails_is_an_error(site: Site, node: Faulty, ipam: Recorder) -> None:
    pod = nic(site, "one", ipam)
    pod.run("ADD", node)
    ipam.says("CHECK", "eth0", {"code": 102, "msg": "not mine"}, 1)

    assert refusal(lambda: pod.run("CHECK", node)) == "recorder: not mine"


def test_a_pod_gets_the_address_the_routes_and_the_name_servers(
    site: Site, node: Faulty, ipam: Recorder
) -> None:
    pod, other = nic(site, "one", ipam), nic(site, "two", ipam)
    routes, dns = [{"dst": "10.99.0.0/16"}], {"nameservers": ["10.66.0.2"]}
    ipam.says("ADD", "eth0", {**GIVEN, "routes": routes, "dns": dns})
    pod.run("ADD", node)
    ipam.is_itself()
    other.run("ADD", node)

    assert (str(pod.address()), pod.gateway()) == ("10.66.0.50", "10.66.0.101")
    assert (pod.result["dns"], pod.result["routes"][0]) == (dns, {**routes[0], "gw": "10.66.0.101"})
    assert "10.99.0.0/16 via 10.66.0.101" in pod.pod.netns.run("ip", "route")
    assert failures([Probe(pod.pod.netns, Server(other.pod.netns, other.address()))]) == []


def test_the_node_asks_once_and_gives_back_with_the_last_pod(
    site: Site, node: Faulty, ipam: Recorder
) -> None:
    pods = [nic(site, name, ipam) for name in ("one", "two")]
    for pod in pods:
        pod.run("ADD", node)
    pods[0].run("DEL", node)
    assert len(ipam.holders()) == 2

    pods[1].run("DEL", node)

    assert ipam.verbs().count(("ADD", NODE)) == 1
    assert ipam.holders() == set()


def test_an_equal_add_asks_for_nothing(site: Site, node: Faulty, ipam: Recorder) -> None:
    pod = nic(site, "one", ipam)
    first = pod.run("ADD", node)
    asked = ipam.verbs()

    assert pod.run("ADD", node) == first
    assert ipam.verbs() == asked


def test_an_address_that_is_asked_for_is_asked_for_of_the_ipam_plugin(
    site: Site, node: Faulty, ipam: Recorder
) -> None:
    pod = nic(site, "one", ipam, cidr="10.66.0.7/24")
    pod.run("ADD", node, runtimeConfig={"ips": ["10.66.0.77"], "unrelated": 1})

    asked = {call.env["CNI_IFNAME"]: call.stdin.get("runtimeConfig") for call in ipam.calls()}
    assert asked == {NODE: {"ips": ["10.66.0.7/24"]}, "eth0": {"ips": ["10.66.0.77/24"], "unrelated": 1}}
    assert (str(pod.address()), pod.gateway()) == ("10.66.0.77", "10.66.0.7")


# Calls that fail


def test_whatever_fails_later_there_is_a_del_for_every_add(site: Site, node: Faulty, ipam: Recorder) -> None:
    pod = nic(site, "one", ipam)
    before = site.footprint()

    for obj, error in node.refusals(lambda: pod.run("ADD", node)):
        assert error.startswith(str(obj))
        assert (ipam.holders(), before.changes()) == (set(), []), error

    assert len(node.asked) > 15
    pod.run("DEL", node)
    assert (ipam.holders(), before.changes()) == (set(), [])


BAD_ANSWERS: dict[str, tuple[str | Json, int, int]] = {  # what it says, its exit code, the code of our error
    "an error": ({"cniVersion": "1.0.0", "code": 11, "msg": "full", "details": "all taken"}, 1, 11),
    "an error of its own": ({"code": 123, "msg": "full"}, 1, 999),
    "an error that we have too": ({"code": 5, "msg": "disk full"}, 1, 5),
    "a failure without an error": ("", 2, 999),
    "a failure and garbage": ("Segmentation fault", 139, 999),
    "nothing": ("", 0, 6),
    "garbage": ("{", 0, 6),
    "a list": ("[]", 0, 6),
    "no addresses": ({"cniVersion": "1.0.0", "ips": []}, 0, 7),
    "no address at all": ({"cniVersion": "1.0.0", "ips": [{"address": "10.66.0.300/24"}]}, 0, 7),
    "an address of another subnet": ({"cniVersion": "1.0.0", "ips": [{"address": "10.67.0.5/24"}]}, 0, 7),
    "another family": ({"cniVersion": "1.0.0", "ips": [{"address": "fd00:66::5/64"}]}, 0, 7),
    "two addresses": ({**GIVEN, "ips": [{"address": f"10.66.0.{n}/24"} for n in (50, 51)]}, 0, 0),
}


@pytest.mark.parametrize("ifname", [NODE, "eth0"], ids=["for the node", "for the pod"])
@pytest.mark.parametrize("what", BAD_ANSWERS)
def test_an_answer_that_is_no_use_is_an_error_and_given_back(
    site: Site, node: Faulty, ipam: Recorder, what: str, ifname: str
) -> None:
    answer, exit_code, code = BAD_ANSWERS[what]
    pod = nic(site, "one", ipam)
    before = site.footprint()
    ipam.says("ADD", ifname, answer, exit_code)

    error = failure(lambda: pod.run("ADD", node))
    if not error:
        pod.run("CHECK", node)
        pod.run("DEL", node)

    assert (error.code if error else 0) == code
    assert error is None or "recorder" in error.msg
    assert (ipam.holders(), before.changes()) == (set(), [])
    assert ifname in {name for _, name in ipam.verbs()}


def test_an_ipam_plugin_that_is_not_there_is_an_error_that_leaves_nothing(
    site: Site, node: Faulty, ipam: Recorder
) -> None:
    pod = nic(site, "one", ipam)
    before = site.footprint()
    ipam.path.unlink()

    with pytest.raises(CniError, match=r'ipam\.type: "recorder" is an executable in none of') as refused:
        pod.run("ADD", node)

    assert (refused.value.code, before.changes()) == (7, [])


def test_an_ipam_plugin_that_is_no_program_is_an_error_that_leaves_nothing(
    site: Site, node: Faulty, ipam: Recorder
) -> None:
    pod = nic(site, "one", ipam)
    before = site.footprint()
    ipam.path.write_bytes(b"\x7fELF nonsense")

    error = refusal(lambda: pod.run("ADD", node))

    assert "recorder: Exec format error" in error
    assert before.changes() == []


def test_a_del_waits_for_an_ipam_plugin_that_has_vanished(site: Site, node: Faulty, ipam: Recorder) -> None:
    pod = nic(site, "one", ipam)
    before = site.footprint()
    pod.run("ADD", node)
    ipam.path.unlink()

    assert "recorder" in refusal(lambda: pod.run("DEL", node))
    assert pod.record(node).ipam
    ipam.install()
    pod.run("DEL", node)

    assert (ipam.holders(), before.changes()) == (set(), [])


def test_a_del_that_the_ipam_plugin_fails_is_repeated(site: Site, node: Faulty, ipam: Recorder) -> None:
    pod = nic(site, "one", ipam)
    before = site.footprint()
    pod.run("ADD", node)
    for ifname in (NODE, "eth0"):
        ipam.says("DEL", ifname, {"code": 11, "msg": "not now"}, 1)

    assert refusal(lambda: pod.run("DEL", node)) == "recorder: not now"
    ipam.forget()
    ipam.is_itself()
    pod.run("DEL", node)

    assert ipam.verbs() == [("DEL", "eth0"), ("DEL", NODE)]
    assert before.changes() == []


def test_a_pod_is_not_given_the_address_of_its_node(site: Site, node: Faulty, ipam: Recorder) -> None:
    pod = nic(site, "one", ipam)
    before = site.footprint()
    for ifname in (NODE, "eth0"):
        ipam.says("ADD", ifname, GIVEN)

    error = refusal(lambda: pod.run("ADD", node))

    assert "10.66.0.50" in error
    assert (ipam.holders(), before.changes()) == (set(), [])


@pytest.mark.parametrize("given", ["10.66.0.50/25", "10.66.0.50/16", "10.66.0.50/32"])
def test_what_is_given_with_another_prefix_length_is_refused_to_the_first_pod_or_to_none(
    site: Site, node: Faulty, ipam: Recorder, given: str
) -> None:
    pods = [nic(site, name, ipam) for name in ("one", "two")]
    ipam.says("ADD", NODE, {**GIVEN, "ips": [{"address": given}]})

    errors = [refusal(lambda pod=pod: pod.run("ADD", node)) for pod in pods]  # type: ignore[misc]

    assert [bool(error) for error in errors] in ([False, False], [True, True]), errors


def test_an_address_of_one_family_in_a_network_of_both_is_refused_to_the_first_pod_or_to_none(
    site: Site, node: Faulty, ipam: Recorder
) -> None:
    pods = [nic(site, name, ipam, cidr=[CIDR, "fd00:66::/64"]) for name in ("one", "two")]

    errors = [refusal(lambda pod=pod: pod.run("ADD", node)) for pod in pods]  # type: ignore[misc]

    assert [bool(error) for error in errors] in ([False, False], [True, True]), errors


# Without records, and in bulk


def test_without_a_record_del_asks_the_configured_plugin(site: Site, node: Faulty, ipam: Recorder) -> None:
    pod = nic(site, "one", ipam)
    pod.run("ADD", node)
    shutil.rmtree(site.world.state)

    pod.run("DEL", node)

    assert {ifname for _, ifname in ipam.holders()} == {NODE}


def test_gc_is_passed_on_with_the_address_of_the_node_as_a_valid_one(
    site: Site, node: Faulty, ipam: Recorder
) -> None:
    pods = [nic(site, name, ipam) for name in ("one", "two")]
    for pod in pods:
        pod.run("ADD", node)
    of_node = next(call.whose for call in ipam.calls() if call.whose[1] == NODE)

    section = {"type": "recorder", "given": "anew"}  # the configuration may have changed meanwhile
    vxlans = pods[0].network["plugins"][0]["vxlans"]
    changed = {"vxlans": [{**vxlans[0], "ipam": section}]}
    pods[0].run("GC", node, cniVersion="1.1.0", **{VALID: [pods[0].listed()]}, **changed)

    (passed,) = (call for call in ipam.calls() if call.verb == "GC")
    valid = {(each["containerID"], each["ifname"]) for each in passed.stdin[VALID]}
    assert valid == {(pods[0].pod.container_id, "eth0"), of_node}
    assert (passed.stdin["name"], passed.stdin["ipam"]["type"]) == ("vx", "recorder")


def test_gc_of_the_last_pod_gives_the_address_of_the_node_back(
    site: Site, node: Faulty, ipam: Recorder
) -> None:
    before = site.footprint()
    pod = nic(site, "one", ipam)
    pod.run("ADD", node)

    pod.run("GC", node, cniVersion="1.1.0", **{VALID: []})

    (passed,) = (call for call in ipam.calls() if call.verb == "GC")
    assert (passed.stdin[VALID], ipam.holders(), before.changes()) == ([], set(), [])


def test_gc_goes_on_after_a_failure_and_reports_it(site: Site, node: Faulty, ipam: Recorder) -> None:
    pods = [nic(site, "one", ipam), replace(nic(site, "two", ipam), ifname="net1")]
    for pod in pods:
        pod.run("ADD", node)
    ipam.says("DEL", "eth0", {"code": 11, "msg": "not now"}, 1)

    error = failure(lambda: pods[0].run("GC", node, cniVersion="1.1.0", **{VALID: []}))
    assert error
    assert (error.msg, {ifname for _, ifname in ipam.holders()}) == ("recorder: not now", {"eth0"})
    ipam.is_itself()
    pods[0].run("GC", node, cniVersion="1.1.0", **{VALID: []})

    assert (ipam.holders(), Path(site.world.state).exists()) == (set(), False)


@pytest.mark.parametrize(
    ("answer", "code"),
    [({"code": 50, "msg": "no database"}, 50), ({"code": 4, "msg": "unknown CNI_COMMAND: STATUS"}, 0)],
    ids=["not available", "older than the verb"],
)
def test_status_is_passed_on(site: Site, node: Faulty, ipam: Recorder, answer: Json, code: int) -> None:
    pod = nic(site, "one", ipam)
    ipam.says("STATUS", "", answer, 1)

    error = failure(lambda: pod.run("STATUS", node, cniVersion="1.1.0"))

    assert (error.code if error else 0) == code
    assert error is None or "no database" in error.msg


# The real ones


@pytest.fixture
def host_local(tmp_path: Path) -> Json:
    return {"type": "host-local", "ranges": [[{"subnet": CIDR}]], "dataDir": str(tmp_path / "leases")}


def leases(host_local: Json) -> list[str]:
    return sorted(path.name for path in Path(host_local["dataDir"]).rglob("10.*"))


def test_host_local_gives_addresses_and_gets_them_back(site: Site, node: Faulty, host_local: Json) -> None:
    before = site.footprint()
    pods = [site.nic(name, network=delegated(site, host_local)) for name in ("one", "two")]
    for pod in pods:
        pod.run("ADD", node)
        pod.run("CHECK", node)

    assert leases(host_local) == sorted([pods[0].gateway(), *(str(pod.address()) for pod in pods)])
    assert failures([Probe(pods[0].pod.netns, Server(pods[1].pod.netns, pods[1].address()))]) == []
    for pod in pods:
        pod.run("DEL", node)
    assert (leases(host_local), before.changes()) == ([], [])


def test_pods_that_come_and_go_at_once_leave_no_lease(site: Site, host_local: Json) -> None:
    pods = [site.nic(f"pod{number}", network=delegated(site, host_local)) for number in range(8)]
    with ExitStack() as stack:
        netns, state = site.nodes[0].netns, site.world.state
        nodes = [stack.enter_context(closing(Inside(netns, state))) for _ in pods]
        for verb in ("ADD", "CHECK", "DEL"):
            calls = [partial(pod.run, verb, node) for pod, node in zip(pods, nodes, strict=True)]
            at_once(calls)
            if verb == "ADD":
                given = {*(str(pod.address()) for pod in pods), pods[0].gateway()}
                assert (len(given), leases(host_local)) == (9, sorted(given))

    assert leases(host_local) == []


def test_host_local_gives_the_node_its_address_again_after_a_reboot(
    site: Site, node: Faulty, host_local: Json
) -> None:
    pod = site.nic("one", network=delegated(site, host_local))
    pod.run("ADD", node)
    shutil.rmtree(site.world.state)  # what is in /run is gone, what is in /var/lib is not
    pod.node.netns.ip("link del vx_blue", "rule del priority 1500")
    after = site.nic("after", network=pod.network)

    pod.run("DEL", node)
    after.run("ADD", node)
    assert len(leases(host_local)) == 2
    after.run("DEL", node)

    assert leases(host_local) == []


def test_host_local_may_give_the_configured_gateway(site: Site, node: Faulty, host_local: Json) -> None:
    ranges = [[{"subnet": CIDR, "gateway": "10.66.0.254"}]]
    network = delegated(site, {**host_local, "ranges": ranges}, cidr="10.66.0.1/24")
    pod = site.nic("one", network=network)
    pod.run("ADD", node)

    assert pod.gateway() == "10.66.0.1"
    pod.run("DEL", node)
    assert leases(host_local) == []


@pytest.mark.parametrize(
    "keys", [{"cidr": "10.66.0.1/24"}, {"gateway": "anycast"}], ids=["a gateway", "anycast"]
)
@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_static_gives_the_address_that_it_is_configured_with(
    site: Site, node: Faulty, keys: dict[str, Any], version: str
) -> None:
    before = site.footprint()
    ipam = {"type": "static", "addresses": [{"address": "10.66.0.9/24"}]}
    pod = site.nic("one", network={**delegated(site, ipam, **keys), "cniVersion": version})
    pod.run("ADD", node)

    assert (str(pod.address()), pod.gateway()) == ("10.66.0.9", "10.66.0.1")
    if version >= "0.4.0":
        pod.run("CHECK", node)
    pod.run("DEL", node)
    assert before.changes() == []


def test_static_alone_would_give_pod_and_node_one_address_and_is_refused(site: Site, node: Faulty) -> None:
    ipam = {"type": "static", "addresses": [{"address": "10.66.0.9/24"}]}
    pod = site.nic("one", network=delegated(site, ipam))
    before = site.footprint()

    error = refusal(lambda: pod.run("ADD", node))

    assert "10.66.0.9" in error
    assert before.changes() == []
