"""ADD of a main plugin, which makes the pod's NIC, and of an IPAM plugin, which gives addresses.

Both decide once, as chained plugins do: an equal ADD is answered from the record, another one takes
the record's off first. The record stands before anything is asked for, and goes if anything fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from underlay.cni.attach import digest, make, withdraw
from underlay.cni.errors import CniError, InvalidConfig
from underlay.cni.lease import hold, obtain
from underlay.cni.phases import Phase
from underlay.cni.plugin import Attachment, C, IpamPlugin, Joining, MainPlugin, Wanted, first_of
from underlay.cni.probing import Probing, refuse_conflict
from underlay.cni.request import Json, Request, attachment_in, configured, refuse_own_namespace
from underlay.cni.result import Result, parse, render
from underlay.cni.scene import Scene
from underlay.cni.segment import join, rejoin
from underlay.cni.unrecorded import withdraw_unrecorded
from underlay.objects import HOST
from underlay.plan import Plan
from underlay.record import Record

Decided = tuple[Record, Plan, Result]
Decide = Callable[[Record], Decided]
NEWEST = "1.1.0"  # in which a result is recorded: nothing is lost


def add_nic(plugin: MainPlugin[C], request: Request[C]) -> Json:
    """Joins a segment, gets addresses, makes the NIC."""
    read = configured(request)
    config = _usable(read.config, plugin.name)
    for message in read.unknown:
        request.log.event("configuration", "warning", message=message)
    scene = request.scene()
    attachment = attachment_in(scene, request)

    def prepared() -> Decide:
        joining = plugin.choose(config, request.call, _annotations(plugin, config, request))
        return lambda record: _joined(joining, record, attachment, scene)

    result, is_new = _recorded(request, attachment, scene, prepared)
    if is_new:
        _announce_afterwards(result, request)
    return render(result, request.call.cni_version)


def _announce_afterwards(result: Result, request: Request[C]) -> None:
    """Not by the link as it comes up: the kernel makes a copy for each NIC beside it, and ADD would wait."""
    call = request.call
    mac = next(nic.mac for nic in result.interfaces if nic.name == call.ifname and nic.sandbox)
    addresses = result.addresses_of(call.ifname, call.netns)
    request.announce_afterwards(mac, tuple(ip.address.ip for ip in addresses))


def add_addresses(plugin: IpamPlugin[C], request: Request[C]) -> Json:
    """Claims addresses; the NIC is another plugin's, and need not be there yet."""
    read = configured(request)
    wanted = plugin.wanted(_usable(read.config, plugin.name), request.call)
    for message in read.unknown:
        request.log.event("configuration", "warning", message=message)
    refuse_own_namespace(request)
    call = request.call
    netns_id = request.node.netns_id(call.netns)
    attachment = Attachment(call.container_id, call.ifname, call.network, call.netns, None, netns_id)
    scene = request.scene()
    result, _ = _recorded(request, attachment, scene, lambda: partial(_obtained, wanted, scene))
    return render(result, call.cni_version)


def _usable(config: C | None, plugin: str) -> C:
    if config is None:
        raise InvalidConfig(
            f"the configuration asks {plugin} for nothing", "a pod without it has no network"
        )
    return config


def _recorded(
    request: Request[C], attachment: Attachment, scene: Scene, prepared: Callable[[], Decide]
) -> tuple[Result, bool]:
    """The answer of an equal ADD, made true again; or of a new one, and whether it is that.

    `prepared` says what is wrong before what there is is taken off. What it gives writes the record
    before it does anything, and returns it with the plan and the answer, which it lacks yet.
    """
    inputs = _digest(request, attachment)
    known = scene.pod.read(request.record_name)
    if known and known.inputs == inputs and _is_made_again(known, scene):
        return parse(known.result, NEWEST, where="the record's result"), False
    request.phases.enter(Phase.PLAN)
    decide = prepared()
    request.phases.enter(Phase.APPLY)
    if known:
        first_of(_withdrawn(known, attachment, request, scene))
    elif request.record_name in scene.pod.names():
        first_of(withdraw_unrecorded(attachment, request, scene))
    record = request.record_of(attachment)
    try:
        record, plan, result = decide(record)
        record = replace(record, plan=plan, inputs=inputs, result=render(result, NEWEST))
        scene.pod.write(record)
        make(record, scene)
    except BaseException as error:
        left = scene.pod.read(record.name)  # it knows what was reached, whoever wrote it last
        for failure in withdraw(left or record, scene):
            error.add_note(f"and taking it back failed: {failure.msg}")
        raise
    return result, True


def _is_made_again(known: Record, scene: Scene) -> bool:
    if known.segment and not rejoin(known, scene):
        return False
    hold(known, scene)
    make(known, scene)
    return True


def _withdrawn(known: Record, attachment: Attachment, request: Request[C], scene: Scene) -> list[CniError]:
    if known.netns_id == attachment.netns_id:
        return withdraw(known, scene)
    with request.node.kernel("") as host_alone:  # its pod was another one, and is gone
        return withdraw(known, replace(scene, kernel=host_alone))


def _joined(joining: Joining, record: Record, attachment: Attachment, scene: Scene) -> Decided:
    record = replace(record, segment=joining.name)
    scene.pod.write(record)
    member = join(joining, record, scene)
    record, given = obtain(joining.ipam, record, scene)
    addresses = tuple(ip.address.ip for ip in given.ips)
    refuse_conflict(Probing(joining.dev, addresses, {}, joining.for_conflict, None, HOST), scene.kernel)
    plan, result = joining.nic(attachment, given, member)
    return record, plan, result


def _obtained(wanted: Wanted, scene: Scene, record: Record) -> Decided:
    record, result = obtain(wanted, record, scene)
    return record, record.plan, result


def _annotations(plugin: MainPlugin[C], config: C, request: Request[C]) -> Mapping[str, str]:
    kubeconfig = plugin.reads_annotations(config)
    if kubeconfig is None:
        return {}
    args = request.call.args
    namespace, name = args.get("K8S_POD_NAMESPACE", ""), args.get("K8S_POD_NAME", "")
    pod = request.node.cluster(kubeconfig).pod(namespace, name, args.get("K8S_POD_UID", ""))
    return pod.annotations


def _digest(request: Request[C], attachment: Attachment) -> str:
    """Of what a runtime says; what the API says of the pod is asked for once."""
    call = request.call
    config = {key: value for key, value in call.config.items() if key.casefold() != "prevresult"}
    return digest([attachment.netns_id, config, call.args])
