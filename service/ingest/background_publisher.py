"""Publishing behind the storage SCP's back, so that no broker ever delays or refuses an image."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from service.monitoring.metrics import Metrics

log = logging.getLogger(__name__)

_WAITING_KEYS = 10_000


class BackgroundPublisher:
    """A thread that passes keys on to ``publish``.

    A key that the broker does not take, or that finds too many others waiting, is counted and
    dropped: the keeper publishes it later, from the journal.
    """

    def __init__(self, publish: Callable[[str], None], metrics: Metrics) -> None:
        self._publish = publish
        self._metrics = metrics
        self._keys: queue.Queue[str | None] = queue.Queue(_WAITING_KEYS)
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, key: str) -> None:
        """Publish soon. Never waits, never fails."""
        try:
            self._keys.put_nowait(key)
        except queue.Full:
            self._metrics.publish_failures.inc()

    def stop(self, seconds: float) -> None:
        """Publish what waits, for at most ``seconds``."""
        try:
            self._keys.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _run(self) -> None:
        while (key := self._keys.get()) is not None:
            try:
                self._publish(key)
            except Exception as error:  # noqa: BLE001 - whatever the broker's client raises
                self._metrics.publish_failures.inc()
                log.warning("%s waits for the keeper: %s", key, type(error).__name__)
