"""The journal's operations: each one transaction, each safe to repeat."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from service.journal.records import (
    AnalysisJob,
    AnalysisOutcome,
    DeliveryJob,
    ImageRow,
    ImageState,
    JournalCounts,
    Overdue,
    ReceivedImage,
    Receipt,
)


class JournalError(Exception):
    """The database cannot be used; the text says what the operator should do (no secrets)."""


class Journal:
    """Thread-safe. SQLite (WAL, synchronous FULL) or PostgreSQL, by SQLAlchemy URL."""

    def __init__(self, url: str) -> None: ...

    def migrate(self) -> None:
        """Create or upgrade the schema with alembic; safe when several processes do it at once."""

    def check(self) -> None:
        """Raise JournalError unless the database answers and has the current schema."""

    def close(self) -> None: ...

    # ingest
    def record_received(self, image: ReceivedImage) -> Receipt:
        """Commit the row before Success is answered. The same key again counts a duplicate."""

    # analysis
    def lease_analysis(self, key: str, lease_seconds: float) -> AnalysisJob | None:
        """Take the job, or None if it is done, unknown, leased by another, or not yet due."""

    def renew_analysis(self, job: AnalysisJob, lease_seconds: float) -> bool:
        """Heartbeat; False if the lease was lost."""

    def record_outcome(
        self, job: AnalysisJob, outcome: AnalysisOutcome, destinations: Sequence[str]
    ) -> bool:
        """State ANALYSED or NOT_ANALYSABLE, and a PENDING delivery for each destination, in one
        transaction. An image with no objects or no destinations stays in its state (final).
        False if somebody else finished the job before (nothing is then changed)."""

    def record_analysis_failure(
        self, job: AnalysisJob, error: str, retry_in: float | None
    ) -> None:
        """Our fault: try again in ``retry_in`` seconds, or FAILED if that is None.

        ``error`` holds the exception's class and our own words, never the data."""

    # delivery
    def lease_delivery(
        self, key: str, destination: str, lease_seconds: float
    ) -> DeliveryJob | None: ...

    def renew_delivery(self, job: DeliveryJob, lease_seconds: float) -> bool: ...

    def record_delivered(self, job: DeliveryJob) -> bool:
        """Delivery DELIVERED; the image too once every delivery of it is. False if the lease was
        lost and somebody else recorded it already."""

    def record_delivery_failure(
        self, job: DeliveryJob, error: str, retry_in: float | None, refused: bool
    ) -> None:
        """Try again in ``retry_in`` seconds, or FAILED (delivery and image) if that is None.

        ``refused`` counts towards the bounded number of refusals."""

    # keeper
    def overdue(self, publish_grace: float, limit: int = 500) -> list[Overdue]:
        """Unfinished jobs whose lease ran out, whose next attempt is due, or which were published
        (or never published) longer than ``publish_grace`` seconds ago and not taken; oldest first.
        Those that are returned count as published now."""

    # operator
    def replay(self, keys: Sequence[str]) -> int:
        """FAILED images (analysis or delivery) back to work at once, attempts from 0; others are
        left alone. Returns how many."""

    def keys_of(self, sop_instance_uid: str) -> list[str]: ...

    def keys_in(self, state: ImageState, limit: int = 10000) -> list[str]: ...

    def image(self, key: str) -> ImageRow | None: ...

    def images(self, limit: int = 100) -> list[ImageRow]:
        """The newest first."""

    def counts(self, now: datetime | None = None) -> JournalCounts: ...
