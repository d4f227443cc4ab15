"""Calls that are killed: a process kills itself before its n-th effect on the world, for every n.

Each moment at which the kernel, a record or another plugin differs from the moment before is tried
once, and in the same order in every run.
"""

from __future__ import annotations

import builtins
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

DONE, FAILED = 0, 1


def is_killed(call: Callable[[], object], effects: int) -> bool:
    """Whether a call, in a process of its own, was killed: after so many effects, unless done by then."""
    pid = os.fork()
    if not pid:
        code = FAILED
        try:
            _make_deadly(effects)
            call()
            code = DONE
        except BaseException:  # noqa: BLE001  nothing of this process may go on as if it were the tests'
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (DONE, -signal.SIGKILL)
    return code != DONE


def moments(call: Callable[[], object], step: int = 1) -> Iterator[int]:
    """Kills a call at each of its moments, or at one of every so many, one after the other.

    After each the caller does what is to follow; what that leaves is where the next one begins."""
    effects = 0
    while is_killed(call, effects):
        yield effects
        effects += step


def _make_deadly(effects: int) -> None:
    """Every function by which this process changes anything counts, and kills when enough are done."""
    left = effects

    def before_effect() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def deadly(
        function: Callable[..., Any], is_effect: Callable[..., bool] = lambda *_, **__: True
    ) -> Callable[..., Any]:
        def call(*args: Any, **keys: Any) -> Any:
            if is_effect(*args, **keys):
                before_effect()
            return function(*args, **keys)

        return call

    class Socket(socket.socket):
        def send(self, data: Any, *flags: int) -> int:
            if int.from_bytes(data[4:6], sys.byteorder) % 4 < 2:  # RTM_NEW… or RTM_DEL…, not RTM_GET…
                before_effect()
            return super().send(data, *flags)

    def writes(_: object, mode: str = "r", **keys: object) -> bool:
        return "w" in mode and not keys.get("opener")  # which opens by os.open

    def creates(_: object, flags: int, *__: object, **___: object) -> bool:
        return bool(flags & os.O_CREAT)

    for module, name, function in (
        (socket, "socket", Socket),
        (builtins, "open", deadly(open, writes)),
        (os, "open", deadly(os.open, creates)),
        (subprocess, "run", deadly(subprocess.run)),  # another plugin
        *(
            (os, name, deadly(getattr(os, name)))
            for name in ("mkdir", "write", "rename", "unlink", "rmdir", "symlink")
        ),
    ):
        setattr(module, name, function)
