"""The log of a call: where its configuration says, with what every line of it tells."""

from __future__ import annotations

from collections.abc import Callable

from underlay.cni.call import Call
from underlay.cni.errors import CniError
from underlay.cni.keys import Keys, log_options
from underlay.log import Log, LogOptions

LOGS = "/var/log/underlay"


def log_of(name: str, call: Call, make: Callable[..., Log] = Log) -> Log:
    """The log of a call of the plugin of that name."""
    default = f"{LOGS}/{name}.log"
    try:
        options = log_options(Keys(call.config), default)
    except CniError:
        options = LogOptions(file=default)  # the verbs that need it right say so, DEL needs nothing
    context = {"network": call.network, "container_id": call.container_id, "ifname": call.ifname}
    if call.pod:
        context["pod"] = call.pod
    return make(options, plugin=name, verb=call.command, **context)
