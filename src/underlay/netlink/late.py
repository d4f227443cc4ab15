"""Deletes a link and is back before the kernel has finished, for a process that stays.

After a link is gone for everybody to see, the kernel waits, 10 to 30 ms, until nobody can hold it any more,
and only then the request returns. With an echo it tells of the deletion before that wait: the thread
that has sent the request stays in the kernel, and another one hears it.
"""

from __future__ import annotations

from collections.abc import Callable

from underlay.netlink.socket import NetlinkSocket, Refused
from underlay.objects.wire import ECHO, Message

Background = Callable[[Callable[[], None]], None]  # runs a function in another thread, at once


def delete_link(
    opened: NetlinkSocket, request: Message, background: Background, let_go: Callable[[NetlinkSocket], None]
) -> Refused | None:
    """The answer to a DELLINK, as `NetlinkSocket.transact` would give it; then the socket is let go.

    A kernel that sends no echo of it answers at the end: then this takes as long as it takes.
    """
    import threading  # a process that has no background does not load it

    heard = threading.Event()

    def send() -> None:
        try:
            opened.tell(request._replace(flags=request.flags | ECHO))
        finally:
            heard.wait()
            opened.hear_out()
            let_go(opened)

    background(send)
    try:
        return opened.first_answer()
    finally:
        heard.set()
