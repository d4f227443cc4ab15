"""Results: what a chain has made so far, read from prevResult and written for the runtime.

Three shapes are on the wire (CNI SPEC, "Success"): 0.3.0 to 0.4.0 (`version` in each address), 1.0.0
and 1.1.0 (no `version`; MTU, PCI id, route metrics: Go takes these in 1.0.0 too, and so do we).
A key that the shape does not know is kept as it is in `extra`, so that a chained plugin loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from underlay.cni.errors import InvalidConfig
from underlay.cni.keys import Keys
from underlay.cni.value import Address, InterfaceAddress, Network, Value
from underlay.values import dataclass

OLD_SHAPE = ("0.3.0", "0.3.1", "0.4.0")
NEW_SHAPE = ("1.0.0", "1.1.0")
ALL_SHAPES = OLD_SHAPE + NEW_SHAPE
U32 = (1 << 32) - 1

# What nearly every result is made of, and its interfaces, addresses and routes in either shape
Types = Mapping[str, type]
USUAL: Types = {"cniVersion": str, "interfaces": list, "ips": list, "routes": list, "dns": dict}
USUAL_INTERFACE = {"name": str, "mac": str, "sandbox": str}
USUAL_IP = {"address": str, "gateway": str, "interface": int}
USUAL_ROUTE = {"dst": str, "gw": str}
USUAL_OLD: tuple[Types, ...] = USUAL_INTERFACE, USUAL_IP | {"version": str}, USUAL_ROUTE
USUAL_NEW: tuple[Types, ...] = USUAL_INTERFACE | {"mtu": int}, USUAL_IP, USUAL_ROUTE


@dataclass(frozen=True, slots=True)
class Interface:
    """A link; `sandbox` is the path of its network namespace, empty on the host. `mtu` 0: not told."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0
    socket_path: str = ""
    pci_id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class IpConfig:
    """An address with its prefix length; `interface` is an index into the result's interfaces."""

    address: InterfaceAddress
    gateway: Address | None = None
    interface: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class ResultRoute:
    """A route of the pod; without `gw` the gateway of the address of its family is meant."""

    dst: Network
    gw: Address | None = None
    mtu: int = 0
    advmss: int = 0
    priority: int | None = None
    table: int | None = None
    scope: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What the plugins of a chain have made, in the order in which they made it."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[IpConfig, ...] = ()
    routes: tuple[ResultRoute, ...] = ()
    dns: dict[str, Any] = field(default_factory=dict, hash=False)
    extra: dict[str, Any] = field(default_factory=dict, hash=False)

    def with_interfaces(self, *interfaces: Interface) -> Result:
        """Append interfaces: at the end, so that `ips[].interface` keep pointing where they did."""
        return replace(self, interfaces=self.interfaces + interfaces)

    def with_mac(self, ifname: str, mac: str) -> Result:
        """Give the pod's NIC of that name another MAC."""
        changed = (replace(i, mac=mac) if i.name == ifname and i.sandbox else i for i in self.interfaces)
        return replace(self, interfaces=tuple(changed))

    def addresses_of(self, ifname: str, sandbox: str = "") -> tuple[IpConfig, ...]:
        """Give the addresses of a NIC of the pod, and those that name no interface at all.

        The NIC is the one of that name in this sandbox; if the sandbox's path is written in another
        way (or not known any more), the ones of that name in any sandbox. Never one of the host.
        """
        named = {i for i, nic in enumerate(self.interfaces) if nic.name == ifname and nic.sandbox}
        exact = {i for i in named if self.interfaces[i].sandbox == sandbox}
        return tuple(ip for ip in self.ips if ip.interface is None or ip.interface in (exact or named))


def parse(raw: Mapping[str, Any], cni_version: str, where: str = "prevResult") -> Result:
    """Read a result in its own version, or in the configuration's where it does not say.

    Raises InvalidConfig that names the place and the value: `prevResult.ips[0].address: "…" is not …`.
    """
    return _read_usual(raw, cni_version) or _read(raw, cni_version, where)


def _read_usual(raw: Mapping[str, Any], cni_version: str) -> Result | None:
    """A result with nothing but the keys that nearly all have, spelled and typed as they should be.

    None for any other, also for one that is wrong: the closer look that takes in what Go does, and says
    what is wrong, takes four times as long, and each ADD and each DEL of a chain reads a result.
    """
    version = raw.get("cniVersion", cni_version)
    if not _is_made_of(raw, USUAL) or version not in ALL_SHAPES:
        return None
    interfaces, ips, routes = raw.get("interfaces", ()), raw.get("ips", ()), raw.get("routes", ())
    usual = USUAL_OLD if version in OLD_SHAPE else USUAL_NEW
    for items, types in zip((interfaces, ips, routes), usual, strict=True):
        if not all(_is_made_of(item, types) for item in items):
            return None
    try:
        return Result(
            interfaces=tuple(map(_usual_interface, interfaces)),
            ips=tuple(_usual_ip(item, len(interfaces)) for item in ips),
            routes=tuple(map(_usual_route, routes)),
            dns=dict(raw.get("dns", ())),
        )
    except (TypeError, KeyError, InvalidConfig):  # a key is missing, or has a value that is none
        return None


def _is_made_of(raw: Any, types: Types) -> bool:
    """Whether it is an object that has only these keys, with values of just these types: true is no int."""
    return isinstance(raw, dict) and [*map(type, raw.values())] == [*map(types.get, raw)]


def _usual_interface(raw: Mapping[str, Any]) -> Interface:
    if "mtu" in raw:
        Value("", raw["mtu"]).integer(0, U32)
    return Interface(**raw)


