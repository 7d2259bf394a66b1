"""What is told of images and of the service's state, as JSON: by commands and by the REST API."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from service.journal.records import (
    AnalysisOutcome,
    DeliveryRow,
    DeliveryState,
    ImageRow,
    ImageState,
    JournalCounts,
    ResultRow,
    Stage,
    StudyState,
)


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class ImageBrief(_View):
    """One image in a list; nothing in it is the patient's, not even a UID."""

    key: str = Field(description="32 hex digits that tell nothing; the image's name everywhere")
    received_at: datetime
    scanner: str = Field(description="calling AE title")
    state: ImageState
    probability_malignant: float | None = Field(description="0 to 1")
    decision: str | None = Field(description="malignant or benign")
    unlike_training: bool = Field(description="flagged by the model's gate: the score means little")
    reason: str | None = Field(description="code: why there is no score")
    last_error: str | None

    @classmethod
    def of(cls, row: ImageRow) -> Self:
        return cls(**_brief(row))


class ResultView(_View):
    """One edition of what was said of an image; the highest holds."""

    edition: int
    state: ImageState
    model_name: str
    model_version: str
    model_sha256: str
    probability_malignant: float | None
    probability_benign: float | None
    threshold: float | None
    decision: str | None
    unlike_training: bool
    reason: str | None
    reason_text: str | None
    frame: int | None = Field(description="1-based")
    frames_scored: int | None
    region: tuple[int, int, int, int] | None = Field(description="left, top, right, bottom")
    stage_seconds: dict[str, float]

    @classmethod
    def of(cls, row: ResultRow) -> Self:
        outcome = row.outcome
        values = {name: getattr(outcome, name) for name in cls.model_fields if name != "edition"}
        return cls(edition=row.edition, **values)


class DeliveryView(_View):
    """One parcel of results at one destination."""

    destination: str
    objects: tuple[str, ...] = Field(description="file names of what is sent")
    state: DeliveryState
    attempts: int
    last_error: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None

    @classmethod
    def of(cls, row: DeliveryRow) -> Self:
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class ImageDetails(ImageBrief):
    """One image and all that became of it."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str | None
    duplicates: int = Field(description="how often it came again")
    attempts: int
    analysis_started_at: datetime | None
    analysed_at: datetime | None
    delivered_at: datetime | None
    results: tuple[ResultView, ...]
    deliveries: tuple[DeliveryView, ...]

    @classmethod
    def of(cls, row: ImageRow) -> Self:
        same = cls.model_fields.keys() - ImageBrief.model_fields.keys() - {"results", "deliveries"}
        return cls(
            **_brief(row),
            **{name: getattr(row, name) for name in same},
            results=tuple(map(ResultView.of, row.results)),
            deliveries=tuple(map(DeliveryView.of, row.deliveries)),
        )


class WaitingView(_View):
    jobs: int
    oldest_seconds: float


class DestinationView(_View):
    """How many parcels are in which state at a destination."""

    pending: int
    stored: int = Field(description="there, and not committed yet")
    delivered: int
    failed: int
    cancelled: int
    oldest_seconds: float = Field(description="age of the oldest result that it has not got yet")
    last_error: str | None


class StatusView(_View):
    """The journal at a glance."""

    images: dict[ImageState, int]
    studies: dict[StudyState, int]
    not_analysable: dict[str, int] = Field(description="by reason code")
    waiting: dict[Stage, WaitingView]
    oldest_image_seconds: float = Field(description="since its receipt; 0 if none is unfinished")
    deliveries: dict[str, DestinationView] = Field(description="by destination")

    @classmethod
    def of(cls, counts: JournalCounts, errors: dict[str, str]) -> Self:
        """errors: ``Journal.delivery_errors``."""
        names = sorted({name for name, _ in counts.deliveries})
        return cls(
            images=counts.images,
            studies=counts.studies,
            not_analysable=counts.not_analysable,
            waiting={
                stage: WaitingView(
                    jobs=number, oldest_seconds=round(counts.oldest_waiting_seconds[stage], 1)
                )
                for stage, number in counts.waiting.items()
            },
            oldest_image_seconds=round(counts.oldest_image_seconds, 1),
            deliveries={name: _destination(counts, name, errors.get(name)) for name in names},
        )

    @property
    def anything_failed(self) -> bool:
        """An image, a summary, or the delivery of one."""
        return bool(
            self.images[ImageState.FAILED]
            or self.studies[StudyState.FAILED]
            or any(destination.failed for destination in self.deliveries.values())
        )


def reason_of(row: ImageRow) -> str | None:
    """Why there is no score: the reason code of an image that was ignored or not analysable."""
    return row.ignored_reason or (row.outcome.reason if row.outcome else None)


def error_of(row: ImageRow) -> str | None:
    """The image's own last error, or else that of a delivery which is not done."""
    errors = [delivery.last_error for delivery in row.deliveries]
    return row.last_error or next((error for error in errors if error), None)


_NO_OUTCOME = AnalysisOutcome(state=ImageState.RECEIVED, model_sha256="")


def _brief(row: ImageRow) -> dict[str, Any]:
    outcome = row.outcome or _NO_OUTCOME
    return {
        "key": row.key,
        "received_at": row.received_at,
        "scanner": row.calling_ae_title,
        "state": row.state,
        "probability_malignant": outcome.probability_malignant,
        "decision": outcome.decision,
        "unlike_training": outcome.unlike_training,
        "reason": reason_of(row),
        "last_error": error_of(row),
    }


def _destination(counts: JournalCounts, name: str, error: str | None) -> DestinationView:
    states = {state.value: counts.deliveries.get((name, state), 0) for state in DeliveryState}
    oldest = round(counts.destination_oldest_seconds.get(name, 0.0), 1)
    return DestinationView(oldest_seconds=oldest, last_error=error, **states)
