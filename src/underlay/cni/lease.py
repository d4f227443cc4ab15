"""The addresses of an attachment: asked of the IPAM, written down before, and given back.

`routetable` runs in this process and claims routes of the node; any other IPAM plugin is executed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from underlay.claims import CLAIM, claim_route
from underlay.cni.claim import claim, release
from underlay.cni.delegate import add_addresses, delete_addresses, executable
from underlay.cni.errors import CniError, Conflict, InvalidConfig
from underlay.cni.execute import NotExecuted
from underlay.cni.plugin import Delegated, Wanted
from underlay.cni.result import IpConfig, Result
from underlay.cni.scene import Scene
from underlay.cni.wish import Claimant
from underlay.objects import HOST, IP, Route
from underlay.objects.wire import interface
from underlay.plan import apply
from underlay.record import Record


def obtain(ipam: Wanted | Delegated, record: Record, scene: Scene) -> tuple[Record, Result]:
    """Addresses for `record`, which is returned with all that is needed to give them back.

    It is written each time before something is asked for: where this raises, or the call is killed,
    `give_back` of the record that was written last undoes it.
    """
    if isinstance(ipam, Delegated):
        executable(ipam.config["ipam"]["type"], scene.path, scene.node)
        asking = again(ipam, record, ())
        scene.pod.write(asking)
        try:
            return asking, add_addresses(asking, scene.node, scene.path)
        except NotExecuted:
            scene.pod.write(record)  # nothing was given
            raise
    dev = _link(ipam, scene)

    claimed = record

    def remember(claims: tuple[Route, ...]) -> None:
        nonlocal claimed
        claimed = replace(record, claims=claims)
        scene.pod.write(claimed)

    claimant = Claimant(dev, record.owner, ipam.wait)
    ips = claim(ipam.wishes, claimant, scene.node.records.claims, scene.kernel, remember)
    return claimed, Result(ips=tuple(_on_subnet(ip, ipam) for ip in ips), routes=ipam.routes)


def _link(wanted: Wanted, scene: Scene) -> str:
    """The name of the link that claims lead through. One that no key names is there already."""
    if isinstance(wanted.dev, str) and not wanted.dev_key:
        return wanted.dev
    dev = wanted.dev if isinstance(wanted.dev, str) else scene.kernel.dev(HOST, wanted.dev)
    if dev and scene.kernel.link(HOST, dev):
        return dev
    by_name = isinstance(wanted.dev, str)
    wrong = f'there is no link "{wanted.dev}"' if by_name else f"{wanted.dev} is the index of no link"
    raise InvalidConfig(f"{wanted.dev_key}: {wrong} on the node", "claims are routes that lead through it")


def again(ipam: Wanted | Delegated, record: Record, ips: Iterable[IP]) -> Record:
    """The record of one who has these addresses already, as `obtain` would have left it."""
    if isinstance(ipam, Delegated):
        return replace(record, ipam={"config": ipam.config, "args": ipam.args})
    return replace(record, claims=tuple(claim_route(ip, str(ipam.dev)) for ip in ips))


def _on_subnet(ip: IP, wanted: Wanted) -> IpConfig:
    subnets = (r.subnet for wish in wanted.wishes for r in wish.ranges)
    # As bytes: an address that is given as one would be written as text and parsed, twice.
    return IpConfig(interface(ip.packed, next(subnet.prefixlen for subnet in subnets if ip in subnet)))


def hold(record: Record, scene: Scene) -> None:
    """Makes the claims of a record true again: a route goes when its link goes down, the owner stays."""
    reserve_again(record, scene)
    apply(record.claims, scene.kernel)


def reserve_again(record: Record, scene: Scene) -> None:
    """Makes the entries of a record's claims again, if they are lost."""
    store = scene.node.records.claims
    for route in record.claims:
        ip = route.dst.network_address
        if not store.reserve(ip, route.dev, record.owner):
            raise Conflict(
                f"the address {ip} of {record.ifname} is claimed by {store.holder(ip)} on this node",
                "the records of the node have been lost in part: recreate the pod",
            )


def give_back(record: Record, scene: Scene) -> list[CniError]:
    """Returns what the record's addresses need to be free again and could not be done."""
    failures = release(record.claims, record.owner, scene.node.records.claims, scene.kernel)
    if record.ipam:
        try:
            delete_addresses(record, scene.node, scene.path)
        except CniError as error:
            failures.append(error)
    return failures


def give_back_all_of(owner: str, scene: Scene) -> list[CniError]:
    """The same for every claim whose entry names an owner of whom no record can be read."""
    store = scene.node.records.claims
    routes = [claim_route(ip, held.dev) for ip, held in store.all().items() if held.owner == owner]
    return release(routes, owner, store, scene.kernel)


def give_back_unowned(ips: Iterable[IP], scene: Scene) -> list[CniError]:
    """The same for addresses of which no entry is left either: any claim to one of them is theirs."""
    store, kernel = scene.node.records.claims, scene.kernel
    routes = [
        claim_route(ip, dev)
        for ip in ips
        if not store.holder(ip)
        for proto, index, _ in kernel.host_routes(ip.version).ways(ip)
        if proto == CLAIM and (dev := kernel.dev(HOST, index))
    ]
    return kernel.remove(routes)
