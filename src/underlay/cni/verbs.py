"""The verbs of CNI, once for all plugins (CNI specification 1.1.0, section 2).

A plugin says what it wants; the verbs decide when that is made, compared and taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from underlay.cni.call import SUPPORTED
from underlay.cni.errors import CniError
from underlay.cni.phases import Phase
from underlay.cni.plugin import C, ChainedPlugin, IpamPlugin, MainPlugin, MetaPlugin
from underlay.cni.request import Json, Request


def run(request: Request[C]) -> Json | None:
    """Carries out one call; the JSON to print, if any. Raises the CniError to print instead."""
    try:
        return carry_out(request)
    finally:
        finish(request)


def carry_out(request: Request[C]) -> Json | None:
    """The same up to the answer: who gives that away first calls `finish` when it is out."""
    outcome: Json = {"outcome": "failed"}
    try:
        answer = _carried_out(request)
        outcome = {"outcome": "ok"}
        return answer
    except CniError as error:
        outcome |= {"code": error.code, "msg": error.msg, "details": error.details}
        raise
    except BaseException as error:
        import traceback  # here alone: it is slow to load

        outcome |= {"msg": repr(error), "traceback": traceback.format_exc()}
        raise
    finally:
        if outcome["outcome"] != "ok":  # then nothing is held, and nothing left, when the error is read
            request.until_answered.close()
        request.phases.enter(Phase.REPLY)
        request.afterwards.insert(0, partial(_log, request, outcome))


def finish(request: Request[C]) -> None:
    """What is left to do when the answer is out: locks are freed, then the log, announcements."""
    request.phases.enter(None)
    request.until_answered.close()
    for work in request.afterwards:
        work()
    request.afterwards.clear()


def _log(request: Request[C], outcome: Json) -> None:
    level = "info" if outcome["outcome"] == "ok" else "error"
    if request.notes:
        outcome["notes"] = request.notes
    ms = request.phases.milliseconds
    request.log.event("call", level, duration_ms=round(sum(ms.values()), 2), ms=ms, **outcome)


def _carried_out(request: Request[C]) -> Json | None:
    verb, plugin = request.call.command, request.plugin
    if isinstance(plugin, MetaPlugin) and verb != "VERSION":
        from underlay.cni.several import VERBS as OF_META_PLUGINS  # no other plugin needs it

        return OF_META_PLUGINS[verb](plugin, request, run)
    return VERBS[verb](request)


def add(request: Request[C]) -> Json:
    """Each sort of plugin adds something else; what was added is compared and taken off in one way."""
    match request.plugin:
        case ChainedPlugin():
            from underlay.cni.add import add_to_chain

            return add_to_chain(request.plugin, request)
        case MainPlugin():
            from underlay.cni.add_anew import add_nic

            return add_nic(request.plugin, request)
        case IpamPlugin():
            from underlay.cni.add_anew import add_addresses

            return add_addresses(request.plugin, request)
        case _:
            raise TypeError(f"{request.plugin.name} is none of the sorts of plugin")


def delete(request: Request[C]) -> None:
    from underlay.cni import remove

    remove.delete(request)


def collect(request: Request[C]) -> None:
    from underlay.cni import remove

    remove.collect(request)


def check(request: Request[C]) -> None:
    from underlay.cni import verify

    verify.check(request)


def status(request: Request[C]) -> None:
    from underlay.cni import verify

    verify.status(request)


def version(request: Request[C]) -> Json:
    return {"cniVersion": request.call.cni_version, "supportedVersions": list(SUPPORTED)}


VERBS: dict[str, Callable[[Request[Any]], Json | None]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "GC": collect,
    "STATUS": status,
    "VERSION": version,
}


def load() -> None:
    """Imports now what each verb imports when it is asked for: a process for one call needs one of them."""
    from underlay.cni import add, add_anew, remove, several, verify  # noqa: F401
