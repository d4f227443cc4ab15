"""The annotations by which a pod asks for networks: the short form and the JSON form, read as values.

    k8s.v1.cni.cncf.io/networks: lan-a, shop/lan-b@lan0
    k8s.v1.cni.cncf.io/networks: '[{"name": "lan-a", "ips": ["10.6.0.9/24"]}]'

A mistake is an InvalidConfig that names the element and the value (`…/networks[1].ips[0]: "10.6.0.300"
is not …`) and quotes the annotation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from underlay.cni.call import IFNAME_RULE, is_ifname
from underlay.cni.cluster import NAME, NAME_RULE
from underlay.cni.document import shown
from underlay.cni.errors import CniError, InvalidConfig
from underlay.cni.keys import Aliases, Keys
from underlay.cni.value import Value
from underlay.objects import IP
from underlay.values import dataclass

NETWORKS = "k8s.v1.cni.cncf.io/networks"
DEFAULT_NETWORK = "v1.multus-cni.io/default-network"

JSON_FORM = frozenset('[{"')  # one of these makes an annotation JSON
GUID = re.compile("[0-9a-f]{2}(?::[0-9a-f]{2}){7}", re.IGNORECASE | re.ASCII)
PROTOCOLS = ("tcp", "udp", "sctp")
RATES = ("ingressRate", "ingressBurst", "egressRate", "egressBurst")
LARGEST_RATE = (1 << 63) - 1
ALIASES: Aliases = {"interface": ("interfaceRequest",)}  # its name before version 1 of the standard
AROUND = 24  # characters shown on both sides of a mistake in the JSON
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """A network that a pod asks for, and how. `place` is where it does so, for messages.

    `namespace` and `ifname` are "" where they are not said. `default_route` are gateways, () is that
    of the network itself, None: the pod's default route is not asked for. `notes` go to the log.
    """

    place: str
    name: str
    namespace: str = ""
    ifname: str = ""
    ips: tuple[str, ...] = ()
    mac: str = ""
    infiniband_guid: str = ""
    port_mappings: tuple[Json, ...] = ()
    bandwidth: Json = field(default_factory=dict)
    device_id: str = ""
    cni_args: Json = field(default_factory=dict)
    default_route: tuple[IP, ...] | None = None
    notes: tuple[str, ...] = ()


def selected_networks(annotations: Mapping[str, str]) -> tuple[Selection, ...]:
    """The networks that a pod asks for beside the default one, in order."""
    return _selections(NETWORKS, annotations.get(NETWORKS, ""))


def selected_default(annotations: Mapping[str, str]) -> Selection | None:
    """The network that a pod asks for in the place of the default one."""
    text = annotations.get(DEFAULT_NETWORK, "")
    found = _selections(DEFAULT_NETWORK, text)
    if len(found) > 1:
        raise InvalidConfig(
            f"{DEFAULT_NETWORK} names {len(found)} networks, and a pod has one default network",
            f"{_quoted(text)}; the others belong into {NETWORKS}",
        )
    return found[0] if found else None


def _selections(annotation: str, text: str) -> tuple[Selection, ...]:
    if not text.strip():
        return ()
    try:
        if JSON_FORM.isdisjoint(text):
            return tuple(_short(Value(f"{annotation}[{i}]", raw)) for i, raw in enumerate(text.split(",")))
        listed = Value(annotation, _decoded(annotation, text))
        return tuple(_element(Keys(item.object(), ALIASES, item.name)) for item in listed.items())
    except CniError as error:
        raise type(error)(error.msg, "; ".join(filter(None, (_quoted(text), error.details)))) from error


def _quoted(text: str) -> str:
    return f"the annotation is {' '.join(text.split())}"


def _short(value: Value) -> Selection:
    """`[<namespace>/]<name>[@<interface>]`."""
    text = value.raw.strip()
    item = Value(value.name, text)
    if not text:
        raise item.wrong("is empty; name a network, or take the comma away")
    namespace, slash, rest = text.rpartition("/")
    name, at, ifname = rest.partition("@")
    if slash:
        namespace = _named(Value(f"{value.name}, the namespace", namespace.strip()))
    return Selection(
        place=value.name,
        name=_named(Value(f"{value.name}, the name", name.strip())),
        namespace=namespace,
        ifname=_ifname(Value(f"{value.name}, the interface", ifname.strip())) if at else "",
    )


def _decoded(annotation: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        before, after = text[: error.pos][-AROUND:], text[error.pos :][:AROUND]
        raise InvalidConfig(
            f"{annotation} is not valid JSON: {error.msg} at character {error.pos + 1},"
            f" behind {shown(before)} and before {shown(after)}",
            'write [{"name": "…"}, …], or names alone: lan-a, lan-b',
        ) from error
    except RecursionError as error:
        raise InvalidConfig(f"{annotation} is not JSON that can be read: it is too deep") from error


def _element(keys: Keys) -> Selection:
    """One object of the JSON form."""
    name, namespace, ifname = keys.value("name"), keys.value("namespace"), keys.value("interface")
    if name is None:
        raise keys.missing("name", "an element needs the name of a NetworkAttachmentDefinition")
    keys.unsupported("ipam-claim-reference", off=("",))
    mac, guid, bandwidth = keys.value("mac"), keys.value("infiniband-guid"), keys.present("bandwidth")
    gateways, arguments = keys.value("default-route"), keys.value("cni-args")
    return Selection(
        place=name.name.removesuffix(".name"),
        name=_named(name),
        namespace=_named(namespace) if namespace and namespace.raw != "" else "",
        ifname=_ifname(ifname) if ifname and ifname.raw != "" else "",
        ips=tuple(_addresses(keys)),
        mac=mac.unicast_mac() if mac and mac.raw != "" else "",
        infiniband_guid=_guid(guid) if guid and guid.raw != "" else "",
        port_mappings=tuple(map(_port_mapping, keys.sections("portMappings"))),
        bandwidth=_bandwidth(keys.section("bandwidth")) if bandwidth else {},
        device_id=keys.text("deviceID", ""),
        cni_args=dict(arguments.object()) if arguments else {},
        default_route=_gateways(gateways) if gateways else None,
        notes=tuple(keys.unknown()),
    )


def _named(value: Value) -> str:
    if not NAME.fullmatch(value.text()):
        raise value.wrong(f"is not a name of Kubernetes: {NAME_RULE}")
    return value.text()


def _ifname(value: Value) -> str:
    if not value.text() or not is_ifname(value.text()):
        raise value.wrong(f"is not an interface name: {IFNAME_RULE}")
    return value.text()


def _addresses(keys: Keys) -> Iterator[str]:
    """With or without a prefix length, as they were written: each IPAM plugin has its own opinion."""
    ips = keys.value("ips")
    for item in ips.items() if ips else ():
        if "/" in item.text():
            item.interface_address()
        else:
            item.address()
        yield item.text()


def _guid(value: Value) -> str:
    if not GUID.fullmatch(value.text()):
        raise value.wrong("is not a GUID; give eight bytes such as 02:00:00:00:00:00:00:0a")
    return value.text().lower()


def _port_mapping(keys: Keys) -> Json:
    """As the capability `portMappings` has it (CONVENTIONS.md of CNI)."""
    protocol = keys.value("protocol")
    host_ip = keys.value("hostIP")
    if protocol and protocol.text().lower() not in PROTOCOLS:
        raise protocol.wrong(f"is not one of {', '.join(PROTOCOLS)}")
    mapping: Json = {key: _port(keys, key) for key in ("hostPort", "containerPort")}
    mapping["protocol"] = protocol.text().lower() if protocol else "tcp"
    if host_ip and host_ip.raw != "":
        mapping["hostIP"] = str(host_ip.address())
    return mapping


def _port(keys: Keys, key: str) -> int:
    value = keys.value(key)
    if value is None:
        raise keys.missing(key, "a port mapping needs hostPort and containerPort")
    return value.integer(1, 65535)


def _bandwidth(keys: Keys) -> Json:
    rates = {rate: keys.integer(rate, None, 0, LARGEST_RATE) for rate in RATES}
    return {rate: given for rate, given in rates.items() if given is not None}


def _gateways(value: Value) -> tuple[IP, ...]:
    gateways: dict[int, IP] = {}
    for item in value.items():
        gateway = item.address()
        if gateway.version in gateways:
            raise item.wrong(
                f"is a second IPv{gateway.version} gateway beside {gateways[gateway.version]};"
                " a pod has one default route of each family"
            )
        gateways[gateway.version] = gateway
    return tuple(gateways.values())
