"""Guessing passwords is made slow: after some failures nobody is let in for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_ALONE = 10
_MOST = 20000

_Key = tuple[str, str]


class FailedLogins:
    """Thread-safe.

    failures: of one name from one address, after which this pair is locked for ``seconds``; ten
        times as many lock the name everywhere, or everybody at the address.
    """

    def __init__(
        self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures = failures
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: dict[_Key, tuple[int, float]] = {}

    def is_locked(self, name: str, address: str) -> bool:
        now = self._clock()
        with self._lock:
            return any(self._count(key, now) >= most for key, most in self._keys(name, address))

    def failed(self, name: str, address: str) -> None:
        now = self._clock()
        with self._lock:
            for key, _ in self._keys(name, address):
                count = self._count(key, now) + 1
                self._counted.pop(key, None)
                self._counted[key] = (count, now)
            while len(self._counted) > _MOST:
                del self._counted[next(iter(self._counted))]  # the one longest ago

    def succeeded(self, name: str, address: str) -> None:
        with self._lock:
            self._counted.pop((name, address), None)

    def _keys(self, name: str, address: str) -> tuple[tuple[_Key, int], ...]:
        alone = _ALONE * self._failures
        return ((name, address), self._failures), ((name, ""), alone), (("", address), alone)

    def _count(self, key: _Key, now: float) -> int:
        count, last = self._counted.get(key, (0, 0.0))
        return count if now - last < self._seconds else 0
