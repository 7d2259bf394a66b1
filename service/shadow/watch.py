"""Measures now and then how far a shadow decides as the results do."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from service.journal.journal import Journal
from service.monitoring.metrics import Metrics
from service.shadow.comparison import comparisons

_WITHIN = timedelta(days=14)
_MOST = 10_000
"""Images that are read: the newest."""


class ShadowWatch:
    """seconds: between two looks."""

    def __init__(self, journal: Journal, metrics: Metrics, seconds: float) -> None:
        self._journal = journal
        self._metrics = metrics
        self._seconds = seconds
        self._looked_at = float("-inf")

    def look(self) -> None:
        """Measure, if it is time again; of each shadow beside the newest model. Raises
        JournalError."""
        if time.monotonic() - self._looked_at < self._seconds:
            return
        self._looked_at = time.monotonic()
        self._metrics.shadow_agreement.clear()
        self._metrics.shadow_compared_images.clear()
        pairs = self._journal.shadow_pairs(since=datetime.now(UTC) - _WITHIN, limit=_MOST)
        for found in reversed(comparisons(pairs)):
            version = found.shadow.version
            if found.agreement is not None:
                images = found.agreement.images
                self._metrics.shadow_compared_images.labels(version).set(images)
                self._metrics.shadow_agreement.labels(version).set(found.agreement.same / images)
