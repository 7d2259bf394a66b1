"""What crosses the journal's border: states and plain frozen records."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class ImageState(StrEnum):
    """States of an image (``docs/states.md`` has the table of transitions)."""

    RECEIVED = "received"
    ANALYSED = "analysed"
    IGNORED = "ignored"
    NOT_ANALYSABLE = "not_analysable"
    FAILED = "failed"
    DELIVERED = "delivered"


class DeliveryState(StrEnum):
    """States of one image's results at one destination."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Stage(StrEnum):
    """The two Celery queues, and what the keeper publishes to."""

    ANALYSIS = "analysis"
    DELIVERY = "delivery"


@dataclass(frozen=True)
class ReceivedImage:
    """One stored C-STORE data set.

    key: 32 hex digits, see ``service.spool.image_key``; the only name of an image outside
        the journal.
    digest: hex sha256 of the data set's bytes as they arrived (without file meta information).
    ignored_reason: reason code if the SOP class is accepted but never analysed.
    """

    key: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    digest: str
    size_bytes: int
    calling_ae_title: str
    received_at: datetime
    ignored_reason: str | None = None


@dataclass(frozen=True)
class Receipt:
    """duplicate: the same content was there before (it then changes nothing)."""

    key: str
    duplicate: bool
    state: ImageState


@dataclass(frozen=True)
class AnalysisJob:
    """A lease on one analysis.

    revision: 0 for the first content under this SOP Instance UID, 1 for the next, …
    started_at: when the first attempt started; a retry gets the same time, so that it writes
        the same bytes.
    attempt: 1 for the first attempt.
    lease: opaque token that renews and ends the lease.
    """

    key: str
    revision: int
    received_at: datetime
    started_at: datetime
    attempt: int
    lease: str


@dataclass(frozen=True)
class AnalysisOutcome:
    """What an analysis writes into the journal.

    state: ANALYSED or NOT_ANALYSABLE.
    reason, reason_text: for NOT_ANALYSABLE.
    frame, region (left, top, right, bottom), probabilities, threshold, decision: for ANALYSED.
    objects: file names inside the image's results folder, to be sent in this order; empty if
        there is nothing to send.
    stage_seconds: durations by stage name (decode, screen, inference, report …).
    """

    state: ImageState
    model_sha256: str
    objects: tuple[str, ...] = ()
    reason: str | None = None
    reason_text: str | None = None
    frame: int | None = None
    region: tuple[int, int, int, int] | None = None
    probability_malignant: float | None = None
    probability_benign: float | None = None
    threshold: float | None = None
    decision: str | None = None
    stage_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DeliveryJob:
    """A lease on the delivery of one image's results to one destination (see AnalysisJob)."""

    key: str
    destination: str
    objects: tuple[str, ...]
    attempt: int
    refusals: int
    lease: str


@dataclass(frozen=True)
class Overdue:
    """A job to publish again; ``destination`` is None for an analysis."""

    stage: Stage
    key: str
    destination: str | None = None


@dataclass(frozen=True)
class DeliveryRow:
    destination: str
    state: DeliveryState
    attempts: int
    last_error: str | None
    next_attempt_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True)
class ImageRow:
    """One image as ``status`` and the tests read it.

    ignored_reason: reason code of an IGNORED image, see ReceivedImage.
    """

    key: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    revision: int
    state: ImageState
    ignored_reason: str | None
    attempts: int
    duplicates: int
    received_at: datetime
    analysis_started_at: datetime | None
    analysed_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None
    outcome: AnalysisOutcome | None
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True)
class JournalCounts:
    """images: by state. deliveries: by (destination, state). not_analysable: by reason code.

    waiting: jobs by stage that are not finished (what Prometheus calls the queue depth).
    oldest_waiting_seconds: age of the oldest unfinished job by stage, 0 if none.
    """

    images: dict[ImageState, int]
    deliveries: dict[tuple[str, DeliveryState], int]
    not_analysable: dict[str, int]
    waiting: dict[Stage, int]
    oldest_waiting_seconds: dict[Stage, float]
