"""The journal as the configuration wants it."""

from __future__ import annotations

from service.config import Settings
from service.journal.journal import Journal


def open_journal(settings: Settings) -> Journal:
    """For a process that works on jobs; whoever only reads or asks needs no more than the URL."""
    return Journal(
        settings.journal_url,
        quiet_seconds=settings.summary_after,
        longest_wait=settings.longest_wait,
        commitment_wait=settings.commitment_wait,
    )
