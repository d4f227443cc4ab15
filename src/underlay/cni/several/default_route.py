"""The annotation's `default-route`: by which NIC the pod has the default of its main table.

It is put right between the plugin that makes the NIC and those that are chained behind it, so that they
see in prevResult what the pod asked for, and `veth` and `router` give the NIC's own table the same gateway.
What other NICs have to leave is settled with all of the pod's records, as for those two (cni/settle.py),
and comes back to them when this NIC goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

from underlay.cni.attach import withdraw
from underlay.cni.chain import Caller
from underlay.cni.errors import CniError, Drift
from underlay.cni.plugin import NodeKernel, first_of
from underlay.cni.request import Json
from underlay.cni.result import Result, ResultRoute, parse, render
from underlay.cni.scene import Scene
from underlay.cni.settle import settle_main_default
from underlay.networks.delegates import Delegate
from underlay.objects import POD, Route
from underlay.plan import MainDefault, Plan, apply, missing
from underlay.record import RECORD, Record

PLUGIN = "default-route"  # in the place of a plugin's name, in the names of these records
BOOT = 3  # the protocol of routes that nobody's routing daemon has made, as all main plugins give
BY_ORDER = -1
EVERYTHING = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def lead(delegate: Delegate, devs: Sequence[str], record: Record, result: Json, scene: Scene) -> Json:
    """Gives the pod its default by the NIC of `delegate`, and returns what the rest of its chain sees.

    `record` is one without a plan, and is written before anything changes; `devs` are all NICs that the
    pod is to have.
    """
    gateways = delegate.default_route or ()
    routes = tuple(
        Route(POD, EVERYTHING[gw.version], delegate.ifname, via=gw, proto=BOOT) for gw in gateways
    )
    versions = tuple(gw.version for gw in gateways) or _own_versions(delegate.ifname, scene.kernel)
    if not versions:
        scene.log.event("default-route", "warn", message=f"{delegate.place} has no gateway of its own")
    others = (MainDefault(dev, BY_ORDER, versions=versions) for dev in devs if dev != delegate.ifname)
    own = MainDefault(delegate.ifname, BY_ORDER, versions=versions, is_asked=True)
    record = replace(record, plan=Plan(routes, defaults=(own, *others)))
    scene.pod.write(record)
    first_of(_clear(delegate.ifname, [gw.version for gw in gateways], scene.kernel))
    first_of(settle_main_default(scene.pod, scene.kernel, scene.log))
    apply(routes, scene.kernel)
    return _with_gateways(delegate, result)


def follow(scene: Scene) -> None:
    """Takes the default from a NIC that was made after another one was asked for."""
    first_of(settle_main_default(scene.pod, scene.kernel, scene.log))


def give_back(scene: Scene, ifname: str = "") -> list[CniError]:
    """Undoes `lead` for a NIC that is about to go, or for all of the pod. Returns failures."""
    failures = []
    for name in scene.pod.names():
        parts = RECORD.fullmatch(name)
        if parts and parts[3] == PLUGIN and ifname in ("", parts[2]):
            record = scene.pod.read(name)
            failures += withdraw(record, scene) if record else []
            if record is None:
                scene.pod.delete(name)
    return failures


def check(delegate: Delegate, caller: Caller) -> None:
    """Drift where the NIC has not the default that `lead` has given it."""
    if delegate.default_route is None:
        return
    with caller.scene() as scene:
        gone = missing(_wanted_routes(delegate, scene), scene.kernel)
    for route, found in gone:
        instead = f"there is: {found}" if found else "there is no default route in its place"
        raise Drift(f"the default route that the pod has asked for is missing: {route}", instead)


def _wanted_routes(delegate: Delegate, scene: Scene) -> tuple[Route, ...]:
    records = (each for each in scene.pod.all() if (each.plugin, each.ifname) == (PLUGIN, delegate.ifname))
    return tuple(obj for record in records for obj in record.plan.present if isinstance(obj, Route))


def _own_versions(dev: str, kernel: NodeKernel) -> tuple[int, ...]:
    """The families in which the NIC has a default of its own already."""
    return tuple(sorted({route.dst.version for route in kernel.main_defaults() if dev in route.devs}))


def _clear(dev: str, versions: Sequence[int], kernel: NodeKernel) -> list[CniError]:
    """Takes the NIC's own defaults away, to make room: they go with it in any case."""
    failures: list[CniError] = []
    for route in kernel.main_defaults():
        if route.dst.version in versions and dev in route.devs:
            rest = route.without(dev)
            failures += kernel.remove([route])
            failures += kernel.restore([rest]) if rest else []
    return failures


def _with_gateways(delegate: Delegate, result: Json) -> Json:
    """The result with the gateways that were asked for in the place of its own defaults."""
    version = delegate.conflist.cni_version
    parsed = parse(result, version, where=f"the result of {delegate.conflist.types[0]}")
    return render(_led(parsed, delegate), version)


def _led(result: Result, delegate: Delegate) -> Result:
    gateways = delegate.default_route or ()
    replaced = {gw.version for gw in gateways}
    kept = (r for r in result.routes if r.dst.prefixlen or r.dst.version not in replaced)
    asked = (ResultRoute(EVERYTHING[gw.version], gw) for gw in gateways)
    return replace(result, routes=(*kept, *asked))
