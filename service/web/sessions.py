"""Who is logged in. Sessions live in memory: a restart ends them all."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.web.accounts import Role

_MOST = 2000


@dataclass
class Session:
    """name: the person's. stamp: of the local account, None for one from OpenID Connect.

    csrf: what a form must bring along. began, seen: on the clock of ``Sessions``.
    """

    identifier: str
    name: str
    role: Role
    stamp: str | None
    csrf: str
    began: float
    seen: float


class Sessions:
    """Thread-safe. idle, longest: seconds after which a session ends."""

    def __init__(
        self, idle: float, longest: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._idle = idle
        self._longest = longest
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def begin(self, name: str, role: Role, stamp: str | None) -> Session:
        """Always under a new identifier, so that nobody can prepare one for somebody else."""
        now = self._clock()
        identifier, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        session = Session(identifier, name, role, stamp, csrf, now, now)
        with self._lock:
            self._forget_ended(now)
            while len(self._sessions) >= _MOST:
                oldest = min(self._sessions.values(), key=lambda each: each.seen)
                del self._sessions[oldest.identifier]
            self._sessions[identifier] = session
        return session

    def find(self, identifier: str, *, active: bool) -> Session | None:
        """active: whether a person asks, not a page that refreshes itself."""
        now = self._clock()
        with self._lock:
            self._forget_ended(now)
            session = self._sessions.get(identifier)
            if session is not None and active:
                session.seen = now
            return session

    def end(self, identifier: str) -> None:
        with self._lock:
            self._sessions.pop(identifier, None)

    def _forget_ended(self, now: float) -> None:
        self._sessions = {
            identifier: session
            for identifier, session in self._sessions.items()
            if now - session.seen < self._idle and now - session.began < self._longest
        }
