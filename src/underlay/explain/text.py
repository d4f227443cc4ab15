"""Commands on a terminal: a line for each, or folded as a shell reads on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from textwrap import TextWrapper

from rich.text import Text

CONTINUED = " \\"  # what a shell reads on after
# An option of `ip` and its value stay on one line.
PAIR = re.compile(
    r"\b(add|address|dev|dst|dstport|from|group|id|lladdr|local|lookup|metric|mode|mtu|netns|nud|priority|proto"
    r"|scope|src|table|to|type|via) "
)


def commands_text(commands: Iterable[str], width: int | None) -> Text:
    """Commands to be copied, a line each; broken as a shell continues a line where `width` is given."""
    if width is None:
        return Text("\n".join(f"  {command}" for command in commands))
    wrapper = TextWrapper(
        width - len(CONTINUED), initial_indent="  ", subsequent_indent="      ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    whole = (PAIR.sub("\\1\N{NO-BREAK SPACE}", command) for command in commands)
    folded = "\n".join(f"{CONTINUED}\n".join(wrapper.wrap(command)) for command in whole)
    return Text(folded.replace("\N{NO-BREAK SPACE}", " "))
