"""Which processes answer nothing any more: frozen, or without a thread that runs."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

from service.child import Child

_ANSWER_SECONDS = 5.0
_STARTING_SECONDS = 1800.0
"""To build a TensorRT engine may take that long, and nothing is answered meanwhile."""


class Silence:
    """Asks processes for anything; whatever they answer, they live.

    limit: seconds without an answer that are too long, for a process that has ever answered.
    ask_broker: whether the broker, which speaks no HTTP, answers.
    """

    def __init__(self, limit: float, ask_broker: Callable[[], bool]) -> None:
        self._limit = limit
        self._ask_broker = ask_broker
        self._heard: set[int] = set()
        self._met: dict[int, float] = {}
        self._silent_since: dict[int, float] = {}

    def listen(self, children: Sequence[Child], ended: threading.Event) -> None:
        """Ask again and again until ``ended``; call it in a thread of its own."""
        while not ended.wait(min(5.0, self._limit / 4)):
            for child in children:
                pid = child.pid
                if pid is not None:
                    self._note(pid, answers=self._answers(child))

    def heard(self, child: Child) -> None:
        """Somebody else had an answer of it."""
        if child.pid is not None:
            self._note(child.pid, answers=True)

    def _answers(self, child: Child) -> bool:
        """Not its health: that asks the journal, whose database may be what hangs."""
        if not child.program.health_url:
            return self._ask_broker()
        url = child.program.health_url.removesuffix("healthz")
        return _answers(url, min(_ANSWER_SECONDS, self._limit / 4))

    def is_too_long(self, child: Child) -> bool:
        since = self._silent_since.get(child.pid or 0)
        return since is not None and time.monotonic() - since > self._limit

    def _note(self, pid: int, *, answers: bool) -> None:
        """A question that was asked too early, or while we were frozen ourselves, proves nothing:
        silence begins with one that a process did not answer which had answered before, or which
        has had all the time that a start may take."""
        if answers:
            self._heard.add(pid)
            self._silent_since.pop(pid, None)
            return
        now = time.monotonic()
        met = self._met.setdefault(pid, now)
        if pid in self._heard or now - met > _STARTING_SECONDS:
            self._silent_since.setdefault(pid, now)


def _answers(url: str, seconds: float) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=seconds):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
