"""A per-device setting of the IP stack (linux/Documentation/networking/ip-sysctl.rst)."""

from __future__ import annotations

import struct
from dataclasses import field

from underlay.objects.link import Link
from underlay.objects.place import Ns, Request, View, Write, on
from underlay.objects.wire import (
    AF_INET,
    IFINFO,
    IFLA_AF_SPEC,
    RTM_NEWLINK,
    Message,
)
from underlay.values import dataclass

IFLA_INET_CONF = 1
# A link's header, then three attributes that each have the next one inside, then the setting as a number:
# packed at once, since each link that is made has two or three of these.
IPV4_SETTING = struct.Struct(IFINFO.format + "HHHHHHHHI")
# Where the kernel keeps a setting in the array that a link carries; the IPv4 ones are set the same way,
# but for those where more than the value depends on it: routing daemons hear of a file only, and it turns
# off the merging of packets (LRO) that may not be forwarded.
IPV4_PLACES = {"forwarding": 1, "send_redirects": 6, "rp_filter": 8, "arp_ignore": 19, "arp_notify": 22}
IPV6_PLACES = {
    "forwarding": 0,
    "accept_ra_defrtr": 17,
    "disable_ipv6": 26,
    "addr_gen_mode": 47,
}
BY_FILE = {"forwarding"}


@dataclass(frozen=True, slots=True)
class Sysctl:
    """`net.ipv<version>.conf.<dev>.<key>` = `value`.

    It is never removed: it dies with its device. `was` is what it is put back to on a device that
    may outlive us, None for one that is ours. It is no part of what a setting is.
    """

    ns: Ns
    version: int
    dev: str
    key: str
    value: int
    was: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        # sysctl(8) takes slashes where a name has dots of its own, such as eth0.100
        path = self.path if "." in self.dev else self.path.replace("/", ".")
        return on(self.ns, f"sysctl -w net{'/' if '.' in self.dev else '.'}{path}={self.value}")

    @property
    def place(self) -> tuple[Ns, int, str, str]:
        """What can have one value only."""
        return self.ns, self.version, self.dev, self.key

    @property
    def path(self) -> str:
        """Below /proc/sys/net."""
        return f"ipv{self.version}/conf/{self.dev}/{self.key}"

    def add(self, view: View) -> Request:
        return self._set(view, self.value)

    def _set(self, view: View, value: int) -> Request:
        place = IPV4_PLACES.get(self.key) if self.version == 4 else None
        if place is None or self.key in BY_FILE:
            return Write(self.path, str(value))  # IPv6 settings have no netlink way in
        nested = 20, IFLA_AF_SPEC, 16, AF_INET, 12, IFLA_INET_CONF, 8, place, value & 0xFFFFFFFF
        return Message(RTM_NEWLINK, 0, IPV4_SETTING.pack(0, 0, view.index(self.ns, self.dev), 0, 0, *nested))

    def replace(self, view: View) -> list[tuple[Ns, Request]]:
        return [(self.ns, self.add(view))]

    def remove(self, view: View) -> Request | None:
        if self.was is None or self.was == self.value or self._value(view) != self.value:
            return None
        return self._set(view, self.was)

    def found(self, view: View) -> Sysctl | None:
        value = self._value(view)
        return None if value is None else Sysctl(self.ns, self.version, self.dev, self.key, value)

    def _value(self, view: View) -> int | None:
        link = view.link(self.ns, self.dev)
        if link is None:
            return None
        value = setting_of(link, self.version, self.key)
        if value is None:
            text = view.sysctl(self.ns, self.path)
            return None if text is None else int(text)
        return value

    def yields_to(self, new: Sysctl) -> bool:
        return True


def setting(ns: Ns, link: Link, version: int, key: str, value: int) -> Sysctl:
    """A setting of a link that somebody else made: it remembers what it found."""
    return Sysctl(ns, version, link.name, key, value, was=setting_of(link, version, key))


def setting_of(link: Link, version: int, key: str) -> int | None:
    """A setting as the link itself carries it; None where it does not."""
    place = IPV4_PLACES.get(key, 0) - 1 if version == 4 else IPV6_PLACES.get(key, -1)
    settings = link.settings[version]
    return settings[place] if 0 <= place < len(settings) else None
