"""What can go wrong in the lab, in words for the person who runs it."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the text says why, and what to do."""


class CommandError(LabError):
    """A command in a namespace failed; the text is the command and what it said."""


class PluginError(LabError):
    """A CNI plugin refused a call; the fields are those of the spec's error JSON."""

    def __init__(self, plugin: str, verb: str, code: int, msg: str, details: str = "") -> None:
        super().__init__(f"{plugin} {verb}: {msg} (code {code})" + (f"\n{details}" if details else ""))
        self.plugin = plugin
        self.verb = verb
        self.code = code
        self.msg = msg
        self.details = details
