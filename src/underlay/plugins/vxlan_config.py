"""The configuration of `vxlan` as values, checked as far as that can be done without looking at the node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from ipaddress import ip_network
from itertools import combinations, product
from typing import Any

from underlay.cni.call import IDENTIFIER, IDENTIFIER_RULE, LONGEST_IFNAME
from underlay.cni.document import shown
from underlay.cni.errors import InvalidConfig
from underlay.cni.keys import Aliases, Keys
from underlay.cni.probing import Patience, patience_of
from underlay.cni.result import ResultRoute
from underlay.cni.value import Value
from underlay.digest import sha256
from underlay.objects import IP, Network
from underlay.plugins.vxlan_options import Device, device_of
from underlay.ranges import Range
from underlay.values import dataclass

PER_NODE, ANYCAST = "per-node", "anycast"
LONGEST_NAME = 63  # of a label (RFC 1035), so of a namespace that a network may be called after
MOST_EXCLUDED = 2**32
IPV6_MTU = 1280  # bytes, RFC 8200 section 5
OWN_IPAM = {"type": "routetable"}
NOT_FOR_PODS = tuple(  # the node itself, multicast, and addresses of a single link (RFC 6890)
    map(ip_network, ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "::/127", "fe80::/10", "ff00::/8"))
)
ALIASES: Aliases = {
    "defaultNetwork": ("default_network",),
    "k8sNetworkFromNamespace": ("k8s_network_from_namespace",),
    "k8sReadAnnotations": ("k8s_read_annotations",),
    "k8sConfigPath": ("k8s_config_path", "kubeconfig"),
}
NETWORK_ALIASES: Aliases = {
    "id": ("vni",),
    "excludeFirst": ("exclude_first",),
    "excludeLast": ("exclude_last",),
    "default_route": ("defaultRoute",),
}


@dataclass(frozen=True, slots=True)
class Subnet:
    """Addresses of one family. `gateway` is the node's own in it, None for any that is free."""

    network: Network
    gateway: IP | None = None


