"""The errors of CNI, one class for each code: what is wrong, whose fault it is, what to do.

```
CniError
├── IncompatibleVersion 1      ├── TryAgainLater       11
├── UnsupportedField    2      ├── NotAvailable        50
├── UnknownContainer    3      ├── LimitedConnectivity 51
├── InvalidEnvironment  4      ├── KernelError        100
├── IoFailure           5      ├── Drift              101
├── DecodingFailure     6      ├── Conflict           102
├── InvalidConfig       7      └── Internal           999
└── InvalidNetns        8
```

Codes 1 to 99 are the specification's (CNI SPEC, "Error"), 8 and 999 as the Go library uses them,
100 and above are ours. Code that calls nothing of ours lives here, so every layer may raise these.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar


class CniError(Exception):
    """A failure that a runtime can read: `msg` for people, in one line; `details` how to see it."""

    code: ClassVar[int] = 999

    def __init__(self, msg: str, details: str = "") -> None:
        super().__init__(msg, details)
        self.msg = msg
        self.details = details

    def __str__(self) -> str:
        return self.msg


class IncompatibleVersion(CniError):
    """The configuration's author: its cniVersion is not one of ours, or too old for the verb. Change it."""

    code = 1


class UnsupportedField(CniError):
    """The configuration's author: a key that is known but cannot be honoured. Remove it or switch it off."""

    code = 2


class UnknownContainer(CniError):
    """The runtime: there is no such container. It need not call DEL for it."""

    code = 3


class InvalidEnvironment(CniError):
    """The runtime: a CNI_* variable is missing or breaks its rule. Whoever calls us must change."""

    code = 4


class IoFailure(CniError):
    """The machine: standard input, a record or a socket could not be read or written. Look at the node."""

    code = 5


class DecodingFailure(CniError):
    """The runtime or the configuration's author: standard input is not a JSON object. Validate the file."""

    code = 6


class InvalidConfig(CniError):
    """The configuration's author: a key is missing or its value is wrong. The message names both."""

    code = 7


class InvalidNetns(CniError):
    """The runtime: CNI_NETNS is not the pod's own network namespace. Whoever calls us must change."""

    code = 8


class TryAgainLater(CniError):
    """Nobody: what the call needs is not there yet. The runtime calls again by itself."""

    code = 11


class NotAvailable(CniError):
    """The node: the plugin cannot serve any ADD (STATUS). Mend what the message names."""

    code = 50


class LimitedConnectivity(CniError):
    """The node: pods that exist may lack connectivity, and an ADD may fail (STATUS). Mend what is named."""

    code = 51


class KernelError(CniError):
    """The node: the kernel refused a change. The message is the `ip` command that failed and the reason."""

    code = 100


class Drift(CniError):
    """Somebody else on the node: CHECK found objects gone or changed. Recreate the pod; find who did it."""

    code = 101


class Conflict(CniError):
    """Somebody else: an object, an address or a table that we need is in use and not ours. Free it."""

    code = 102


class Internal(CniError):
    """Us: something that we did not foresee. Please report it with the message and the log."""

    code = 999

    @classmethod
    def of(cls, exception: BaseException) -> Internal:
        """Name the exception, its text and the line that raised it; the traceback belongs in the log."""
        text = str(exception)
        kind = type(exception).__name__
        error = cls(f"unforeseen {kind}: {text}" if text else f"unforeseen {kind}", _raised_at(exception))
        for note in getattr(exception, "__notes__", ()):
            error.add_note(note)
        return error


def by_code(code: object) -> type[CniError]:
    """The class for the code that another plugin has failed with; one that we don't know is unforeseen."""
    return next((kind for kind in CniError.__subclasses__() if kind.code == code), Internal)


def _raised_at(exception: BaseException) -> str:
    trace = exception.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return f"raised by {code.co_name}, {os.path.basename(code.co_filename)} line {trace.tb_lineno}"


def as_json(error: CniError, cni_version: str) -> dict[str, Any]:
    """Give the object that a plugin prints on standard output when a call fails (CNI SPEC, "Error").

    Notes of the exception (`add_note`: what else went wrong while undoing) come after the details.
    """
    details = [error.details, *getattr(error, "__notes__", ())]
    return {
        "cniVersion": cni_version,
        "code": error.code,
        "msg": error.msg,
        "details": "; ".join(part for part in details if part),
    }
