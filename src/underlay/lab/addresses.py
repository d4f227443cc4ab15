"""The lab is dual stack: an IPv4 and an IPv6 value always travel together."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

VERSIONS = (4, 6)

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Addresses:
    """One address of each family."""

    v4: IPv4Address
    v6: IPv6Address

    def of(self, version: int) -> IPAddress:
        return self.v4 if version == 4 else self.v6

    def __str__(self) -> str:
        return f"{self.v4}  {self.v6}"


@dataclass(frozen=True)
class Subnets:
    """One subnet of each family, numbered alike: host 11 is 192.168.10.11 and fd00:10::11."""

    v4: IPv4Network
    v6: IPv6Network

    def of(self, version: int) -> IPNetwork:
        return self.v4 if version == 4 else self.v6

    def host(self, number: int) -> Addresses:
        """The addresses of host `number`; its decimal digits are read as hexadecimal ones in IPv6."""
        return Addresses(self.v4[number], self.v6[int(str(number), 16)])

    def interface(self, number: int, version: int) -> str:
        """The same address as an interface has it, `192.168.10.11/24`."""
        return f"{self.host(number).of(version)}/{self.of(version).prefixlen}"

    def __str__(self) -> str:
        return f"{self.v4}  {self.v6}"


def subnets(v4: str, v6: str) -> Subnets:
    """Both subnets from their text."""
    return Subnets(IPv4Network(v4), IPv6Network(v6))


EVERYWHERE = subnets("0.0.0.0/0", "::/0")