@dataclass(frozen=True, slots=True)
class VxlanNetwork:
    """One of `vxlans[]`; `where` is its path there. The subnets are one for each family, IPv4 first.

    `exclude_first` and `exclude_last` are numbers of addresses that are given to those only who ask
    for them by name. A route without `gw` leads through the network's gateway.
    """

    name: str
    where: str
    device: Device
    subnets: tuple[Subnet, ...]
    exclude_first: int = 0
    exclude_last: int = 0
    gateway: str = PER_NODE
    bypass: bool = True
    routes: tuple[ResultRoute, ...] = ()
    default_route: bool = True
    ipam: Mapping[str, Any] = field(default_factory=OWN_IPAM.copy, hash=False)

    @property
    def vx(self) -> str:
        """The name of the VXLAN device on the node."""
        return _dev("vx_", self.name)

    @property
    def mv(self) -> str:
        """The name of the node's own link in the network."""
        return _dev("mv_", self.name)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration. `kubeconfig` is a path, "" for the cluster that we run in."""

    networks: tuple[VxlanNetwork, ...]
    default_network: str = ""
    from_namespace: bool = False
    reads_annotations: bool = False
    kubeconfig: str = ""
    ip_conflict: Patience | None = None


def _dev(prefix: str, name: str) -> str:
    """A long name does not fit, so a hash of it stands for it: the same on every node."""
    if len(prefix + name) <= LONGEST_IFNAME:
        return prefix + name
    return prefix + sha256(name.encode()).hexdigest()[: LONGEST_IFNAME - len(prefix)]


def parse(keys: Keys) -> Config:
    """Reads and checks all networks, not only the one that a pod will join."""
    ipam = keys.value("ipam")
    networks = tuple(_network(each, ipam) for each in keys.sections("vxlans", NETWORK_ALIASES))
    if not networks:
        raise keys.missing("vxlans", 'list one network or more: [{"name": …, "id": …, "cidr": …}]')
    for one, other in combinations(networks, 2):
        _refuse_clash(one, other)
    return Config(
        networks,
        default_network=_default_network(keys, networks),
        from_namespace=keys.flag("k8sNetworkFromNamespace", False),
        reads_annotations=keys.flag("k8sReadAnnotations", False),
        kubeconfig=_kubeconfig(keys),
        ip_conflict=patience_of(keys.section("ip_conflict")),
    )


def names_of(networks: Iterable[VxlanNetwork]) -> str:
    """The names, for a message that says which there are."""
    return ", ".join(shown(network.name) for network in networks)


def _default_network(keys: Keys, networks: tuple[VxlanNetwork, ...]) -> str:
    value = keys.value("defaultNetwork")
    name = value.text() if value else ""
    if value and name and name not in [network.name for network in networks]:
        raise value.wrong(f"is not the name of a network; in vxlans there are {names_of(networks)}")
    return name


def _kubeconfig(keys: Keys) -> str:
    value = keys.value("k8sConfigPath")
    return value.path() if value else ""


# One network


def _network(keys: Keys, shared_ipam: Value | None) -> VxlanNetwork:
    name = keys.value("name")
    if name is None:
        raise keys.missing("name", "a network is chosen by its name, and its links are called after it")
    where = name.name.rpartition(".")[0]
    device = device_of(keys, where)
    gateway = keys.choice("gateway", (PER_NODE, ANYCAST), PER_NODE)
    default_route = keys.flag("default_route", True)
    subnets = _subnets(keys, gateway)
    network = VxlanNetwork(
        name=_name(name),
        where=where,
        device=device,
        subnets=subnets,
        exclude_first=keys.integer("excludeFirst", 0, 0, MOST_EXCLUDED),
        exclude_last=keys.integer("excludeLast", 0, 0, MOST_EXCLUDED),
        gateway=gateway,
        bypass=_bypass(keys, gateway),
        routes=_routes(keys, subnets, has_default=default_route),
        default_route=default_route,
        ipam=_ipam(keys.value("ipam") or shared_ipam),
    )
    _refuse_full(network)
    _refuse_itself(network)
    if 0 < device.mtu < IPV6_MTU and any(subnet.network.version == 6 for subnet in subnets):
        raise InvalidConfig(f"{where}.mtu: {device.mtu} is too small for IPv6; give {IPV6_MTU} or more")
    return network


def _name(value: Value) -> str:
    """Stricter than the kernel, which takes "%d" for a number to fill in."""
    name = value.text()
    if not IDENTIFIER.fullmatch(name) or len(name) > LONGEST_NAME:
        raise value.wrong(
            f"is not a name for a network: {IDENTIFIER_RULE}; at most {LONGEST_NAME} characters"
        )
    return name


def _subnets(keys: Keys, gateway: str) -> tuple[Subnet, ...]:
    value = keys.value("cidr")
    if value is None or value.raw == []:
        raise keys.missing("cidr", 'give a subnet such as "10.66.0.0/24", or a list of one for each family')
    found: dict[int, Subnet] = {}
    for item in value.items() if isinstance(value.raw, list) else (value,):
        subnet = _subnet(item, gateway)
        version = subnet.network.version
        if version in found:
            raise item.wrong(
                f"is a second IPv{version} subnet beside {found[version].network}; give one for each family,"
                " and another network for another subnet"
            )
        found[version] = subnet
    return tuple(found[version] for version in sorted(found))


def _subnet(value: Value, gateway: str) -> Subnet:
    given = value.interface_address()
    network = given.network
    if network.num_addresses < 2:
        raise value.wrong("is one address; a gateway and a pod need two: give a shorter prefix")
    for taken in NOT_FOR_PODS:
        if _overlap(taken, network):
            raise value.wrong(f"overlaps {taken}, which is not for pods; give a private subnet")
    if given.ip == network.network_address:
        return Subnet(network, network.network_address + 1 if gateway == ANYCAST else None)
    if refusal := Range(network).refusal(given.ip):
        raise value.wrong(
            f"makes {given.ip} the gateway, which {refusal}; give another, or {network} for any"
        )
    return Subnet(network, given.ip)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _bypass(keys: Keys, gateway: str) -> bool:
    if gateway == PER_NODE:
        return keys.flag("bypass", True)
    value = keys.value("bypass")
    if value and value.flag():
        raise value.wrong(
            f'does not go with "gateway": "{ANYCAST}": all nodes have that address, so what a pod answers'
            " ends at its own node, not at the one that asked by the network; leave it out"
        )
    return False


def _routes(keys: Keys, subnets: tuple[Subnet, ...], *, has_default: bool) -> tuple[ResultRoute, ...]:
    routes: dict[Network, ResultRoute] = {}
    for item in keys.sections("routes"):
        dst, gw = item.value("dst"), item.value("gw")
        if dst is None:
            raise item.missing("dst", "a route needs a destination such as 192.0.2.0/24")
        network = dst.network()
        if network in routes:
            raise dst.wrong("has a route in this list already; keep one of them")
        if not network.prefixlen and has_default:
            raise dst.wrong(
                "is a default route, and the pod has that of the network:"
                ' give "default_route": false to have this one'
            )
        subnet = _subnet_for(dst, subnets)
        routes[network] = ResultRoute(network, _next_hop(gw, subnet) if gw else None)
    return tuple(routes.values())


def _subnet_for(dst: Value, subnets: tuple[Subnet, ...]) -> Network:
    network = dst.network()
    of_family = [subnet.network for subnet in subnets if subnet.network.version == network.version]
    if not of_family:
        raise dst.wrong(
            f"is IPv{network.version}, of which cidr has no subnet; add one, or remove the route"
        )
    if network in of_family:
        raise dst.wrong("is the network's own subnet, which pods reach without a route; remove it")
    return of_family[0]


def _next_hop(gw: Value, subnet: Network) -> IP:
    ip = gw.address()
    refusal = "" if ip.version == 6 and ip.is_link_local else Range(subnet).refusal(ip)
    if refusal:
        raise gw.wrong(f"{refusal}; give an address of the network, or none for its gateway")
    return ip


def _ipam(value: Value | None) -> Mapping[str, Any]:
    """The section for whoever gives the addresses; only who that is, is read here."""
    if value is None:
        return OWN_IPAM.copy()
    section = Keys(value.object(), where=value.name)
    kind = section.value("type")
    if kind is None or kind.raw == "":
        raise section.missing("type", "name an IPAM plugin; routetable is ours")
    if "/" in kind.text():
        raise kind.wrong("is a path; give the name of an IPAM plugin in CNI_PATH, such as routetable")
    return {"type": kind.text(), **section.rest()}


def _refuse_full(network: VxlanNetwork) -> None:
    """A network needs an address for a pod, and where the node's own is none in particular, one for that."""
    for subnet in network.subnets:
        reserved = (subnet.gateway,) if subnet.gateway else ()
        left = Range(subnet.network, network.exclude_first, network.exclude_last, reserved).size
        if left < 2 - len(reserved):
            need = "a pod needs one" if reserved else "a gateway and a pod need two"
            raise InvalidConfig(
                f"{network.where}.excludeFirst: {network.exclude_first} and excludeLast:"
                f" {network.exclude_last} leave {left} of the addresses of {subnet.network};"
                f" {need}: exclude fewer"
            )


