"""Why each kernel object is there, in a sentence that a comment can hold.

One `match` over all kinds, which the type checker holds to be whole: a new kind has no plan to explain until
it has a reason here.
"""

from __future__ import annotations

from underlay.claims import CLAIM
from underlay.objects import (
    HOST,
    MAIN,
    Address,
    Fdb,
    LinkAddress,
    LinkAlias,
    LinkUp,
    Macvlan,
    Neigh,
    Object,
    Route,
    Rule,
    Sysctl,
    TxQueueLen,
    VethPair,
    Vxlan,
)
from underlay.plugins.vxlan_node import BYPASS_PRIORITY, BYPASS_TABLES, NOBODY

SETTINGS = {
    "rp_filter": "what comes in here may be answered by another way",
    "disable_ipv6": "runtimes may have switched IPv6 off",
    "arp_notify": "neighbours learn at once whose MAC an address has now",
    "forwarding": "the node is the router of its pods",
    "send_redirects": "pods are not sent past their node",
    "addr_gen_mode": "this link speaks for nobody by itself",
}


def reason(obj: Object) -> str:  # noqa: PLR0911, PLR0912  a case for each kind
    """Why a plan has that object."""
    match obj:
        case VethPair():
            return "a way between the pod and its node: by the LAN a macvlan pod does not reach it"
        case Vxlan():
            return "frames to other nodes travel in UDP"
        case Macvlan():
            own = "the node's own link in the network, by which it is the router of its pods"
            return own if obj.ns == HOST else "the pod's NIC, made in its place with its name and its MAC"
        case LinkUp():
            return "no route leads through a link that is down"
        case LinkAddress():
            return "the MAC follows from the address (mac_prefix)"
        case LinkAlias():
            return "the whole name of the network, which is too long for a link's"
        case TxQueueLen():
            return "asked for by tx_queue_len"
        case Sysctl():
            return _of_setting(obj)
        case Address():
            return "the gateway of the node's pods" if obj.ns == HOST else "the pod's own address"
        case Neigh():
            whose = "pod" if obj.ns == HOST else "node"
            return f"the MAC of the {whose} is known, and nobody has to ask for it"
        case Fdb():
            return _of_forwarding(obj)
        case Route():
            return _of_host_route(obj) if obj.ns == HOST else _of_pod_route(obj)
        case Rule():
            return _of_rule(obj)


def _of_setting(setting: Sysctl) -> str:
    if setting.key == "arp_ignore":
        strict = "a link answers for its own addresses alone"
        return "the device answers for no address of the node" if setting.ns == HOST else strict
    return SETTINGS.get(setting.key, "the others of the pod's NICs rely on it")


def _of_forwarding(entry: Fdb) -> str:
    if entry.mac == NOBODY:
        return "frames to a MAC that is not known yet go to each of the other nodes"
    return "the gateway has one MAC on all nodes: frames from the others' stay there"


def _of_host_route(route: Route) -> str:
    if route.proto == CLAIM:
        return "the claim to an address: others see it taken, and where its packets go"
    if route.table >= BYPASS_TABLES:
        return "what goes from the network to the network stays in it"
    return "where the pod is; in a table that no overlay and no routing daemon tidies up"


def _of_pod_route(route: Route) -> str:
    if route.table != MAIN:
        return "all that this NIC's addresses reach: what they were asked, they answer by their own NIC"
    if route.is_default:
        return "all else"
    if route.dst.prefixlen == route.dst.max_prefixlen:
        return "the node, which its own LAN does not lead to"
    return "what lies behind the node: services, the overlay"


def _of_rule(rule: Rule) -> str:
    if rule.ns != HOST:
        return "what comes from this address goes by the table of its NIC"
    if rule.priority == BYPASS_PRIORITY:
        return "before main, where a routing daemon may lead around the network"
    return "before main, the node looks where its pods are; one rule for all of them"
