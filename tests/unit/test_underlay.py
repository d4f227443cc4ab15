"""`underlay`: which NICs a pod gets, what the plugins of each are told, and what is written down of it."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from underlay.cni.call import POD_ANNOTATIONS, Call
from underlay.cni.chain import configuration
from underlay.cni.errors import CniError, InvalidConfig, UnsupportedField
from underlay.cni.keys import Keys
from underlay.cni.several.record import Delegation, decode, encode
from underlay.networks.annotations import DEFAULT_NETWORK, NETWORKS
from underlay.networks.catalogue import Catalogue
from underlay.networks.conflist import Conflist
from underlay.networks.delegates import Delegate
from underlay.networks.sources import Reference
from underlay.networks.status import network_status
from underlay.plugins.underlay import ALIASES, CONF_DIR, NAD_DIR, PLUGIN, Config

Json = dict[str, Any]


def parsed(**keys: Any) -> Config:
    config = PLUGIN.parse(Keys(keys, ALIASES))
    assert config
    return config


# Configuration


def test_the_smallest_configuration_takes_the_first_network_of_the_runtimes_directory() -> None:
    config = parsed()

    assert config.networks == (Reference("defaultNetwork", "", "kube-system"),)
    assert (config.setting.sources.conf_dir, config.setting.sources.nad_dir) == (CONF_DIR, NAD_DIR)
    assert config.setting.sources.kubeconfig is None


def test_the_spelling_of_multus_means_the_same() -> None:
    multus = parsed(
        clusterNetwork="calico",
        defaultNetworks=["one", "shop/two"],
        multusNamespace="nets",
        readinessindicatorfile="/run/ready",
        systemNamespaces=["kube-system", "admin"],
        globalNamespaces="default, shared",
        namespaceIsolation=True,
        kubeconfig="",
        cniDir="/var/lib/cni/multus",
    )

    ours = parsed(
        defaultNetwork="calico",
        networks=["one", "shop/two"],
        defaultNamespace="nets",
        readinessIndicatorFile="/run/ready",
        systemNamespaces="kube-system,admin",
        globalNamespaces=["default", "shared"],
        namespaceIsolation=True,
        kubeconfig="",
    )
    assert [(each.name, each.namespace) for each in multus.networks] == [
        ("calico", "nets"), ("one", "nets"), ("shop/two", "nets"),
    ]  # fmt: skip
    assert [each.place for each in multus.networks] == [
        "clusterNetwork", "defaultNetworks[0]", "defaultNetworks[1]",
    ]  # fmt: skip
    assert multus.setting == ours.setting
    assert multus.global_namespaces == ours.global_namespaces == ("default", "shared")
    assert multus.system_namespaces == ours.system_namespaces == ("kube-system", "admin")


def test_delegates_are_whole_networks() -> None:
    chain = {"name": "lan", "type": "bridge"}

    assert parsed(delegates=[chain, chain]).networks == (
        Reference("delegates[0]", inline=chain),
        Reference("delegates[1]", inline=chain),
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"delegates": [{"type": "a"}], "networks": ["b"]}, "delegates is given beside defaultNetwork or"),
        ({"delegates": ["a"]}, 'delegates[0]: "a" is not an object'),
        ({"networks": [1]}, "networks[0]: 1 is not a string"),
        ({"networks": [""]}, 'networks[0]: "" is not a name'),
        ({"confDir": "net.d"}, 'confDir: "net.d" is not an absolute path'),
        ({"namespaceIsolation": "true"}, 'namespaceIsolation: "true" is not true or false'),
        ({"kubeconfig": 1}, "kubeconfig: 1 is not a string"),
        ({"kubeconfig": "admin.conf"}, 'kubeconfig: "admin.conf" is not an absolute path'),
    ],
)
def test_a_mistake_in_the_configuration_names_the_key(keys: Json, message: str) -> None:
    with pytest.raises(InvalidConfig) as refused:
        parsed(**keys)

    assert refused.value.msg.startswith(message)


# NICs


def defined(
    directory: Path, name: str, namespace: str = "default", config: Json | None = None, **note: str
) -> None:
    document = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": name, "namespace": namespace, "annotations": note},
        "spec": {"config": json.dumps(config or {"type": "bridge"})},
    }
    (directory / f"{namespace}-{name}.json").write_text(json.dumps(document))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Definitions: kube-system/pods, and in default one and two."""
    defined(tmp_path, "pods", "kube-system")
    defined(tmp_path, "one")
    defined(tmp_path, "two")
    return tmp_path


