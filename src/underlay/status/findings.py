"""What is wrong on a node, or will be: judged from facts alone, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TypeVar

from underlay.objects import IP, POD, Address, Neigh, Rule
from underlay.record import Record
from underlay.status.facts import MISSING, OTHERS, OURS, NodeFacts
from underlay.values import dataclass

K = TypeVar("K")


class Level(StrEnum):
    """How bad it is. Only what is wrong makes the exit code 1."""

    WRONG = "wrong"
    RISK = "risk"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is a sentence, `remedy` what a person does about it."""

    level: Level
    what: str
    remedy: str = ""


def findings(facts: NodeFacts) -> tuple[Finding, ...]:
    """What is wrong first."""
    found = [
        *(_installed(facts) if _is_installed(facts) else _absent(facts)),
        *_attachments(facts),
        *_leftovers(facts),
        *_forwarding(facts),
        *_firewall(facts),
        *_managers(facts),
    ]
    return tuple(sorted(found, key=lambda each: list(Level).index(each.level)))


def _is_installed(facts: NodeFacts) -> bool:
    has_agent = not isinstance(facts.agent, str)
    return has_agent or bool(facts.installed.version) or OURS in facts.installed.executables.values()


def _absent(facts: NodeFacts) -> Iterator[Finding]:
    what = f"nothing of ours is in {facts.installed.bin_dir}, and no agent answers at {facts.socket}"
    yield Finding(Level.WRONG, what, "underlay install")


def _agent(facts: NodeFacts) -> Iterator[Finding]:
    agent, installed = facts.agent, facts.installed
    if isinstance(agent, str):
        start = "start it: systemctl start underlay-agent, or the DaemonSet"
        if installed.has_fallback:
            yield Finding(Level.RISK, f"no agent answers ({agent}): each call starts Python", start)
        else:
            yield Finding(Level.WRONG, f"no agent answers ({agent}), and nothing else can", start)
        return
    if installed.version and agent.version != installed.version:
        yield Finding(
            Level.WRONG,
            f"the agent runs {agent.version}, and {installed.version} is installed",
            "restart the agent, or install the version that it has",
        )
    elif agent.version != facts.version:
        what = f"the agent runs {agent.version}, and this command is {facts.version}"
        yield Finding(Level.RISK, what, "ask with the agent's own command")


def _installed(facts: NodeFacts) -> Iterator[Finding]:
    yield from _agent(facts)
    installed = facts.installed
    by_state: dict[str, list[str]] = {}
    for name, state in installed.executables.items():
        by_state.setdefault(state, []).append(name)
    install = "underlay install"
    if missing := by_state.get(MISSING):
        yield Finding(Level.WRONG, f"{installed.bin_dir} has no {', '.join(missing)}", install)
    if others := by_state.get(OTHERS):
        what = f"{', '.join(others)} in {installed.bin_dir} is another program's"
        yield Finding(Level.WRONG, what, f"{install}: it keeps that aside")
    for change in installed.changed:
        yield Finding(Level.WRONG, f"{change.path} {change.why}", install)
    for change in installed.in_the_way:
        yield Finding(Level.WRONG, f"{change.path} {change.what}", change.why)


def _attachments(facts: NodeFacts) -> Iterator[Finding]:
    lost = (
        (facts.missing.get(record.owner, ()), f"{pod_of(record)} {record.ifname}")
        for record in facts.attached
    )
    for missing, nics in _grouped(lost):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        what = f"{_listed(nics)}: missing or changed: {missing[0]}{more}"
        yield Finding(
            Level.WRONG, what, "underlay diff shows all of it; find who did it, and recreate the pod"
        )
    now = frozenset(facts.addresses)
    gone = ((_in_order(_known_to(record) - now), pod_of(record)) for record in facts.attached)
    for ips, pods in _grouped(gone):
        what = f"{_listed(pods)}: made when the node had {', '.join(map(str, ips))}, which it has no more"
        yield Finding(Level.WRONG, what, "recreate these pods: they look for the node there")


def _grouped(found: Iterable[tuple[tuple[K, ...], str]]) -> Iterator[tuple[tuple[K, ...], list[str]]]:
    """Who has the same, each named once; nobody who has nothing."""
    groups: dict[tuple[K, ...], dict[str, None]] = {}
    for what, who in found:
        if what:
            groups.setdefault(what, {})[who] = None
    for what, names in groups.items():
        yield what, list(names)


