"""CHECK and STATUS of a meta plugin: each NIC, each network, and what all of them say."""

from __future__ import annotations

from collections.abc import Iterator

from underlay.cni import chain
from underlay.cni.chain import located
from underlay.cni.errors import CniError, Drift, LimitedConnectivity, NotAvailable, TryAgainLater
from underlay.cni.plugin import C, MetaPlugin, first_of
from underlay.cni.request import Request, attachment_of
from underlay.cni.several import default_route
from underlay.cni.several.calling import Calling, Run, calling, refuse_unready
from underlay.cni.several.record import read, read_all
from underlay.networks.conflist import Conflist
from underlay.networks.delegates import Delegate
from underlay.record import record_name


def check(plugin: MetaPlugin[C], request: Request[C], run: Run) -> None:
    """Every NIC is asked about, whatever the others say; the error names each that is not as it was."""
    this = calling(plugin, request, run)
    attachment = attachment_of(request)
    name = record_name(attachment.network, attachment.ifname, plugin.name)
    with request.node.records.delegates(attachment.container_id) as store:
        known = read(name, store)
        if known is None:
            raise Drift(
                f"nothing is recorded of {attachment.ifname}: it was never made, or its record is lost",
                "recreate the pod",
            )
        first_of([failure for each in known.delegates for failure in _differences(each, this)])


def _differences(delegate: Delegate, this: Calling[C]) -> Iterator[CniError]:
    try:
        if not delegate.result:
            raise Drift("it was begun and never finished", "recreate the pod")
        chain.check(delegate, this.caller)
        default_route.check(delegate, this.caller)
    except CniError as error:
        yield located(error, delegate.place)


def status(plugin: MetaPlugin[C], request: Request[C], run: Run) -> None:
    """NotAvailable where a network that every pod gets can't serve; LimitedConnectivity where one can't that
    pods of this node are in."""
    this = calling(plugin, request, run)
    failures: list[CniError] = []
    asked: list[Conflist] = []
    try:
        refuse_unready(this)
    except TryAgainLater as error:
        failures.append(NotAvailable(error.msg, error.details))
    for reference in plugin.networks(this.config):
        try:
            network = this.catalogue.configured(reference)
            asked.append(network.conflist)
            failures += _unavailable(network.name, network.conflist, this)
        except CniError as error:
            failures.append(NotAvailable(error.msg, error.details))
    failures += _of_living(asked, this)
    worst_first = sorted(failures, key=lambda failure: failure.code)
    first_of(worst_first)


def _unavailable(name: str, conflist: Conflist, this: Calling[C]) -> Iterator[CniError]:
    for error in chain.status(conflist, this.caller):
        kind = LimitedConnectivity if error.code == LimitedConnectivity.code else NotAvailable
        yield kind(f"{name}: {error.msg}", error.details)


def _of_living(asked: list[Conflist], this: Calling[C]) -> Iterator[CniError]:
    """Of networks that pods have asked for. It waits for none of their calls."""
    records = this.request.node.records
    for container in records.delegating():
        for delegate in (
            each for known in read_all(records.glimpsed_delegates(container)) for each in known.delegates
        ):
            if delegate.conflist in asked:
                continue
            asked.append(delegate.conflist)
            for error in chain.status(delegate.conflist, this.caller):
                yield LimitedConnectivity(f"{delegate.network}: {error.msg}", error.details)