def delegates(
    directory: Path,
    networks: str | list[Json] = "",
    default: str = "",
    call: Json | None = None,
    **keys: Any,
) -> tuple[Delegate, ...]:
    config = parsed(
        **{"defaultNetwork": "pods", "nadDir": str(directory), "confDir": str(directory), **keys}
    )
    text = networks if isinstance(networks, str) else json.dumps(networks)
    annotations = {NETWORKS: text, DEFAULT_NETWORK: default}
    made = Call("ADD", "c0ffee", "/netns", "eth0", **(call or {}))
    return PLUGIN.delegates(config, made, annotations, Catalogue(config.setting.sources, "1.0.0", no_api))


def no_api(_kubeconfig: str) -> Any:
    raise NotImplementedError


def names(found: tuple[Delegate, ...]) -> list[tuple[str, str]]:
    return [(each.ifname, each.network) for each in found]


PODS, ONE, TWO = "kube-system/pods", "default/one", "default/two"
BY_ONE = {"name": "one", "default-route": []}
IN_SYSTEM = {"args": {"K8S_POD_NAMESPACE": "kube-system"}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [("eth0", PODS)]),
        ({"networks": "one, two"}, [("eth0", PODS), ("net1", ONE), ("net2", TWO)]),
        ({"networks": "one@lan0, two"}, [("eth0", PODS), ("lan0", ONE), ("net2", TWO)]),
        ({"networks": "one, one"}, [("eth0", PODS), ("net1", ONE), ("net2", ONE)]),
        ({"networks": "kube-system/pods"}, [("eth0", PODS), ("net1", PODS)]),
        ({"default": "default/one"}, [("eth0", ONE)]),
        ({"default": "pods", "networks": "two"}, [("eth0", PODS), ("net1", TWO)]),
        ({"default": "default/one@eth0"}, [("eth0", ONE)]),
        ({"networks": "default/two", "call": IN_SYSTEM}, [("eth0", PODS), ("net1", TWO)]),
    ],
)
def test_nics_come_in_order(directory: Path, given: Json, expected: list[tuple[str, str]]) -> None:
    assert names(delegates(directory, **given)) == expected


def test_networks_of_the_configuration_come_before_those_of_the_annotation(directory: Path) -> None:
    everywhere: Json = {"defaultNetworks": ["default/one"]}

    assert names(delegates(directory, "two", **everywhere)) == [("eth0", PODS), ("net1", ONE), ("net2", TWO)]
    assert names(delegates(directory, call=IN_SYSTEM, **everywhere)) == [("eth0", PODS)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"call": {"config": {"runtimeConfig": []}}}, "runtimeConfig: [] is not an object"),
        (
            {"networks": "one@eth0"},
            f'{NETWORKS}[0]: the interface "eth0" is that of the default network',
        ),
        (
            {"networks": "one@lo"},
            f'{NETWORKS}[0]: the interface "lo" is that of every pod, for itself',
        ),
        (
            {"networks": "one@net2, two"},
            f'{NETWORKS}[1]: the interface "net2" is that of {NETWORKS}[0] already',
        ),
        (
            {"default": "default/one@net1"},
            f"{DEFAULT_NETWORK}[0]: the default network's interface can't be \"net1\"",
        ),
        (
            {"networks": "kube-system/pods", "namespaceIsolation": True},
            f'{NETWORKS}[0]: the pod may not use networks of namespace "kube-system"',
        ),
        (
            {"networks": "one", "namespaceIsolation": True, "globalNamespaces": [], "call": IN_SYSTEM},
            f'{NETWORKS}[0]: there is no NetworkAttachmentDefinition "kube-system/one"',
        ),
        (
            {"default": "shop/one", "namespaceIsolation": True},
            f'{DEFAULT_NETWORK}[0]: the pod may not use networks of namespace "shop"',
        ),
        (
            {
                "networks": [
                    {"name": "one", "default-route": []},
                    {"name": "two", "default-route": ["fd00::1"]},
                ]
            },
            f"{NETWORKS}[1]: {NETWORKS}[0] asks for default-route of IPv6 already",
        ),
    ],
    ids=str,
)
def test_what_can_not_be_is_refused_with_its_place(directory: Path, given: Json, message: str) -> None:
    with pytest.raises(CniError) as refused:
        delegates(directory, **given)

    assert refused.value.msg.startswith(message)


