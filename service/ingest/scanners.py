"""When each scanner was last heard of: one that has fallen silent is nobody's error message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from service.ingest.hours import WorkingHours
from service.ingest.settings import IngestSettings
from service.journal.journal import Journal
from service.monitoring.metrics import Metrics

_MOST = 100
"""Titles that are told apart; a peer may call itself anything."""
_OTHERS = "others"
_REMEMBERED = timedelta(days=30)


class Scanners:
    """Thread-safe. Scanners are known by their calling AE titles."""

    def __init__(self, settings: IngestSettings, journal: Journal, metrics: Metrics) -> None:
        self._named = [rule.ae_title for rule in settings.peers if rule.ae_title != "*"]
        self._journal = journal
        self._metrics = metrics
        self._known: set[str] = set(self._named)
        self._last: dict[str, datetime] = {}
        began = datetime.now(UTC)
        for rule in settings.peers:
            if (hours := rule.working_hours) is not None:
                self._watch(rule.ae_title, hours, began)

    def _watch(self, ae_title: str, hours: WorkingHours, began: datetime) -> None:
        """One that was never heard of is silent since we began to listen."""
        self._metrics.scanner_silent.labels(ae_title).set_function(
            lambda: hours.seconds_between(self._last.get(ae_title, began), datetime.now(UTC))
        )

    def remember(self) -> None:
        """What the journal says of those that are configured. Raises JournalError."""
        for title in self._named:
            last = self._journal.last_received(title, _REMEMBERED)
            if last is not None:
                self.seen(title, last)

    def seen(self, ae_title: str, at: datetime) -> None:
        """An image of it was stored."""
        if ae_title not in self._known and len(self._known) >= _MOST:
            ae_title = _OTHERS
        self._known.add(ae_title)
        self._last[ae_title] = at
        self._metrics.scanner_last_seen.labels(ae_title).set(at.timestamp())
