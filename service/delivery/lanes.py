"""That a destination which hangs does not hold all threads of a worker; it gets one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_SLOW_SECONDS = 2.0


class Lane:
    """The attempts at one destination. Thread-safe.

    It is under suspicion while an attempt takes longer than two seconds, and after one that did
    and failed, until another ends otherwise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[int, float] = {}
        self._numbers = 0
        self._suspect = False

    def enter(self) -> int | None:
        """A number for ``leave``; None while one attempt is enough."""
        now = self._clock()
        with self._lock:
            slow = any(now - began > _SLOW_SECONDS for began in self._running.values())
            if self._running and (slow or self._suspect):
                return None
            self._numbers += 1
            self._running[self._numbers] = now
            return self._numbers

    def leave(self, number: int, *, stored: bool) -> None:
        now = self._clock()
        with self._lock:
            seconds = now - self._running.pop(number)
            self._suspect = not stored and seconds > _SLOW_SECONDS
