"""What a pod asks for: which network, which addresses, which MAC. Annotations, CNI_ARGS and runtimeConfig.

A wish for addresses or a MAC that is made for this one attachment (runtimeConfig, args.cni, CNI_ARGS:
CNI's CONVENTIONS.md) comes before the annotation, which all NICs of the pod share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from underlay.cni.call import POD_ANNOTATIONS
from underlay.cni.document import shown
from underlay.cni.errors import InvalidConfig
from underlay.cni.keys import Keys
from underlay.cni.value import Value
from underlay.objects import IP
from underlay.plugins.vxlan_config import Config, VxlanNetwork, names_of
from underlay.ranges import Range
from underlay.values import dataclass

NETWORK_NAME = "vxlan-cni.travishegner.com/NetworkName"
REQUESTED_ADDRESS = "vxlan-cni.travishegner.com/RequestedAddress"
FROM_API = "metadata.annotations"  # as `kubectl get pod -o yaml` shows them


@dataclass(frozen=True, slots=True)
class Requested:
    """An address that is asked for. `said` is where and how, for messages; `prefixlen` None: not said."""

    said: Value
    ip: IP
    prefixlen: int | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one attachment asks for; of addresses at most one of each family. Empty is "any"."""

    network: Value | None = None
    namespace: str = ""
    requested: tuple[Requested, ...] = ()
    mac: str = ""

    @property
    def addresses(self) -> tuple[IP, ...]:
        return tuple(each.ip for each in self.requested)


def wishes_of(
    config: Mapping[str, object], args: Mapping[str, str], api_annotations: Mapping[str, str]
) -> Wishes:
    """Reads the configuration as the runtime gave it, CNI_ARGS, and annotations from the Kubernetes API.

    Raises InvalidConfig for what is no name, address or MAC; whether it fits, `choose` says.
    """
    keys = Keys(config)
    ours, runtime = keys.section("args"), keys.section("runtimeConfig")
    cni = ours.section("cni")
    annotations = (
        ours.section("annotations"),
        cni,
        cni.section("annotations"),
        runtime.section(POD_ANNOTATIONS),
        Keys(api_annotations, where=FROM_API),
    )
    macs = (runtime.value("mac"), cni.value("mac"), _argument(args, "MAC"))
    network = _first(section.value(NETWORK_NAME) for section in annotations)
    if network:
        network.text()
    mac = _first(macs)
    return Wishes(
        network=network,
        namespace=args.get("K8S_POD_NAMESPACE", ""),
        requested=_one_of_each_family(_requested((runtime, cni), args, annotations)),
        mac=mac.unicast_mac() if mac else "",
    )


def choose(config: Config, wishes: Wishes) -> VxlanNetwork:
    """The network that the pod joins: by annotation, else by namespace, else the default one.

    InvalidConfig where there is none, and where an address that is asked for is not one of its.
    """
    network = _chosen(config, wishes)
    for requested in wishes.requested:
        _refuse_stranger(requested, network)
    return network


def _argument(args: Mapping[str, str], key: str) -> Value | None:
    return Value(f"CNI_ARGS {key}", args[key]) if key in args else None


def _first(values: Iterable[Value | None]) -> Value | None:
    return next((value for value in values if value and value.raw != ""), None)


def _requested(
    lists: Iterable[Keys], args: Mapping[str, str], annotations: Iterable[Keys]
) -> Iterator[Value]:
    """The addresses of the first place that has any."""
    for keys in lists:
        ips = keys.value("ips")
        if ips and ips.items():
            yield from ips.items()
            return
    text = _first((_argument(args, "IP"), *(section.value(REQUESTED_ADDRESS) for section in annotations)))
    if text:
        yield from (Value(text.name, part.strip()) for part in text.text().split(","))


def _one_of_each_family(values: Iterator[Value]) -> tuple[Requested, ...]:
    found: dict[int, Requested] = {}
    for value in values:
        requested = _address(value)
        version = requested.ip.version
        if version in found:
            raise value.wrong(
                f"is a second IPv{version} address beside {found[version].ip}; ask for one of each family"
            )
        found[version] = requested
    return tuple(found[version] for version in sorted(found))


def _address(value: Value) -> Requested:
    if not isinstance(value.raw, str) or "/" not in value.raw:
        return Requested(value, value.address())
    given = value.interface_address()
    return Requested(value, given.ip, given.network.prefixlen)


def _chosen(config: Config, wishes: Wishes) -> VxlanNetwork:
    networks = {network.name: network for network in config.networks}
    there_are = f"there are {names_of(config.networks)}"
    if wishes.network:
        if wishes.network.raw not in networks:
            raise wishes.network.wrong(f"is not the name of a network in vxlans; {there_are}")
        return networks[wishes.network.raw]
    if config.from_namespace and wishes.namespace in networks:
        return networks[wishes.namespace]
    if config.default_network:
        return networks[config.default_network]
    namespace = f" in namespace {shown(wishes.namespace)}" if wishes.namespace else ""
    raise InvalidConfig(
        f"nothing says which network the pod{namespace} joins: annotate it with {NETWORK_NAME}, or set"
        f" k8sNetworkFromNamespace and name a network like its namespace, or set defaultNetwork; {there_are}"
    )


def _refuse_stranger(requested: Requested, network: VxlanNetwork) -> None:
    ip, name = requested.ip, f"network {shown(network.name)}"
    subnet = next((each for each in network.subnets if each.network.version == ip.version), None)
    if subnet is None:
        raise requested.said.wrong(
            f"is IPv{ip.version}, of which {name} has no subnet; ask for one of"
            f" {', '.join(str(each.network) for each in network.subnets)}"
        )
    refusal = Range(subnet.network).refusal(ip) or ("is the gateway" if ip == subnet.gateway else "")
    if refusal:
        raise requested.said.wrong(f"{refusal} ({name}); ask for another, or for none")
    if requested.prefixlen not in (None, subnet.network.prefixlen, subnet.network.max_prefixlen):
        raise requested.said.wrong(f"has another prefix length than {subnet.network} ({name}); leave it out")
