"""Main plugin `vxlan`: layer-2 networks that are stretched over the nodes, each node the router of its pods.

A node joins a network with its first pod there, and leaves it with the last:

    node NIC ── vx_blue (VXLAN) ─┬─ mv_blue  macvlan of the node: the gateway of its pods
                                 ├─ eth0     macvlan, in the namespace of a pod
                                 └─ eth0     and of another one

Pods of one network speak with each other directly, on whatever node they are. All else goes through
their own node. What comes from outside goes to the node that has the pod, where a routing daemon
spreads the claims of `routetable`: docs/routing.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from underlay.claims import CLAIM
from underlay.cni.call import Call
from underlay.cni.errors import InvalidConfig
from underlay.cni.keys import Keys
from underlay.cni.plugin import Attachment, Delegated, Given, Joining, MainPlugin, Membership, Wanted
from underlay.cni.probing import Patience
from underlay.cni.result import Interface as ResultInterface
from underlay.cni.result import IpConfig, Result, ResultRoute
from underlay.cni.wish import Wish
from underlay.facts import Interface, Remains, Underlay, VxlanLink
from underlay.objects import (
    HOST,
    IP,
    POD,
    Address,
    Fdb,
    LinkUp,
    Macvlan,
    Object,
    Route,
    Rule,
    Sysctl,
    Vxlan,
)
from underlay.plan import Plan
from underlay.plugins.choice import Wishes, choose, wishes_of
from underlay.plugins.nic import EVERYTHING, single
from underlay.plugins.routetable import NAMES as OWN_IPAM
from underlay.plugins.routetable import Options, parse_options, previous_addresses
from underlay.plugins.vxlan_config import ALIASES, Config, VxlanNetwork
from underlay.plugins.vxlan_config import parse as parse_config
from underlay.plugins.vxlan_node import (
    BYPASS_PRIORITY,
    BYPASS_TABLES,
    NOBODY,
    mac_of,
    node_plan,
    outer_version,
    shared_gateways,
)
from underlay.ranges import Range
from underlay.values import dataclass

STATIC = 4  # the routing protocol number of the routes of main plugins: chained ones tell theirs from these
ELSEWHERE = {
    4: ip_address("192.0.2.1"),
    6: ip_address("2001:db8::1"),
}  # for documentation: by the default route


@dataclass(frozen=True, slots=True)
class VxlanJoining:
    """One pod's way into one of the networks; without a pod, any that asks for nothing special."""

    network: VxlanNetwork
    config: Mapping[str, Any]
    args: Mapping[str, str]
    wishes: Wishes
    for_conflict: Patience | None = None

    @property
    def name(self) -> str:
        return f"vxlan:{self.network.name}"

    @property
    def definition(self) -> object:
        return self.network

    @property
    def dev(self) -> str:
        return self.network.mv

    @property
    def versions(self) -> tuple[int, ...]:
        return tuple(subnet.network.version for subnet in self.network.subnets)

    @property
    def underlay(self) -> str:
        return self.network.device.underlay

    @property
    def underlay_key(self) -> str:
        return f"{self.network.where}.options.vtepdev"

    @property
    def toward(self) -> tuple[IP, ...]:
        return (*self.network.device.peers, ELSEWHERE[outer_version(self.network)])

    @property
    def gateways(self) -> tuple[Interface, ...] | None:
        return shared_gateways(self.network)

    @property
    def ipam_of_node(self) -> Wanted | Delegated:
        fixed: dict[int, IP] = {s.network.version: s.gateway for s in self.network.subnets if s.gateway}
        asked = self._ipam({**self.config, "args": None, "runtimeConfig": None}, "", fixed)
        if isinstance(asked, Delegated):
            return asked
        # What the pod asks for is not for the node, which takes any.
        return replace(asked, wishes=tuple(_without(wish, self.wishes.addresses) for wish in asked.wishes))

    @property
    def ipam(self) -> Wanted | Delegated:
        args = ";".join(f"{key}={value}" for key, value in self.args.items())
        requested: dict[int, IP] = {ip.version: ip for ip in self.wishes.addresses}
        return self._ipam(self.config, args, requested)

    def _ipam(self, config: Mapping[str, Any], args: str, requested: Mapping[int, IP]) -> Wanted | Delegated:
        network = self.network
        if network.ipam["type"] in OWN_IPAM:
            own = own_ipam(network)
            wishes = tuple(_wish(network, subnet.network, requested) for subnet in network.subnets)
            return Wanted(network.mv, wishes, own.propagation_wait, own.routes)
        asked: dict[str, Any] = {**config, "ipam": dict(network.ipam)}
        if requested:
            given = asked.get("runtimeConfig") or {}
            ips = [f"{ip}/{_subnet_of(network, ip).prefixlen}" for ip in requested.values()]
            asked["runtimeConfig"] = {**given, "ips": ips}
        return Delegated({key: value for key, value in asked.items() if value is not None}, args)

    def node(self, underlay: Underlay, gateways: Sequence[Interface]) -> Plan:
        return node_plan(self.network, underlay, gateways)

    def accepts(self, gateways: Sequence[Interface]) -> bool:
        shared = shared_gateways(self.network)
        if shared is not None:
            return tuple(gateways) == shared
        wanted = {subnet.network: subnet.gateway for subnet in self.network.subnets}
        return {gateway.network for gateway in gateways} == set(wanted) and all(
            wanted[gateway.network] in (None, gateway.ip) for gateway in gateways
        )

    def refuse_clash(self, others: Sequence[VxlanLink]) -> None:
        network, device = self.network, self.network.device
        for other in others:
            if other.dev == network.vx and other.port != device.port:
                raise InvalidConfig(
                    f"{network.where}.options.port: {device.port}, but {other.dev} is there already with"
                    f" {other.port}",
                    "a program such as vxlan-cni has made it, and other nodes may still use that port:"
                    f' configure "port": {other.port} on all nodes, or take it down everywhere first',
                )
            if other.dev != network.vx and (other.vni, other.port) == (device.vni, device.port):
                raise InvalidConfig(
                    f"{network.where}.id: {device.vni} with port {device.port} is that of {other.dev}",
                    "a node has one VXLAN device for each VNI and port: give the network another id or port",
                )

    def nic(self, pod: Attachment, given: Result, member: Membership) -> tuple[Plan, Result]:
        network = self.network
        _refuse_strange_addresses(network, given, [gateway.ip for gateway in member.gateways])
        (vxlan,) = (obj for obj in member.plan.present if isinstance(obj, Vxlan))
        nic = Macvlan(POD, pod.ifname, network.vx, self.wishes.mac or nic_mac(pod), vxlan.mtu)
        own = next(o for o in member.plan.present if isinstance(o, Macvlan))
        gateways: dict[int, IP] = {gateway.version: gateway.ip for gateway in reversed(member.gateways)}
        routes = tuple(_routes(network, given, gateways))
        ips = [replace(ip, gateway=gateways.get(ip.address.version), interface=1) for ip in given.ips]
        result = Result(
            interfaces=(
                ResultInterface(own.dev, own.mac, mtu=own.mtu),
                ResultInterface(nic.dev, nic.mac, sandbox=pod.netns, mtu=nic.mtu),
            ),
            ips=tuple(ips),
            routes=routes,
            dns=given.dns,
        )
        return Plan(present=(nic, *_pod_end(nic, given.ips), *_pod_routes(nic, routes))), result


