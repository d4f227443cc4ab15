"""Takes off what an attachment may have left of which no record can be read: lost, damaged, never written.

What goes by: what carries our mark in the pod, the claims whose entry names the attachment, the
segments where it is noted as a user, and what the call itself says.
"""

from __future__ import annotations

from underlay.cni.attach import take_off
from underlay.cni.delegate import executable
from underlay.cni.errors import CniError, InvalidConfig
from underlay.cni.lease import again, give_back, give_back_all_of, give_back_unowned
from underlay.cni.plugin import Attachment, C, Delegated, Given
from underlay.cni.request import Request, other_name, usable
from underlay.cni.scene import Scene
from underlay.cni.segment import leave
from underlay.facts import Remains
from underlay.objects import POD
from underlay.plan import Plan
from underlay.record import Record


def withdraw_unrecorded(attachment: Attachment, request: Request[C], scene: Scene) -> list[CniError]:
    """Returns what could not be taken off. A record that can't be read goes when all else has."""
    nobody = request.record_of(attachment)
    failures = take_off(_traces(attachment, request, scene), nobody.name, attachment.ifname, scene)
    if failures:
        return failures
    given = given_by(request)
    failures = give_back_all_of(nobody.owner, scene) + give_back_unowned(given.claimed, scene)
    for delegated in given.delegated:
        failures += _asked_back(delegated, nobody, scene)
    for name in scene.node.records.segments(request.plugin.name):
        failures += leave(name, nobody.owner, scene)
    if not failures:
        scene.pod.delete(nobody.name)
    return failures


def _asked_back(delegated: Delegated, nobody: Record, scene: Scene) -> list[CniError]:
    """An IPAM plugin that is not there has given nothing: a name that was mistyped keeps no pod for ever."""
    try:
        executable(delegated.config["ipam"]["type"], scene.path, scene.node)
    except InvalidConfig as error:
        scene.log.event("ipam", "warning", message=error.msg)
        return []
    return give_back(again(delegated, nobody, ()), scene)


def given_by(request: Request[C]) -> Given:
    """What the call says that an IPAM has given."""
    config = usable(request)
    return request.plugin.given(config, request.call) if config and request.plugin.given else Given()


def _traces(attachment: Attachment, request: Request[C], scene: Scene) -> Plan:
    config = usable(request)
    other = scene.kernel.other_nic(other_name(request.plugin, config)) if config else None
    return request.plugin.traces(config, attachment, Remains(scene.kernel.ours(POD), other))
