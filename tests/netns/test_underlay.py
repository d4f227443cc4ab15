"""`underlay` in front of real plugins: NICs by annotations, and nothing of them is left."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest

from tests.netns.nics import Front, defaults, links
from tests.netns.world import Footprint, World, failures
from underlay.cni.call import POD_ANNOTATIONS
from underlay.lab.connectivity import Probe
from underlay.lab.echo import Server
from underlay.lab.errors import PluginError
from underlay.lab.namespace import delete
from underlay.lab.pod import Json, Pod


@pytest.fixture
def front(world: World) -> Front:
    return Front(world)


@pytest.fixture
def pod(world: World) -> Pod:
    return world.pod()


def addresses(result: Json) -> list[str]:
    return [str(ip_interface(ip["address"]).network) for ip in result["ips"]]


def test_a_pod_without_annotations_gets_the_default_network_alone(front: Front, pod: Pod) -> None:
    before = Footprint(front.world, front.node.netns)

    result = front.add(pod)

    assert links(pod) == ["eth0", "veth0"]
    assert addresses(result) == ["10.6.0.0/24", "fd00:6::/64"]
    front.check(pod)
    assert len(front.leases()) == 2
    front.delete(pod)
    assert (before.changes(), front.leases()) == ([], [])


def test_three_nics(front: Front, pod: Pod) -> None:
    front.define("third", front.macvlan(1, veth=False))
    before = Footprint(front.world, front.node.netns)

    result = front.add(pod, "lan-b, third@lan0")

    assert links(pod) == ["eth0", "lan0", "net1", "veth0"]
    assert addresses(result) == ["10.6.0.0/24", "fd00:6::/64"]
    assert [nic["name"] for nic in result["interfaces"] if nic.get("sandbox")] == [
        "eth0",
        "veth0",
        "net1",
        "lan0",
    ]
    assert {ip["interface"] for ip in result["ips"]} == {0}
    front.check(pod)
    front.delete(pod)
    assert (before.changes(), front.leases()) == ([], [])


def test_an_annotation_in_json_says_how_each_nic_shall_be(front: Front, pod: Pod) -> None:
    front.define("asked", front.macvlan(1, capabilities={"mac": True, "ips": True}, ipam={"type": "static"}))
    asked = {
        "name": "asked",
        "interface": "lan0",
        "mac": "02:00:00:00:00:0a",
        "ips": ["10.7.0.77/24", "fd00:7::77/64"],
    }

    front.add(pod, json.dumps([asked]))

    shown = json.loads(pod.netns.run("ip", "-j", "addr", "show", "lan0"))[0]
    assert shown["address"] == "02:00:00:00:00:0a"
    assert {"10.7.0.77", "fd00:7::77"} <= {info["local"] for info in shown["addr_info"]}
    front.check(pod)
    front.delete(pod)


def test_plugins_that_declare_no_capability_read_mac_and_ip_in_cni_args(front: Front, pod: Pod) -> None:
    front.define("asked", front.macvlan(1, ipam={"type": "static"}))
    asked = {"name": "asked", "mac": "02:00:00:00:00:0a", "ips": ["10.7.0.77/24"]}

    front.add(pod, json.dumps([asked]))

    shown = json.loads(pod.netns.run("ip", "-j", "addr", "show", "net1"))[0]
    assert shown["address"] == "02:00:00:00:00:0a"
    assert "10.7.0.77" in {info["local"] for info in shown["addr_info"]}
    front.check(pod)
    front.delete(pod)


def test_the_default_network_of_an_annotation_takes_the_place_of_the_configured_one(
    front: Front, pod: Pod
) -> None:
    front.define("other", front.macvlan(1), namespace="kube-system")

    result = front.add(pod, default="other")

    assert links(pod) == ["eth0", "veth0"]
    assert addresses(result) == ["10.7.0.0/24", "fd00:7::/64"]
    front.delete(pod)


def test_every_pod_gets_the_networks_of_the_configuration_but_those_of_the_system(
    front: Front, pod: Pod, world: World
) -> None:
    front.keys = {"networks": ["default/lan-b"]}
    front.define("third", front.macvlan(1, veth=False))
    system = world.pod("system")

    front.add(pod, "third")
    variables = front.variables(system) | {
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=system"
    }
    front.runtime.call("underlay", "ADD", front.config(None), variables)

    assert links(pod) == ["eth0", "net1", "net2", "veth0"]
    assert links(system) == ["eth0", "veth0"]


def test_a_chain_stands_in_a_conflist_where_a_definition_has_no_configuration(
    front: Front, pod: Pod
) -> None:
    front.keys = {"defaultNetwork": "in-a-file"}
    (front.conflists / "10-file.conflist").write_text(json.dumps({**front.macvlan(0), "name": "in-a-file"}))
    (front.conflists / "20-broken.conflist").write_text("{")
    (front.conflists / "30-one.conf").write_text(
        json.dumps({**front.macvlan(1)["plugins"][0], "name": "one", "cniVersion": "1.0.0"})
    )
    front.define("one", "")

    front.add(pod, "one")

    assert links(pod) == ["eth0", "net1", "veth0"]
    front.check(pod)
    front.delete(pod)


def test_the_first_conflist_that_is_not_ours_is_the_default_network_where_none_is_named(
    front: Front, pod: Pod
) -> None:
    front.keys = {"defaultNetwork": None}
    (front.conflists / "00-underlay.conflist").write_text(json.dumps(front.network))
    with pytest.raises(
        PluginError, match=r"there is no network in .* but those of underlay and Multus"
    ) as refused:
        front.add(pod)
    assert refused.value.code == 11

    (front.conflists / "10-lan.conflist").write_text(json.dumps({**front.macvlan(0), "name": "lan"}))
    front.add(pod)

    assert links(pod) == ["eth0", "veth0"]


def test_a_definition_may_be_written_as_yaml(front: Front, pod: Pod) -> None:
    chain = json.dumps(front.macvlan(1))
    (front.definitions / "more.yaml").write_text(
        "kind: NetworkAttachmentDefinition\napiVersion: k8s.cni.cncf.io/v1\n"
        f"metadata: {{name: in-yaml}}\nspec:\n  config: |\n    {chain}\n"
    )

    front.add(pod, "in-yaml")

    assert links(pod) == ["eth0", "net1", "veth0"]


def test_every_nic_reaches_its_node_and_its_lan_and_is_reached(front: Front, pod: Pod) -> None:
    hosts = [front.world.host(lan) for lan in front.world.lans]
    front.add(pod, "lan-b")
    own = {
        nic["ifname"]: [ip_address(info["local"]) for info in nic["addr_info"] if info["scope"] == "global"]
        for nic in json.loads(pod.netns.run("ip", "-j", "addr"))
    }

    probes = [
        probe
        for dev, host in zip(("eth0", "net1"), hosts, strict=True)
        for ip in own[dev]
        for probe in (
            Probe(front.node.netns, Server(pod.netns, ip)),
            Probe(host.netns, Server(pod.netns, ip)),
            Probe(pod.netns, Server(host.netns, host.addresses.of(ip.version)), source=ip),
        )
    ]

    assert len(probes) == 12
    assert failures(probes) == []


def test_an_overlay_with_a_macvlan_nic_behind_which_router_is_chained(front: Front, pod: Pod) -> None:
    overlay = {"type": "ptp", "ipMasq": False, "ipam": front.host_local(0)}
    front.define("overlay", {"cniVersion": "1.0.0", "plugins": [overlay]}, namespace="kube-system")
    chain = front.macvlan(1)
    chain["plugins"][1]["type"] = "router"
    front.define("lan-b", chain)
    front.keys = {"defaultNetwork": "overlay"}
    before = Footprint(front.world, front.node.netns)

    front.add(pod, "lan-b")

    assert links(pod) == ["eth0", "net1"]
    assert defaults(pod) == ["default via 10.7.0.1 dev net1"]
    front.check(pod)
    front.delete(pod)
    assert (before.changes(), front.leases()) == ([], [])


def test_a_network_of_vxlan_beside_the_default_one(front: Front, pod: Pod) -> None:
    blue = {
        "name": "blue", "id": 5001, "cidr": "10.66.0.0/24", "peers": [], "default_route": False,
        "options": {"vtepdev": "eth0", "learning": False},
        "ipam": {"type": "routetable", "propagation_wait": "1ms"},
    }  # fmt: skip
    vxlan = {"type": "vxlan", "vxlans": [blue], "defaultNetwork": "blue"}
    front.define("blue", {"cniVersion": "1.1.0", "plugins": [vxlan]})
    before = Footprint(front.world, front.node.netns)

    front.add(pod, "blue")

    assert links(pod) == ["eth0", "net1", "veth0"]
    front.check(pod)
    front.collect(pod)
    front.check(pod)
    front.delete(pod)
    assert (before.changes(), front.leases()) == ([], [])


# What other plugins are told


def recorded(**keys: Any) -> Json:
    """A chain of the recorder alone."""
    return {"cniVersion": "1.0.0", "plugins": [{"type": "recorder", **keys}]}


def test_other_plugins_are_called_as_a_runtime_calls_them(front: Front, pod: Pod) -> None:
    recorder = front.recorder()
    capabilities = dict.fromkeys(
        ("portMappings", "bandwidth", "deviceID", "infinibandGUID", "ips", "unknown"), True
    )
    front.define("told", recorded(capabilities=capabilities, args={"cni": {"own": 1}}, key="value"))
    asked = {
        "name": "told",
        "ips": ["10.7.0.77/24"],
        "portMappings": [{"hostPort": 8080, "containerPort": 80}],
        "bandwidth": {"ingressRate": 1000},
        "deviceID": "0000:01:00.0",
        "infiniband-guid": "02:00:00:00:00:00:00:0a",
        "cni-args": {"flavour": "salt"},
    }

    front.add(pod, json.dumps([asked]), portMappings=[{"hostPort": 1, "containerPort": 2}])
    front.check(pod)
    front.delete(pod)

    add, check, delete = recorder.calls()
    told = {
        "type": "recorder", "name": "told", "cniVersion": "1.0.0", "key": "value",
        "args": {"cni": {"own": 1, "flavour": "salt"}},
        "runtimeConfig": {
            "ips": ["10.7.0.77/24"],
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {"ingressRate": 1000},
            "deviceID": "0000:01:00.0",
            "infinibandGUID": "02:00:00:00:00:00:00:0a",
        },
    }  # fmt: skip
    result = {"cniVersion": "1.0.0", "ips": [{"address": "10.7.0.77/24"}]}
    assert add.stdin == told
    assert [check.stdin, delete.stdin] == [told | {"prevResult": result}] * 2
    for call, verb in zip((add, check, delete), ("ADD", "CHECK", "DEL"), strict=True):
        assert (call.verb, call.whose) == (verb, (pod.container_id, "net1"))
        assert call.env["CNI_NETNS"] == pod.netns.path
        assert call.env["CNI_ARGS"] == pod.cni_args
        assert call.env["CNI_PATH"] == ":".join((str(recorder.directory), *front.runtime.bin_dirs))


def test_an_older_chain_has_no_prev_result_at_del_and_no_check(front: Front, pod: Pod) -> None:
    recorder = front.recorder()
    front.define("old", {**recorded(), "cniVersion": "0.3.1"})

    front.add(pod, "old")
    front.check(pod)
    front.delete(pod)

    assert recorder.verbs() == [("ADD", "net1"), ("DEL", "net1")]
    assert "prevResult" not in recorder.calls()[1].stdin


def test_a_chain_that_offers_versions_is_spoken_to_in_the_newest_we_know(front: Front, pod: Pod) -> None:
    recorder = front.recorder()
    front.define("offers", {"cniVersions": ["0.4.0", "1.1.0", "9.0.0"], "type": "recorder"})
    front.define("silent", {"type": "recorder"})

    front.add(pod, "offers, silent")

    assert [call.stdin["cniVersion"] for call in recorder.calls()] == ["1.1.0", "1.0.0"]


def test_an_address_that_the_runtime_asks_for_is_that_of_the_default_network(front: Front, pod: Pod) -> None:
    recorder = front.recorder()
    front.define("told", recorded(capabilities={"ips": True, POD_ANNOTATIONS: True}))
    front.define("first", recorded(capabilities={"ips": True}), namespace="kube-system")
    front.keys["defaultNetwork"] = "first"
    variables = front.variables(pod) | {"CNI_ARGS": "IgnoreUnknown=1;IP=10.6.0.9;MAC=02:00:00:00:00:09"}
    runtime = front.annotated("told", ips=["10.6.0.9/24"])

    front.runtime.call("underlay", "ADD", front.config(None, runtimeConfig=runtime), variables)

    first, second = recorder.calls()
    assert first.stdin["runtimeConfig"] == {"ips": ["10.6.0.9/24"]}
    assert first.env["CNI_ARGS"] == variables["CNI_ARGS"]
    assert second.stdin["runtimeConfig"] == {POD_ANNOTATIONS: runtime[POD_ANNOTATIONS]}
    assert second.env["CNI_ARGS"] == "IgnoreUnknown=1"


# Failures


def test_a_nic_that_fails_takes_all_back_and_says_which_it_was(front: Front, pod: Pod) -> None:
    front.define("wrong", front.macvlan(1, mode="sideways"))
    before = Footprint(front.world, front.node.netns, pod.netns)

    with pytest.raises(PluginError, match=r"net2 \(default/wrong\): macvlan: .*sideways") as refused:
        front.add(pod, "lan-b, wrong, lan-b@net3")

    assert refused.value.details == ""
    assert links(pod) == []
    front.define("wrong", front.macvlan(1))
    front.delete(pod)
    assert (before.changes(), front.leases()) == ([], [])


def test_every_error_of_taking_back_is_reported_behind_the_first(front: Front, pod: Pod) -> None:
    recorder = front.recorder()
    for name in ("one", "two"):
        front.define(name, {**recorded(), "name": name})
    recorder.says("ADD", "net2", {"code": 42, "msg": "no room", "details": "all taken"}, code=1)
    for ifname in ("net1", "net2"):
        recorder.says("DEL", ifname, {"code": 5, "msg": f"disk of {ifname}"}, code=1)

    with pytest.raises(PluginError) as refused:
        front.add(pod, "one, two")

    assert refused.value.msg == "net2 (default/two): recorder: no room"
    assert refused.value.details == (
        "all taken; and taking it back failed: net2 (default/two): recorder: disk of net2;"
        " and taking it back failed: net1 (default/one): recorder: disk of net1"
    )
    assert recorder.holders() == {(pod.container_id, "net1"), (pod.container_id, "net2")}

    recorder.is_itself()
    front.delete(pod)

    assert recorder.holders() == set()


@pytest.mark.parametrize(
    ("networks", "message", "code"),
    [
        ("lan-c", r'networks\[0\]: there is no NetworkAttachmentDefinition "default/lan-c"', 7),
        ("shop/lan-b", r'there is no NetworkAttachmentDefinition "shop/lan-b"', 7),
        ("lan-b, Lan", r'networks\[1\], the name: "Lan" is not a name of Kubernetes', 7),
        ("lan-b@eth0", r'networks\[0\]: the interface "eth0" is that of the default network already', 7),
        ("lan-b@net2, lan-b", r'networks\[1\]: the interface "net2" is that of .*networks\[0\] already', 7),
        ("itself", r'networks\[0\]: the network "default/itself" calls the plugin underlay itself', 7),
        ("vf", r'the network "default/vf" needs a device \(.*resourceName: "intel.com/sriov"\)', 2),
        ("absent", r'net1 \(default/absent\): "no-such-plugin" is an executable in none of', 7),
        ("no-ipam", r'net1 \(default/no-ipam\): "no-such-ipam" is an executable in none of', 7),
        ("broken", r"NetworkAttachmentDefinition default/broken is not valid JSON", 7),
        ("ancient", r'NetworkAttachmentDefinition default/ancient.cniVersion: "0.2.0" is not a version', 1),
    ],
)
def test_what_can_not_be_attached_is_said_before_anything_is_changed(
    front: Front, pod: Pod, networks: str, message: str, code: int
) -> None:
    front.define("itself", front.network)
    front.define("vf", recorded(), **{"k8s.v1.cni.cncf.io/resourceName": "intel.com/sriov"})
    front.define("absent", {"type": "no-such-plugin"})
    front.define("no-ipam", front.macvlan(1, ipam={"type": "no-such-ipam"}))
    front.define("broken", "{")
    front.define("ancient", {"type": "macvlan", "cniVersion": "0.2.0"})
    before = Footprint(front.world, front.node.netns, pod.netns)

    with pytest.raises(PluginError, match=message) as refused:
        front.add(pod, networks)

    assert refused.value.code == code
    assert (before.changes(), front.leases()) == ([], [])
    front.delete(pod)
    assert (before.changes(), front.leases()) == ([], [])


def test_a_device_that_the_annotation_names_is_enough(front: Front, pod: Pod) -> None:
    recorder = front.recorder()
    annotations = {"k8s.v1.cni.cncf.io/resourceName": "intel.com/sriov"}
    front.define("vf", recorded(capabilities={"deviceID": True}), **annotations)

    front.add(pod, json.dumps([{"name": "vf", "deviceID": "0000:01:00.0"}]))

    assert recorder.calls()[0].stdin["runtimeConfig"] == {"deviceID": "0000:01:00.0"}


def test_with_isolation_a_pod_may_use_its_own_namespace_and_the_global_ones(front: Front, pod: Pod) -> None:
    front.keys = {"namespaceIsolation": True, "globalNamespaces": "shared, other"}
    for namespace in ("shared", "private"):
        front.define("lan", front.macvlan(1, veth=False), namespace=namespace)

    with pytest.raises(PluginError, match=r'the pod may not use networks of namespace "private"') as refused:
        front.add(pod, "private/lan")
    front.add(pod, "lan-b, shared/lan")

    assert "it may use those of default, shared, other" in refused.value.details
    assert links(pod) == ["eth0", "net1", "net2", "veth0"]


def test_no_pod_is_attached_until_the_default_network_is_ready(
    front: Front, pod: Pod, tmp_path: Path
) -> None:
    front.keys = {"readinessindicatorfile": str(tmp_path / "ready")}
    before = Footprint(front.world, front.node.netns, pod.netns)

    with pytest.raises(PluginError, match=r"readinessIndicatorFile: .*/ready is not there") as refused:
        front.add(pod)
    with pytest.raises(PluginError, match="ready is not there") as unavailable:
        front.status()

    assert (refused.value.code, unavailable.value.code) == (11, 50)
    assert (before.changes(), front.leases()) == ([], [])
    (tmp_path / "ready").touch()
    front.add(pod)
    front.status()


# DEL


def test_del_goes_by_what_was_done_though_the_definition_is_another_or_gone(front: Front, pod: Pod) -> None:
    recorder = front.recorder()
    told = front.define("told", recorded(key="then"))
    gone = front.define("gone", {"cniVersion": "1.0.0", "plugins": [*front.macvlan(1)["plugins"]]})
    before = Footprint(front.world, front.node.netns)
    front.add(pod, "told, gone")
    front.define("told", recorded(key="now"))
    gone.unlink()

    front.delete(pod)

    assert told.exists()
    assert [call.stdin["key"] for call in recorder.calls()] == ["then", "then"]
    assert (before.changes(), front.leases()) == ([], [])


def test_del_may_come_again_and_without_namespace(front: Front, pod: Pod) -> None:
    before = Footprint(front.world, front.node.netns)
    front.add(pod, "lan-b")
    delete(pod.netns)

    front.delete(pod)
    front.call("DEL", pod)
    front.call("DEL", pod, runtimeConfig=front.annotated("lan-b"))

    assert (before.changes(), front.leases()) == ([], [])


def test_del_before_any_add_is_no_error(front: Front, pod: Pod) -> None:
    before = Footprint(front.world, front.node.netns, pod.netns)

    front.call("DEL", pod)
    front.call("DEL", pod, runtimeConfig=front.annotated("lan-c, Not a name"))
    front.call("DEL", pod, defaultNetwork="nowhere")
    front.call("DEL", pod, nadDir="not absolute")

    assert (before.changes(), front.leases()) == ([], [])


def test_without_records_del_goes_by_annotations_and_configuration(front: Front, pod: Pod) -> None:
    recorder = front.recorder()
    front.define("told", recorded())
    before = Footprint(front.world, front.node.netns, pod.netns)
    front.add(pod, "told, lan-b")
    front.world.forget_records()

    front.delete(pod)

    assert recorder.holders() == set()
    assert (before.changes(), front.leases()) == ([], [])


def test_without_a_record_of_the_pod_our_plugins_still_know_their_own(front: Front, pod: Pod) -> None:
    before = Footprint(front.world, front.node.netns)
    front.add(pod, "lan-b")
    (record,) = Path(front.world.state).rglob("underlay:*/*.json")
    record.write_text("{")
    (front.definitions / "default-lan-b.json").unlink()

    front.call("DEL", pod, runtimeConfig={})

    assert [path for path in before.changes() if "records" in path] == []
    assert [line for line in before.changes() if "veth" in line] == []


# CHECK


def test_check_names_each_nic_that_is_not_as_it_was(front: Front, pod: Pod) -> None:
    recorder = front.recorder()
    front.define("told", recorded())
    front.add(pod, "lan-b, told")
    front.check(pod)
    pod.netns.run("ip", "route", "flush", "table", "101")
    recorder.says("CHECK", "net2", {"code": 101, "msg": "it is gone"}, code=1)

    with pytest.raises(PluginError, match=r"net1 \(default/lan-b\): .* that veth made for net1") as drift:
        front.check(pod)

    assert drift.value.code == 101
    assert "net2 (default/told): recorder: it is gone" in drift.value.details


def test_check_of_a_pod_that_nothing_is_known_of_is_drift(front: Front, pod: Pod) -> None:
    with pytest.raises(PluginError, match="nothing is recorded of eth0") as drift:
        front.call("CHECK", pod, prevResult={"cniVersion": "1.0.0"})

    assert drift.value.code == 101


# ADD again


def test_an_equal_add_is_answered_from_the_record_while_all_of_it_stands(front: Front, pod: Pod) -> None:
    recorder = front.recorder()
    front.define("told", recorded())
    first = front.add(pod, "lan-b, told")

    assert front.add(pod, "lan-b, told") == first
    assert recorder.verbs() == [("ADD", "net2"), ("CHECK", "net2")]

    recorder.says("CHECK", "net2", {"code": 101, "msg": "it is gone"}, code=1)
    front.add(pod, "lan-b, told")
    assert recorder.verbs()[2:] == [("CHECK", "net2"), ("DEL", "net2"), ("ADD", "net2")]
    assert links(pod) == ["eth0", "net1", "veth0"]


def test_an_add_with_other_networks_undoes_the_first(front: Front, pod: Pod) -> None:
    before = Footprint(front.world, front.node.netns)
    front.add(pod, "lan-b@lan0")

    front.add(pod, "lan-b@lan1")

    assert links(pod) == ["eth0", "lan1", "veth0"]
    front.delete(pod)
    assert (before.changes(), front.leases()) == ([], [])