def _in_order(ips: Iterable[IP]) -> tuple[IP, ...]:
    return tuple(sorted(ips, key=lambda ip: (ip.version, int(ip))))


def _known_to(record: Record) -> frozenset[IP]:
    """The node's addresses as an attachment knows them: those that it has permanent neighbours for."""
    at = (obj.ip for obj in record.plan.present if isinstance(obj, Neigh) and obj.ns == POD)
    return frozenset(ip for ip in at if not ip.is_link_local)


def _listed(pods: list[str]) -> str:
    return ", ".join(pods[:3]) + (f" and {len(pods) - 3} more" if len(pods) > 3 else "")


def _leftovers(facts: NodeFacts) -> Iterator[Finding]:
    dead = [each for each in facts.leftovers if not each.doubt]
    if dead:
        what = (
            f"{dead[0].thing}: {dead[0].why}" if len(dead) == 1 else f"{len(dead)} things that nobody owns"
        )
        yield Finding(Level.WRONG, f"left over: {what}", "underlay gc; the agent does it every few minutes")
    for each in facts.leftovers:
        if each.doubt:
            yield Finding(Level.WRONG, f"left over: {each.thing}: {each.why}", f"it stays: {each.doubt}")


def _forwarding(facts: NodeFacts) -> Iterator[Finding]:
    versions = {ip.version for record in facts.attached for ip in addresses_of(record)} or {4}
    for version in sorted(versions):
        if facts.forwarding.get(version) == "0":
            name = f"net.ipv{version}.conf.all.forwarding"
            what = f"{name} is 0: pods reach this node, and nothing behind it"
            yield Finding(Level.WRONG, what, f"sysctl -w {name}=1, and the same in /etc/sysctl.d")


def _firewall(facts: NodeFacts) -> Iterator[Finding]:
    wall = facts.firewall
    if wall.unknown:
        yield Finding(Level.UNKNOWN, f"whether a firewall drops what is forwarded: {wall.unknown}")
    for chain in wall.policies:
        what = f"the chain {chain} drops what no rule accepts: pods may not reach what is behind the node"
        yield Finding(Level.RISK, what, "accept what goes to and from pods, or set its policy to accept")
    if wall.invalid and not facts.is_liberal:
        what = (
            f"{', '.join(wall.invalid)} drops packets that conntrack calls invalid: answers that pods of the"
            " overlay on other nodes get from a pod's own address are such"
        )
        remedy = "net.netfilter.nf_conntrack_tcp_be_liberal=1, by kube-proxy's conntrack.tcpBeLiberal"
        yield Finding(Level.RISK, what, remedy)


def _managers(facts: NodeFacts) -> Iterator[Finding]:
    by_manager: dict[str, list[str]] = {}
    for link in facts.links:
        if link.managed_by:
            by_manager.setdefault(link.managed_by, []).append(link.name)
    for manager, names in by_manager.items():
        what = f"{manager} manages {_listed(names)}: it may take away addresses and routes"
        yield Finding(Level.WRONG, what, UNMANAGED[manager])
    if facts.networkd:
        what = f"when systemd-networkd starts, it removes what others made ({', '.join(facts.networkd)})"
        settings = "; ".join(f"{name}=no" for name in facts.networkd)
        yield Finding(
            Level.RISK, what, f"under [Network] in a file of /etc/systemd/networkd.conf.d: {settings}"
        )


UNMANAGED = {
    "NetworkManager": "unmanaged-devices=interface-name:veth*;interface-name:vx_*;interface-name:mv_* under"
    " [keyfile] in /etc/NetworkManager/conf.d/underlay.conf",
    "systemd-networkd": "a .network file with [Match] Name=veth* vx_* mv_* and [Link] Unmanaged=yes",
}


def pod_of(record: Record) -> str:
    """As a person knows it: by the pod's name, else by the beginning of the container's id."""
    return record.pod or record.container_id[:12]


def addresses_of(record: Record) -> tuple[IP, ...]:
    """The addresses of an attachment's NIC, as far as its plan says them."""
    found: dict[IP, None] = {}
    for obj in record.plan.present:
        if isinstance(obj, Address) and obj.ns == POD:
            found[obj.address.ip] = None
        elif isinstance(obj, Rule) and obj.ns == POD and obj.src:
            found[obj.src.network_address] = None
    found |= dict.fromkeys(claim.dst.network_address for claim in record.claims)
    return tuple(sorted(found, key=lambda ip: ip.version))