def test_two_nics_may_share_the_default_route_by_family(directory: Path) -> None:
    both = [{"name": "one", "default-route": ["10.0.0.1"]}, {"name": "two", "default-route": ["fd00::1"]}]

    found = delegates(directory, both)

    assert [each.default_route for each in found] == [
        None,
        (ip_address("10.0.0.1"),),
        (ip_address("fd00::1"),),
    ]


def test_a_network_that_calls_underlay_is_refused(directory: Path) -> None:
    defined(directory, "itself", config={"name": "pods", "plugins": [{"type": "underlay"}]})

    with pytest.raises(InvalidConfig, match='the network "default/itself" calls the plugin underlay itself'):
        delegates(directory, "itself")
    with pytest.raises(InvalidConfig, match='defaultNetwork: the network "default/itself" calls'):
        delegates(directory, defaultNetwork="default/itself")


def test_a_network_that_needs_a_device_is_refused_until_one_is_named(directory: Path) -> None:
    note: Json = {"k8s.v1.cni.cncf.io/resourceName": "intel.com/sriov"}
    defined(directory, "vf", **note)

    with pytest.raises(UnsupportedField, match='the network "default/vf" needs a device'):
        delegates(directory, "vf")
    assert delegates(directory, [{"name": "vf", "deviceID": "0000:01:00.0"}])[1].capabilities == {
        "deviceID": "0000:01:00.0"
    }


# What plugins are told


def test_what_the_runtime_says_of_the_nic_is_for_the_default_network(directory: Path) -> None:
    of_pod = {POD_ANNOTATIONS: {}, "dns": {"servers": ["192.0.2.1"]}}
    config = {"runtimeConfig": {"portMappings": [{"hostPort": 1}], "mac": "02:00:00:00:00:01", **of_pod}}
    args = {"K8S_POD_NAME": "web", "IP": "10.0.0.9", "MAC": "02:00:00:00:00:01"}

    first, second = delegates(directory, "one", call={"config": config, "args": args})

    assert (first.capabilities, first.args) == (config["runtimeConfig"], args)
    assert (second.capabilities, second.args) == (of_pod, {"K8S_POD_NAME": "web"})


def test_what_the_annotation_asks_for_is_told_by_capabilities_else_by_arguments(directory: Path) -> None:
    defined(directory, "declares", config={"type": "bridge", "capabilities": {"ips": True, "mac": False}})
    asked = {"name": "declares", "ips": ["10.0.0.9/24", "fd00::9/64"], "mac": "02:00:00:00:00:01"}

    _, found = delegates(directory, [asked])
    _, other = delegates(directory, [{**asked, "name": "one"}])

    assert found.capabilities == {"ips": ["10.0.0.9/24", "fd00::9/64"], "mac": "02:00:00:00:00:01"}
    assert found.args == {"IgnoreUnknown": "1", "MAC": "02:00:00:00:00:01"}
    assert other.args == {**found.args, "IP": "10.0.0.9/24,fd00::9/64"}


