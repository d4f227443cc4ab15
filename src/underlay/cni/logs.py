"""The log of a call: where its configuration says, with what every line of it tells."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from underlay.cni.call import Call
from underlay.cni.errors import CniError
from underlay.cni.keys import LOG_OPTIONS, Keys, log_options
from underlay.log import Log, LogOptions

LOGS = "/var/log/underlay"


def log_of(name: str, call: Call, make: Callable[..., Log] = Log) -> Log:
    """The log of a call of the plugin of that name."""
    options = LogOptions(file=f"{LOGS}/{name}.log")
    keys = Keys(call.config)
    if keys.present(LOG_OPTIONS):  # as a rule it is not, and each call asks
        with suppress(CniError):  # the verbs that need it right say so, DEL needs nothing
            options = log_options(keys, options.file)
    context = {"network": call.network, "container_id": call.container_id, "ifname": call.ifname}
    if call.pod:
        context["pod"] = call.pod
    return make(options, plugin=name, verb=call.command, **context)
