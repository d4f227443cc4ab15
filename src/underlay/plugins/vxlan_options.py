"""The VXLAN device of a network, as it is configured: `id`, `mtu`, `peers` and `options`. Pure.

The values of `options` come as strings, as in all configurations of vxlan-cni, or as JSON has them.
An empty string counts as absent, as there. What is checked here is what the kernel would refuse
(vxlan_validate() and vxlan_config_validate() in drivers/net/vxlan/vxlan_core.c) or take in silence
for something else.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Any

from underlay.cni.document import shown
from underlay.cni.keys import Aliases, Keys
from underlay.cni.value import Value, same
from underlay.objects import IP
from underlay.values import dataclass

PORT = 4789  # RFC 7348, section 5
LAST_VNI = (1 << 24) - 1
BROADCAST = IPv4Address("255.255.255.255")
AGEING = 300  # seconds, FDB_AGE_DEFAULT of the kernel
SMALLEST_MTU = 576  # bytes, RFC 791
U16, S32, U32 = (1 << 16) - 1, (1 << 31) - 1, (1 << 32) - 1
SCOPE, LINK_SCOPE = 0x0F, 2  # in the second byte of an IPv6 multicast address (RFC 4291, 2.7)

ALIASES: Aliases = {  # the words of `ip link add type vxlan`
    "vtepdev": ("dev",),
    "srcaddr": ("local",),
    "port": ("dstport",),
    "age": ("ageing",),
    "limit": ("maxaddress",),
    "vxlanhardwareaddr": ("address",),
    "vxlantxqlen": ("txqueuelen",),
}
OPTIONS = (
    *("vtepdev", "srcaddr", "group", "port", "ttl", "tos", "learning", "noage", "age", "limit"),
    *("proxy", "rsc", "l2miss", "l3miss", "gbp", "portlow", "porthigh", "vxlanhardwareaddr", "vxlantxqlen"),
)
BESIDE = ("id", "mtu", "peers", "gateway", "cidr")  # keys of the network that are looked for in `options`
TRUE = ("1", "t", "T", "true", "True", "TRUE")  # as Go's strconv.ParseBool
FALSE = ("0", "f", "F", "false", "False", "FALSE")
DIGITS = re.compile("[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Device:
    """A VXLAN device as configured; nothing is looked up. Zeros and "" leave a choice to somebody else.

    `underlay` is the link that carries it, "" for the one of the default route; `peers` are the VTEPs
    of the nodes. `mtu` is in bytes, 0 for what the underlay carries; `ageing` in seconds, 0 for never;
    `limit` in FDB entries, 0 for none; `tx_queue_len` in packets, 0 for the kernel's own, which ttl 0 and
    source ports from 0 to 0 are too. `port_high` is the first above the range.
    """

    vni: int
    port: int = PORT
    underlay: str = ""
    local: IP | None = None
    group: IP | None = None
    peers: tuple[IP, ...] = ()
    ttl: int = 0
    tos: int = 0
    learning: bool = True
    proxy: bool = False
    rsc: bool = False
    l2miss: bool = False
    l3miss: bool = False
    gbp: bool = False
    ageing: int = AGEING
    limit: int = 0
    port_low: int = 0
    port_high: int = 0
    mac: str = ""
    tx_queue_len: int = 0
    mtu: int = 0
    is_port_given: bool = False

    @property
    def version(self) -> int:
        """The IP version of the packets that carry the network."""
        return next((ip.version for ip in (self.local, self.group, *self.peers) if ip), 4)


def device_of(network: Keys, where: str) -> Device:
    """Reads what the network at `where` says of its device; InvalidConfig for what can never work."""
    options = network.section("options", ALIASES)
    port_low, port_high = _source_ports(options)
    mac, underlay = _given(options, "vxlanhardwareaddr"), _given(options, "vtepdev")
    local, group = _given(options, "srcaddr"), _given(options, "group")
    peers = [(value, unicast(value)) for value in _peers(network)]
    device = Device(
        vni=_vni(network),
        port=_number(options, "port", PORT, range(1, U16 + 1)),
        underlay=underlay.text() if underlay else "",
        local=unicast(local) if local else None,
        group=_multicast(group) if group else None,
        peers=tuple(dict.fromkeys(ip for _, ip in peers)),
        ttl=_number(options, "ttl", 0, range(256)),
        tos=_number(options, "tos", 0, range(256)),
        learning=_flag(options, "learning", default=True),
        proxy=_flag(options, "proxy"),
        rsc=_flag(options, "rsc"),
        l2miss=_flag(options, "l2miss"),
        l3miss=_flag(options, "l3miss"),
        gbp=_flag(options, "gbp"),
        ageing=_ageing(options),
        limit=_number(options, "limit", 0, range(U32 + 1)),
        port_low=port_low,
        port_high=port_high,
        mac=mac.unicast_mac() if mac else "",
        tx_queue_len=_number(options, "vxlantxqlen", 0, range(S32 + 1)),
        mtu=_mtu(network),
        is_port_given=_given(options, "port") is not None,
    )
    _refuse_unknown(options, where)
    if group and peers:
        raise group.wrong(
            "and peers exclude each other: either a multicast group or the addresses of the nodes;"
            " keep one of them"
        )
    _refuse_no_way(network, device)
    outer = [(value, ip) for value, ip in ((local, device.local), (group, device.group)) if value and ip]
    _refuse_mixed_families([*outer, *peers])
    _refuse_narrow_source(device, local)
    return device


def unicast(value: Value) -> IP:
    """The address of a node, as far as that can be seen."""
    ip = value.address()
    if ip.is_multicast or ip.is_unspecified or ip.is_loopback or ip == BROADCAST:
        raise value.wrong("is not an address that a node can be reached at; give one of its NIC")
    return ip


def _multicast(value: Value) -> IP:
    ip = value.address()
    if not ip.is_multicast:
        raise value.wrong(
            "is not a multicast address; give one such as 239.1.1.1 or ff05::1,"
            " or list the addresses of the nodes in peers"
        )
    return ip


def _given(options: Keys, name: str) -> Value | None:
    value = options.value(name)
    return None if value is None or value.raw == "" else value


def _number(options: Keys, name: str, default: int, allowed: range) -> int:
    value = _given(options, name)
    if value is None:
        return default
    number: Any = value.raw
    if isinstance(number, str) and DIGITS.fullmatch(number):
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or number not in allowed:
        raise value.wrong(f"is not a whole number from {allowed[0]} to {allowed[-1]}")
    return number


def _flag(options: Keys, name: str, *, default: bool = False) -> bool:
    value = _given(options, name)
    if value is None:
        return default
    if not isinstance(value.raw, str | int) or str(value.raw) not in TRUE + FALSE:
        raise value.wrong("is not true or false")
    return str(value.raw) in TRUE


def _vni(network: Keys) -> int:
    value = network.value("id")
    if value is None:
        raise network.missing("id", f"give the VNI, 1 to {LAST_VNI}, the same on all nodes")
    if same(value.raw, 0):
        raise value.wrong(f"is what a missing id was once read as; give 1 to {LAST_VNI}")
    return value.integer(1, LAST_VNI)


def _mtu(network: Keys) -> int:
    value = network.value("mtu")
    if value is None or same(value.raw, 0):
        return 0
    return value.integer(SMALLEST_MTU, U16)


def _peers(network: Keys) -> tuple[Value, ...]:
    value = network.value("peers")
    return () if value is None else value.items()


def _source_ports(options: Keys) -> tuple[int, int]:
    low, high = (_number(options, name, 0, range(1, U16 + 1)) for name in ("portlow", "porthigh"))
    if bool(low) != bool(high):
        raise options.missing(
            "porthigh" if low else "portlow",
            "the range of source ports is given by both, or left to the kernel by neither",
        )
    value = _given(options, "porthigh")
    if value and low >= high:  # equal ones are the kernel's own range, see udp_flow_src_port()
        raise value.wrong(f"is not above portlow, {low}; the range ends before porthigh")
    return low, high


def _ageing(options: Keys) -> int:
    age, is_off = _given(options, "age"), _flag(options, "noage")
    if age and is_off:
        raise age.wrong("and noage contradict each other; keep one of them")
    if age and (same(age.raw, 0) or age.raw == "0"):  # vxlan-cni read it as "not given", ip(8) as "never"
        raise age.wrong(f'is ambiguous; write "noage": true for never, or leave it out for {AGEING} seconds')
    return 0 if is_off else _number(options, "age", AGEING, range(1, U32 + 1))


def _refuse_unknown(options: Keys, where: str) -> None:
    """Refused, not only logged: the device of a network is the same on all nodes, or the network splits."""
    for name, raw in options.rest().items():
        if raw is not None:
            raise Value(f"{where}.options.{name}", raw).wrong(f"is not an option; {_meant(name, where)}")


def _meant(name: str, where: str) -> str:
    import difflib  # needed only where somebody mistyped an option, so not paid for by every call

    aliases = (str(alias) for each in ALIASES.values() for alias in each)
    places = {option: f"{where}.options.{option}" for option in (*OPTIONS, *aliases)}
    places |= {key: f"{where}.{key}" for key in BESIDE}
    nearest = difflib.get_close_matches(name.casefold(), places, n=1)
    return f"did you mean {places[nearest[0]]}?" if nearest else f"there are {', '.join(OPTIONS)}"


def _refuse_no_way(network: Keys, device: Device) -> None:
    """Without flooding somebody else has to say where addresses are (V11 and B2 of the older plugin)."""
    is_filled_by_others = not device.learning or device.proxy or device.l2miss or device.l3miss
    if device.group is None and network.value("peers") is None and not is_filled_by_others:
        raise network.missing(
            "peers",
            "list the addresses of the nodes, or give a multicast address in options.group;"
            ' [] is a valid value, and "learning": false says that another program fills the FDB',
        )


def _refuse_mixed_families(addresses: list[tuple[Value, IP]]) -> None:
    for value, ip in addresses[1:]:
        first, version = addresses[0][0], addresses[0][1].version
        if ip.version != version:
            raise value.wrong(
                f"is IPv{ip.version}, but {first.name} is {shown(first.raw)}:"
                " the packets that carry a network are of one family; give addresses of one"
            )


def _refuse_narrow_source(device: Device, local: Value | None) -> None:
    """As vxlan_config_validate(): what is sent from a link-local address does not leave the link."""
    group = device.group
    if not local or not group or group.version == 4 or not local.address().is_link_local:
        return
    if group.packed[1] & SCOPE != LINK_SCOPE:
        raise local.wrong(
            f"is link-local, but options.group, {group}, is not; give another address,"
            " or a group such as ff02::4789"
        )
