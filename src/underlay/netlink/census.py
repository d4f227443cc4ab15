"""All that there is of a kind in a namespace, whoever made it: for looks that are taken now and then.

A call never asks like this: a full dump grows with the node.
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface

from underlay.netlink.kernel import Netlink
from underlay.objects import Ns, Object
from underlay.objects.address import HEADER, IFA_ADDRESS, IFA_LOCAL
from underlay.objects.link import SKIP_STATISTICS, Link, decode_link
from underlay.objects.neigh import neighs
from underlay.objects.route import routes
from underlay.objects.rule import rules
from underlay.objects.wire import (
    DUMP,
    IFLA_EXT_MASK,
    RTM_GETADDR,
    RTM_GETLINK,
    Message,
    attributes,
    ifinfo,
    interface,
    number,
)


def links(kernel: Netlink, ns: Ns) -> tuple[Link, ...]:
    """Every link of a namespace."""
    wanted = ifinfo() + number(IFLA_EXT_MASK, SKIP_STATISTICS)
    return tuple(decode_link(body) for body in kernel.dump(ns, Message(RTM_GETLINK, DUMP, wanted)))


def addresses(kernel: Netlink, ns: Ns) -> dict[int, tuple[IPv4Interface | IPv6Interface, ...]]:
    """Every address of a namespace, of whatever scope, by the index of its link."""
    found: dict[int, tuple[IPv4Interface | IPv6Interface, ...]] = {}
    for body in kernel.dump(ns, Message(RTM_GETADDR, DUMP, HEADER.pack(0, 0, 0, 0, 0))):
        _, length, _, _, index = HEADER.unpack_from(body)
        attrs = attributes(body, HEADER.size)
        own = interface(attrs.get(IFA_LOCAL) or attrs[IFA_ADDRESS], length)
        found[index] = (*found.get(index, ()), own)
    return found


def tagged(kernel: Netlink, ns: Ns, proto: int) -> tuple[Object, ...]:
    """Every route, neighbour and rule of a namespace that carries a protocol number, in the order in
    which they can be made."""
    found: list[Object] = list(neighs(kernel, ns, proto))
    found += [route for version in (4, 6) for route in routes(kernel, ns, version, proto=proto)]
    found += [rule for version in (4, 6) for rule in rules(kernel, ns, version) if rule.proto == proto]
    return tuple(found)