def _wish(network: VxlanNetwork, subnet: Any, requested: Mapping[int, IP]) -> Wish:
    reserved = tuple(gateway.ip for gateway in shared_gateways(network) or () if gateway.network == subnet)
    range_ = Range(subnet, network.exclude_first, network.exclude_last, reserved)
    return Wish((range_,), requested.get(subnet.version))


def _without(wish: Wish, ips: Sequence[IP]) -> Wish:
    ranges = tuple(replace(each, reserved=(*each.reserved, *ips)) for each in wish.ranges)
    return replace(wish, ranges=ranges)


def _subnet_of(network: VxlanNetwork, ip: IP) -> Any:
    return next(subnet.network for subnet in network.subnets if ip in subnet.network)


def _refuse_strange_addresses(network: VxlanNetwork, given: Result, of_node: Sequence[IP]) -> None:
    """An IPAM plugin that knows nothing of the network may give any address."""
    subnets = [subnet.network for subnet in network.subnets]
    for ip in given.ips:
        if ip.address.ip in of_node:
            raise InvalidConfig(
                f"the IPAM plugin {network.ipam['type']} gave the pod {ip.address.ip}, which is its node's",
                "give each an address: routetable does, static alone can't",
            )
        if not any(ip.address.ip in subnet for subnet in subnets):
            raise InvalidConfig(
                f"the IPAM plugin {network.ipam['type']} gave {ip.address}, which is not in"
                f" {network.where}.cidr ({', '.join(map(str, subnets))})",
                "configure the same subnet in both",
            )
    if not given.ips:
        raise InvalidConfig(
            f"the IPAM plugin {network.ipam['type']} gave no address", "a pod without one reaches nobody"
        )


def nic_mac(pod: Attachment) -> str:
    return mac_of(f"{pod.container_id} {pod.ifname}")


# The pod's NIC


