"""Network managers that take away what they did not make: what they say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable

NETWORK_MANAGER = "/run/NetworkManager/devices"  # a file for each link, by its index
NETWORKD_STATE = "/run/systemd/netif/state"  # while it runs
NETWORKD_LINKS = "/run/systemd/netif/links"
NETWORKD_CONFIG = ("/usr/lib/systemd", "/run/systemd", "/etc/systemd")  # the later one wins
# networkd.conf(5): both are on where nobody says otherwise.
FOREIGN = ("ManageForeignRoutes", "ManageForeignRoutingPolicyRules")
OFF = {"no", "false", "0", "off"}
SETTING = re.compile(r"\s*(\w+)\s*=\s*(\S*)\s*")


def is_managed_by_network_manager(text: str) -> bool:
    """By the file of a link."""
    return "managed=true" in text.split()


def is_managed_by_networkd(text: str) -> bool:
    """By the file of a link: one that it leaves alone is "unmanaged" there."""
    found = re.search(r"(?m)^ADMIN_STATE=(\w+)", text)
    return found is not None and found[1] not in ("unmanaged", "initialized", "pending", "linger")


def foreign_settings(texts: Iterable[str]) -> tuple[str, ...]:
    """Which settings make networkd remove what others made; `texts` are its files, the last one wins."""
    values = dict.fromkeys(FOREIGN, "yes")
    for text in texts:
        for line in text.splitlines():
            found = SETTING.fullmatch(line.partition("#")[0])
            if found and found[1] in values:
                values[found[1]] = found[2].lower() or "yes"
    return tuple(name for name, value in values.items() if value not in OFF)
