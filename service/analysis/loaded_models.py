"""Models in memory, by the digest of their package: loaded once, closed when nobody uses them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.analysis.analyser import Analyser

log = logging.getLogger(__name__)


@dataclass
class _Held:
    analyser: Analyser
    users: int
    used_at: float = field(default_factory=time.monotonic)


class LoadedModels:
    """Thread-safe.

    load: makes the analyser of a package by its digest; what it raises, ``use`` raises.
    """

    def __init__(self, load: Callable[[str], Analyser]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._held: dict[str, _Held] = {}

    @contextmanager
    def use(self, sha256: str) -> Iterator[Analyser]:
        """The model stays open while the block runs. It is loaded if need be: tasks of other models
        go on meanwhile."""
        held = self._take(sha256)
        try:
            yield held.analyser
        finally:
            with self._lock:
                held.users -= 1
                held.used_at = time.monotonic()

    def all(self) -> dict[str, Analyser]:
        """What is loaded, the oldest first."""
        with self._lock:
            return {sha256: held.analyser for sha256, held in self._held.items()}

    def close_idle(self, keep: Collection[str], idle_seconds: float) -> bool:
        """Close those that nobody has used for so long, but for ``keep``; whether there was one."""
        latest = time.monotonic() - idle_seconds
        with self._lock:
            idle = [
                sha256
                for sha256, held in self._held.items()
                if sha256 not in keep and not held.users and held.used_at <= latest
            ]
            closing = {sha256: self._held.pop(sha256) for sha256 in idle}
        for sha256, held in closing.items():
            held.analyser.close()
            log.info("model %s closed: no study needs it now", sha256[:12])
        return bool(closing)

    def close(self) -> None:
        """Nobody may use any of them any more."""
        for analyser in self.all().values():
            analyser.close()

    def _take(self, sha256: str) -> _Held:
        if held := self._found(sha256):
            return held
        with self._loading:
            if held := self._found(sha256):
                return held
            began = time.monotonic()
            held = _Held(self._load(sha256), users=1)
            with self._lock:
                self._held[sha256] = held
        manifest, provider = held.analyser.package.manifest, held.analyser.provider
        name, seconds = f"{manifest.name} {manifest.version}", time.monotonic() - began
        log.info("model %s, %s, loaded in %.1f s on %s", sha256[:12], name, seconds, provider)
        return held

    def _found(self, sha256: str) -> _Held | None:
        with self._lock:
            if held := self._held.get(sha256):
                held.users += 1
            return held