def _usual_ip(raw: Mapping[str, Any], interfaces: int) -> IpConfig:
    index = raw.get("interface")
    if index is not None:
        Value("", index).integer(0, interfaces - 1)
    return IpConfig(Value("", raw["address"]).interface_address(), _usual_address(raw.get("gateway")), index)


def _usual_route(raw: Mapping[str, Any]) -> ResultRoute:
    return ResultRoute(Value("", raw["dst"]).network(), _usual_address(raw.get("gw")))


def _usual_address(text: str | None) -> Address | None:
    return Value("", text).address() if text else None


def _read(raw: Mapping[str, Any], cni_version: str, where: str) -> Result:
    keys = Keys(raw, where=where)
    version = keys.choice("cniVersion", ALL_SHAPES, cni_version)
    interfaces = tuple(_read_interface(item, version) for item in keys.sections("interfaces"))
    return Result(
        interfaces=interfaces,
        ips=tuple(_read_ip(item, version, len(interfaces)) for item in keys.sections("ips")),
        routes=tuple(_read_route(item, version) for item in keys.sections("routes")),
        dns=keys.section("dns").rest(),
        extra=keys.rest(),
    )


def render(result: Result, cni_version: str) -> dict[str, Any]:
    """Write a result in the version that the configuration asks for; what that cannot say is left out."""
    written: dict[str, Any] = {**result.extra, "cniVersion": cni_version}
    if result.interfaces:
        written["interfaces"] = [_write_interface(each, cni_version) for each in result.interfaces]
    if result.ips:
        written["ips"] = [_write_ip(ip, cni_version) for ip in result.ips]
    if result.routes:
        written["routes"] = [_write_route(route, cni_version) for route in result.routes]
    if any(result.dns.values()):
        written["dns"] = result.dns
    return written


def _read_interface(keys: Keys, version: str) -> Interface:
    name, mac, sandbox = _required(keys, "name").text(), keys.text("mac", ""), keys.text("sandbox", "")
    if version in OLD_SHAPE:
        return Interface(name, mac, sandbox, extra=keys.rest())
    return Interface(
        name,
        mac,
        sandbox,
        mtu=keys.integer("mtu", 0, 0, U32),
        socket_path=keys.text("socketPath", ""),
        pci_id=keys.text("pciID", ""),
        extra=keys.rest(),
    )


def _read_ip(keys: Keys, version: str, interfaces: int) -> IpConfig:
    if version in OLD_SHAPE:
        keys.present("version")  # said by the address itself, and written again from it
    return IpConfig(
        address=_required(keys, "address").interface_address(),
        gateway=_address(keys, "gateway"),
        interface=_interface_index(keys, interfaces),
        extra=keys.rest(),
    )


def _read_route(keys: Keys, version: str) -> ResultRoute:
    dst, gw = _required(keys, "dst").network(), _address(keys, "gw")
    if version in OLD_SHAPE:
        return ResultRoute(dst, gw, extra=keys.rest())
    return ResultRoute(
        dst,
        gw,
        mtu=keys.integer("mtu", 0, 0, U32),
        advmss=keys.integer("advmss", 0, 0, U32),
        priority=keys.integer("priority", None, 0, U32),
        table=keys.integer("table", None, 0, U32),
        scope=keys.integer("scope", None, 0, 255),
        extra=keys.rest(),
    )


def configured_route(keys: Keys) -> ResultRoute:
    """Read a route that a configuration asks for: `dst`, and `gw` of the same family or none."""
    dst, gw = keys.value("dst"), keys.value("gw")
    if dst is None:
        raise keys.missing("dst", "a route needs a destination such as 192.0.2.0/24")
    network, gateway = dst.network(), gw.address() if gw else None
    if gw and gateway and gateway.version != network.version:
        raise gw.wrong(f"is not of the family of {network}")
    return ResultRoute(network, gateway)


def _required(keys: Keys, key: str) -> Value:
    value = keys.value(key)
    if value is None:
        raise keys.missing(key, "the plugin before this one in the chain must give it")
    return value


def _address(keys: Keys, key: str) -> Address | None:
    value = keys.value(key)
    return None if value is None or value.raw == "" else value.address()  # Go writes "" for no address


def _interface_index(keys: Keys, interfaces: int) -> int | None:
    value = keys.value("interface")
    if value is None:
        return None
    if not interfaces:
        raise value.wrong("points to an interface, but the result lists none")
    return value.integer(0, interfaces - 1)


def _write_interface(interface: Interface, version: str) -> dict[str, Any]:
    written: dict[str, Any] = {**interface.extra, "name": interface.name}
    if interface.mac:
        written["mac"] = interface.mac
    if interface.sandbox:
        written["sandbox"] = interface.sandbox
    if version not in NEW_SHAPE:
        return written
    if interface.mtu:
        written["mtu"] = interface.mtu
    if interface.socket_path:
        written["socketPath"] = interface.socket_path
    if interface.pci_id:
        written["pciID"] = interface.pci_id
    return written


def _write_ip(ip: IpConfig, version: str) -> dict[str, Any]:
    written: dict[str, Any] = {**ip.extra, "address": str(ip.address)}
    if version in OLD_SHAPE:
        written["version"] = str(ip.address.version)
    if ip.gateway is not None:
        written["gateway"] = str(ip.gateway)
    if ip.interface is not None:
        written["interface"] = ip.interface
    return written


def _write_route(route: ResultRoute, version: str) -> dict[str, Any]:
    written: dict[str, Any] = {**route.extra, "dst": str(route.dst)}
    if route.gw is not None:
        written["gw"] = str(route.gw)
    if version in NEW_SHAPE:
        if route.mtu:
            written["mtu"] = route.mtu
        if route.advmss:
            written["advmss"] = route.advmss
        numbers = {"priority": route.priority, "table": route.table, "scope": route.scope}
        written |= {key: number for key, number in numbers.items() if number is not None}
    return written
