"""How a process of ours is told to end: SIGTERM or SIGINT, looked for where it suits the work."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """From now on these signals end nothing by themselves; make it in the main thread, once.

    By handlers, and neither by a blocked signal nor by sigwait(): a library's thread that was
    there before does not block it, so that the kernel would give it to that one, which kills the
    process. Nor by sigtimedwait(): of a process that was stopped for longer than that, CPython's
    tells a signal that never came.
    """

    def __init__(self) -> None:
        self._told, self._telling = socket.socketpair()
        self._telling.setblocking(False)
        signal.set_wakeup_fd(self._telling.fileno(), warn_on_full_buffer=False)
        for number in _ENDING:
            signal.signal(number, _nothing_more)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait so long, or for ever, until told to end; whether we were, now or before."""
        return bool(select.select([self._told], [], [], seconds)[0])


def _nothing_more(_number: int, _frame: FrameType | None) -> None:
    """The byte at the wakeup descriptor says it, and is never read."""