def _refuse_itself(network: VxlanNetwork) -> None:
    """What carries a network can't be reached through it."""
    device = network.device
    for key, ip in (("options.srcaddr", device.local), *(("peers", peer) for peer in device.peers)):
        for subnet in network.subnets:
            if ip and ip in subnet.network:
                raise InvalidConfig(
                    f"{network.where}.{key}: {shown(str(ip))} is in {subnet.network}, the subnet of the"
                    " network itself; give an address that the node has without it"
                )


# Two networks


def _refuse_clash(one: VxlanNetwork, other: VxlanNetwork) -> None:
    first = f"network {shown(one.name)} ({one.where})"
    if one.name == other.name:
        raise InvalidConfig(
            f"{other.where}.name: {shown(other.name)} is the name of {one.where} already;"
            " give each network its own"
        )
    if (one.device.vni, one.device.port) == (other.device.vni, other.device.port):
        raise InvalidConfig(
            f"{other.where}.id: {other.device.vni} with port {other.device.port} is that of {first} already;"
            " give each network its own id"
        )
    for mine, theirs in product(one.subnets, other.subnets):
        if _overlap(mine.network, theirs.network):
            raise InvalidConfig(
                f"{other.where}.cidr: {theirs.network} of network {shown(other.name)} overlaps"
                f" {mine.network} of {first}; a node could not tell their pods apart: give other subnets"
            )
    _refuse_shared_socket(one, other)


def _refuse_shared_socket(one: VxlanNetwork, other: VxlanNetwork) -> None:
    """Devices on one port share its socket, which has group policy on or not (vxlan_find_sock())."""
    mine, theirs = one.device, other.device
    if (mine.port, mine.version) == (theirs.port, theirs.version) and mine.gbp != theirs.gbp:
        raise InvalidConfig(
            f"{other.where}.options.gbp: {shown(theirs.gbp)}, but network {shown(one.name)} ({one.where})"
            f" has {shown(mine.gbp)} on the same port {mine.port}; give both the same, or another port"
        )