def _pod_end(nic: Macvlan, ips: Sequence[IpConfig]) -> Iterator[Object]:
    if any(ip.address.version == 6 for ip in ips):
        yield Sysctl(POD, 6, nic.dev, "disable_ipv6", 0)
    for ip in ips:
        yield Address(POD, nic.dev, ip.address, nodad=ip.address.version == 6)
    yield LinkUp(POD, nic.dev)


def _routes(network: VxlanNetwork, given: Result, gateways: Mapping[int, IP]) -> Iterator[ResultRoute]:
    """Those of the network and of the IPAM, then the default; each once, in the families of the pod."""
    versions = {ip.address.version for ip in given.ips}
    default = [ResultRoute(EVERYTHING[v]) for v in sorted(versions)] if network.default_route else []
    done = set()
    for route in (*network.routes, *given.routes, *default):
        if route.dst.version in versions and route.dst not in done:
            done.add(route.dst)
            yield replace(route, gw=route.gw or gateways.get(route.dst.version))


def _pod_routes(nic: Macvlan, routes: Sequence[ResultRoute]) -> Iterator[Route]:
    for route in routes:
        yield Route(
            POD,
            route.dst,
            nic.dev,
            via=route.gw,
            metric=route.priority or 0,
            proto=STATIC,
            mtu=route.mtu,
            advmss=route.advmss,
        )


# The plugin


def parse(keys: Keys) -> Config:
    config = parse_config(keys)
    for network in config.networks:
        own_ipam(network)  # for its errors, before anything is changed
    return config


def own_ipam(network: VxlanNetwork) -> Options:
    """The options of `routetable`; the ranges are the network's own."""
    return parse_options(Keys(network.ipam, where="ipam"))


def _choose(config: Config, call: Call, annotations: Mapping[str, str]) -> Joining:
    wishes = wishes_of(call.config, call.args, annotations)
    return VxlanJoining(choose(config, wishes), call.config, call.args, wishes, config.ip_conflict)


def _segments(config: Config) -> Sequence[Joining]:
    return [VxlanJoining(network, {}, {}, Wishes()) for network in config.networks]


def traces(_config: Config | None, pod: Attachment, _remains: Remains) -> Plan:
    """The NIC, known by its MAC. One whose MAC was asked for goes with the pod's namespace."""
    return Plan(present=(Macvlan(POD, pod.ifname, "", nic_mac(pod), 0),))


def given(config: Config, call: Call) -> Given:
    """By prevResult's addresses; every other IPAM plugin of the configuration may have given some."""
    subnets = [subnet.network for network in config.networks for subnet in network.subnets]
    claimed = tuple(ip for ip in previous_addresses(call) if any(ip in subnet for subnet in subnets))
    others = [dict(n.ipam) for n in config.networks if n.ipam["type"] not in OWN_IPAM]
    configs = [{**call.config, "ipam": ipam} for ipam in others]
    args = ";".join(f"{key}={value}" for key, value in call.args.items())
    once = [c for i, c in enumerate(configs) if c not in configs[:i]]
    return Given(claimed, tuple(Delegated(config, args) for config in once))


SAMPLE = Vxlan("vx_sample", 1, "02:00:00:00:00:01", 1450, 4789)
SAMPLE_NODE = Macvlan(HOST, "mv_sample", SAMPLE.dev, "02:00:00:00:00:02", 1450)
SAMPLE_NIC = Macvlan(POD, "eth0", SAMPLE.dev, "02:00:00:00:00:03", 1450)
SAMPLE_SUBNET = ip_network("192.0.2.0/24")  # TEST-NET-1, RFC 5737

PLUGIN = MainPlugin(
    name="vxlan",
    parse=parse,
    traces=traces,
    given=given,
    choose=_choose,
    segments=_segments,
    reads_annotations=lambda config: config.kubeconfig if config.reads_annotations else None,
    needs=Plan(
        present=(
            SAMPLE,
            Fdb(HOST, SAMPLE.dev, NOBODY, ip_address("192.0.2.9")),
            LinkUp(HOST, SAMPLE.dev),
            SAMPLE_NODE,
            LinkUp(HOST, SAMPLE_NODE.dev),
            Address(HOST, SAMPLE_NODE.dev, ip_interface("192.0.2.1/24")),
            Route(HOST, single(ip_address("192.0.2.2")), SAMPLE_NODE.dev, proto=CLAIM),
            Route(HOST, SAMPLE_SUBNET, SAMPLE_NODE.dev, table=BYPASS_TABLES + SAMPLE.vni),
            Rule(HOST, 4, BYPASS_TABLES + SAMPLE.vni, BYPASS_PRIORITY, src=SAMPLE_SUBNET, dst=SAMPLE_SUBNET),
            SAMPLE_NIC,
            Address(POD, SAMPLE_NIC.dev, ip_interface("192.0.2.2/24")),
        ),
    ),
    aliases=ALIASES,
)
