"""One value of a configuration, with the name under which its author wrote it.

Each method turns the JSON value into a type or raises InvalidConfig that names the key, the value
and what would be right: `service_cidr[1]: "10.96.0.0/33" is not a CIDR; give an address with …`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)
from typing import Any, TypeVar

from underlay.cni.document import get, shown
from underlay.cni.errors import InvalidConfig
from underlay.objects.wire import REMEMBERED, interface
from underlay.values import dataclass

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)")
DURATION = re.compile(f"(?:{PART.pattern})+")
MULTICAST = 0x01  # in the first byte of a MAC (IEEE 802)
MAC = re.compile(
    "[0-9a-f]{2}(?::[0-9a-f]{2}){5}|[0-9a-f]{2}(?:-[0-9a-f]{2}){5}|[0-9a-f]{4}(?:[.][0-9a-f]{4}){2}|[0-9a-f]{12}",
    re.IGNORECASE | re.ASCII,
)

Address = IPv4Address | IPv6Address
InterfaceAddress = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network
T = TypeVar("T")

A_CIDR = "is not a CIDR; give an address with a prefix length such as 10.96.0.0/12 or fd00::/108"
AN_ADDRESS_OR_CIDR = "is not an address or a CIDR; give one such as 169.254.25.10 or 10.96.0.0/12"
AN_ADDRESS = "is not an IP address; give one such as 10.1.0.1 or fd00::1"
A_HOST_ADDRESS = "is not an address with a prefix length; give one such as 10.1.0.5/16 or fd00::5/64"


@dataclass(frozen=True, slots=True)
class Value:
    """`name` is the path to the value as written (`rp_filter.value`, `service_cidr[1]`); `raw` is JSON."""

    name: str
    raw: Any

    def wrong(self, why: str) -> InvalidConfig:
        """Make the error: `why` continues the sentence "<name>: <value> …"."""
        return InvalidConfig(f"{self.name}: {shown(self.raw)} {why}")

    def items(self) -> tuple[Value, ...]:
        """Read a list; a lone string is shown how to become one."""
        if isinstance(self.raw, str):
            raise self.wrong(f"is not a list; write [{shown(self.raw)}]")
        if not isinstance(self.raw, list):
            raise self.wrong("is not a list")
        return tuple(Value(f"{self.name}[{index}]", item) for index, item in enumerate(self.raw))

    def object(self) -> Mapping[str, Any]:
        """Read an object; JSON null is the empty one."""
        if self.raw is None:
            return {}
        if not isinstance(self.raw, dict):
            raise self.wrong("is not an object; write { … }")
        return self.raw

    def text(self) -> str:
        """Read a string."""
        if not isinstance(self.raw, str):
            raise self.wrong("is not a string")
        return self.raw

    def path(self) -> str:
        """Read an absolute path, or nothing: ""."""
        if self.text() and not self.text().startswith("/"):
            raise self.wrong("is not an absolute path")
        return self.text()

    def flag(self) -> bool:
        """Read true or false; 0, 1 and strings are neither."""
        if isinstance(self.raw, bool):
            return self.raw
        raise self.wrong(f"is not true or false{self._quotes_hint((True, False))}")

    def integer(self, low: int, high: int) -> int:
        """Read a whole number from `low` to `high`, both included; true and "1" are none."""
        if isinstance(self.raw, str):
            hint = (
                f"; write {self.raw} without quotes" if _is_integer(self.raw) else f"; give {low} to {high}"
            )
            raise self.wrong(f"is a string, not a whole number{hint}")
        if isinstance(self.raw, bool) or not isinstance(self.raw, int):
            raise self.wrong(f"is not a whole number; give {low} to {high}")
        if not low <= self.raw <= high:
            raise self.wrong(f"is out of range; give {low} to {high}")
        return self.raw

    def one_of(self, values: tuple[T, ...]) -> T:
        """Read one of a few values, types included: true is not 1."""
        for value in values:
            if same(value, self.raw):
                return value
        raise self.wrong(f"is not one of {', '.join(map(shown, values))}{self._quotes_hint(values)}")

    def network(self) -> Network:
        """Read a CIDR; host bits are tolerated and masked (10.96.0.1/12 is 10.96.0.0/12)."""
        return self._interface(A_CIDR).network

    def network_or_address(self) -> Network:
        """Read a CIDR, or a bare address as the network of that one address (/32, /128)."""
        if isinstance(self.raw, str) and "/" not in self.raw:
            return ip_interface(self._address(AN_ADDRESS_OR_CIDR)).network
        return self._interface(AN_ADDRESS_OR_CIDR).network

    def interface_address(self) -> InterfaceAddress:
        """Read an address with its prefix length, host bits kept."""
        return self._interface(A_HOST_ADDRESS)

    def address(self) -> Address:
        """Read a bare address."""
        return self._address(AN_ADDRESS)

    def unicast_mac(self) -> str:
        """Read a MAC that a link can have, in any usual spelling; returned with colons, in lower case."""
        if not isinstance(self.raw, str) or not MAC.fullmatch(self.raw):
            raise self.wrong("is not a MAC; give six bytes such as 02:00:00:00:00:0a")
        mac = bytes.fromhex(re.sub("[:.-]", "", self.raw))
        if mac[0] & MULTICAST:
            raise self.wrong(
                "is a multicast MAC; the second digit must be even, such as in 02:00:00:00:00:0a"
            )
        if not any(mac):
            raise self.wrong("is not a MAC that a link can have; give one such as 02:00:00:00:00:0a")
        return mac.hex(":")

    def duration(self) -> float:
        """Read a duration as Go writes it, in seconds: "1s", "300ms", "1m30s"."""
        if not isinstance(self.raw, str) or not DURATION.fullmatch(self.raw):
            raise self.wrong('is not a duration; give one such as "300ms", "1s" or "1m"')
        return sum(float(number) * SECONDS[unit] for number, unit in PART.findall(self.raw))

    def is_off(self) -> bool:
        """Say whether it switches a feature off: null, "", false, 0, [], {} or {"enabled": false}."""
        return not self.raw or (isinstance(self.raw, dict) and get(self.raw, "enabled") is False)

    def _interface(self, why: str) -> InterfaceAddress:
        prefix = self.raw.rpartition("/")[2] if isinstance(self.raw, str) and "/" in self.raw else ""
        # ipaddress also takes netmasks (10.0.0.0/255.0.0.0) and zones (fe80::1%eth0), CIDR notation neither
        if not _is_digits(prefix) or "%" in self.raw:
            raise self.wrong(why)
        try:
            return _interface_of(self.raw)
        except ValueError as error:
            raise self.wrong(why) from error

    def _address(self, why: str) -> Address:
        if not isinstance(self.raw, str) or "%" in self.raw:
            raise self.wrong(why)
        try:
            return _address_of(self.raw)
        except ValueError as error:
            raise self.wrong(why) from error

    def _quotes_hint(self, values: tuple[Any, ...]) -> str:
        unquoted = (shown(value) for value in values if not isinstance(value, str))
        return f"; write {self.raw} without quotes" if self.raw in unquoted else ""


@lru_cache(REMEMBERED)
def _address_of(text: str) -> Address:
    return ip_address(text)


@lru_cache(REMEMBERED)
def _interface_of(text: str) -> InterfaceAddress:
    address, _, length = text.partition("/")
    return interface(_address_of(address).packed, int(length))


def same(one: Any, other: Any) -> bool:
    """Compare as JSON does: 1, 1.0 and true are three values."""
    return type(one) is type(other) and bool(one == other)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _is_integer(text: str) -> bool:
    return _is_digits(text.removeprefix("-"))