def test_what_no_plugin_declares_is_noted_for_the_log(directory: Path) -> None:
    asked = {"name": "one", "mac": "02:00:00:00:00:01", "bandwidth": {"ingressRate": 1}}

    assert delegates(directory, [asked])[1].notes == (
        f"{NETWORKS}[0]: no plugin of {ONE} declares the capability bandwidth: none is told",
    )


def test_a_plugin_reads_its_own_configuration_with_what_the_runtime_adds() -> None:
    plugin = {
        "type": "bridge",
        "name": "of its own",
        "key": 1,
        "capabilities": {"mac": True, "ips": False, "dns": True},
        "cni.dev/x": 1,
    }
    delegate = Delegate("net1", "lan", Conflist("lan", "1.0.0", (plugin,)), {"mac": "m", "ips": ["i"]})

    assert configuration(plugin, delegate) == {
        "type": "bridge",
        "name": "lan",
        "cniVersion": "1.0.0",
        "key": 1,
        "runtimeConfig": {"mac": "m"},
    }


# What is written down


DELEGATION = Delegation(
    plugin="underlay",
    network="pods",
    ifname="eth0",
    container_id="c0ffee",
    netns="/netns",
    netns_id="4711",
    created=1,
    path=("/opt/cni/bin",),
    delegates=(
        Delegate(
            "eth0", "lan", Conflist("lan", "0.3.1", ({"type": "a"},), disable_check=True), {"mac": "m"}
        ),
        Delegate(
            "net1",
            ONE,
            Conflist("one", "1.1.0", ({"type": "b", "args": {"cni": {"x": 1}}},), disable_gc=True),
            args={"IP": "10.0.0.9"},
            default_route=(ip_address("10.0.0.1"),),
            result={"cniVersion": "1.1.0"},
        ),
        Delegate("net2", TWO, Conflist("two", "1.1.0", ({"type": "b"},)), default_route=()),
    ),
)


def test_a_record_is_read_as_it_was_written() -> None:
    assert decode(json.loads(json.dumps(encode(DELEGATION)))) == DELEGATION


@pytest.mark.parametrize("key", [*encode(DELEGATION)])
def test_a_record_that_lacks_anything_can_not_be_read(key: str) -> None:
    raw = {name: value for name, value in encode(DELEGATION).items() if name != key}

    with pytest.raises(KeyError):
        decode(raw)


# What the pod is told


RESULT: Json = {
    "cniVersion": "1.0.0",
    "interfaces": [
        {"name": "vethX", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1400, "sandbox": "/netns"},
        {"name": "veth0", "mac": "02:00:00:00:00:03", "sandbox": "/netns"},
    ],
    "ips": [
        {"address": "10.0.0.9/24", "gateway": "10.0.0.1", "interface": 1},
        {"address": "fd00::9/64", "interface": 1},
    ],
    "routes": [
        {"dst": "0.0.0.0/0"},
        {"dst": "::/0", "gw": "fd00::1"},
        {"dst": "192.0.2.0/24", "gw": "10.0.0.2"},
    ],
    "dns": {"nameservers": ["192.0.2.53"]},
}


def test_the_status_has_one_entry_for_each_nic() -> None:
    chain = Conflist("lan", "1.0.0", ({"type": "a"},))
    older: Json = {"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.1.0.9/24"}]}
    first = Delegate("eth0", PODS, chain, result=RESULT)
    second = Delegate("net1", "lan", Conflist("lan", "0.3.1", ()), result=older)

    assert json.loads(network_status((first, second))) == [
        {
            "name": PODS,
            "interface": "eth0",
            "ips": ["10.0.0.9", "fd00::9"],
            "mac": "02:00:00:00:00:02",
            "mtu": 1400,
            "default": True,
            "dns": {"nameservers": ["192.0.2.53"]},
            "gateway": ["10.0.0.1", "fd00::1"],
        },
        {"name": "lan", "interface": "net1", "ips": ["10.1.0.9"], "dns": {}},
    ]
