"""What crosses the journal's border: states and plain frozen records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

PROBE_AE_TITLE = "SECONDREADPROBE"
"""By which our own probes call."""


class ImageState(StrEnum):
    """States of an image (``docs/states.md`` has the table of transitions)."""

    RECEIVED = "received"
    ANALYSED = "analysed"
    IGNORED = "ignored"
    NOT_ANALYSABLE = "not_analysable"
    FAILED = "failed"
    DELIVERED = "delivered"
    WITHDRAWN = "withdrawn"


class DeliveryState(StrEnum):
    """States of one parcel at one destination; STORED there, it waits for its commitment."""

    PENDING = "pending"
    STORED = "stored"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StudyState(StrEnum):
    """States of a study: does it wait for a summary?"""

    PENDING = "pending"
    SUMMARISED = "summarised"
    FAILED = "failed"


class CommitmentState(StrEnum):
    """States of what a peer asked us to commit to: has it been told?"""

    PENDING = "pending"
    REPORTED = "reported"
    FAILED = "failed"


class Stage(StrEnum):
    """The Celery queues, and what the keeper publishes to."""

    ANALYSIS = "analysis"
    DELIVERY = "delivery"
    SUMMARY = "summary"
    COMMITMENT = "commitment"


Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID of an object."""


Parcels = Mapping[str, Sequence[str]]
"""By destination: which files of a parcel it gets, in this order.

A parcel is one folder of result files in the spool, named by 32 hex digits: the results of one
analysis, a withdrawal, or a study's summary."""


@dataclass(frozen=True)
class ReceivedImage:
    """One stored C-STORE data set.

    key: 32 hex digits, see ``service.spool.image_key``; the only name of an image outside
        the journal.
    digest: hex sha256 of the data set's bytes as they arrived (without file meta information).
    ignored_reason: reason code if the SOP class is accepted but never analysed.
    study_instance_uid: None if the head of the data set did not tell it.
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
    study_instance_uid: str | None = None


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
    edition: 0 for the first result of this content, 1 for the one that replaces it, …
    parcel: the folder of the result to be made.
    replaces: the parcel of the result that it replaces, None for the first.
    started_at: when the first attempt started; a retry gets the same time, so that it writes
        the same bytes.
    attempt: 1 for the first attempt.
    lease: opaque token that renews and ends the lease.
    probe: whether the image is one of our own.
    study_instance_uid: None if the head of the data set did not tell it.
    model_asked: digest of the model package that an operator wants for the image.
    study_model: digest of the package that the study has already.
    scored_by: digest of the model file that gave the study's first score, where it has no package.
    """

    key: str
    revision: int
    edition: int
    parcel: str
    replaces: str | None
    received_at: datetime
    started_at: datetime
    attempt: int
    lease: str
    probe: bool = False
    calling_ae_title: str = ""
    study_instance_uid: str | None = None
    model_asked: str | None = None
    study_model: str | None = None
    scored_by: str | None = None


@dataclass(frozen=True)
class AnalysisOutcome:
    """What an analysis, or a withdrawal, writes into the journal.

    state: ANALYSED, NOT_ANALYSABLE or WITHDRAWN.
    reason, reason_text: for NOT_ANALYSABLE and WITHDRAWN.
    frame, frames_scored, region (left, top, right, bottom), probabilities, threshold, decision:
        for ANALYSED.
    unlike_training: the model's gate flagged the image.
    objects: file names inside the parcel, in the order of sending; empty if there is none.
    uids: their SOP Instance UIDs.
    study_instance_uid: as the header has it, None if it could not be read.
    model_name, model_version: which model it was.
    scanner_model: as the header names it, None where it does not, see ``service.scanner_model``.
    stage_seconds: durations by stage name (decode, screen, inference, report …).
    """

    state: ImageState
    model_sha256: str
    objects: tuple[str, ...] = ()
    uids: tuple[str, ...] = ()
    reason: str | None = None
    reason_text: str | None = None
    frame: int | None = None
    frames_scored: int | None = None
    region: tuple[int, int, int, int] | None = None
    probability_malignant: float | None = None
    probability_benign: float | None = None
    threshold: float | None = None
    decision: str | None = None
    unlike_training: bool = False
    study_instance_uid: str | None = None
    model_name: str = ""
    model_version: str = ""
    scanner_model: str | None = None
    stage_seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DeliveryJob:
    """A lease on the delivery of one parcel to one destination (see AnalysisJob).

    awaited: what an earlier attempt stored there, and whose commitment is still to come.
    study_instance_uid: of the image that the parcel is about; None if that is not known.
    received_at: when that image came, if these are its first results; else None.
    image_key: of that image, None for a study's summary.
    """

    parcel: str
    destination: str
    objects: tuple[str, ...]
    attempt: int
    refusals: int
    lease: str
    awaited: tuple[Reference, ...] = ()
    study_instance_uid: str | None = None
    received_at: datetime | None = None
    image_key: str | None = None


@dataclass(frozen=True)
class AwaitedCommitment:
    """The delivery that a destination's commitment is about."""

    parcel: str
    destination: str
    awaited: tuple[Reference, ...]
    attempts: int
    refusals: int
    image_key: str | None = None


@dataclass(frozen=True)
class CommitmentRequest:
    """What a peer asks us to commit to (PS3.4 J.3.2).

    address: of the peer, as its connection had it.
    """

    calling_ae_title: str
    address: str
    transaction_uid: str
    references: tuple[Reference, ...]

    @property
    def key(self) -> str:
        """Its name in queues and logs: 32 hex digits that tell nothing."""
        text = f"{self.calling_ae_title}|{self.transaction_uid}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class KeptImage:
    """What the journal says of a received file, see ReceivedImage."""

    key: str
    sop_class_uid: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class CommitmentJob:
    """A lease on the report to a peer that asked for commitment (see AnalysisJob)."""

    key: str
    request: CommitmentRequest
    received_at: datetime
    attempt: int
    lease: str


@dataclass(frozen=True)
class SummaryJob:
    """A lease on the summary of one study (see AnalysisJob).

    number: 0 for the first summary, 1 for its first revision, …
    parcel: the folder of the summary to be made.
    replaces: the parcel of the summary before it, None for the first.
    known: what the summary before it was made of, see ``Basis``.
    """

    key: str
    study_instance_uid: str
    number: int
    parcel: str
    replaces: str | None
    known: Basis
    started_at: datetime
    attempt: int
    lease: str


Basis = tuple[tuple[str, int], ...]
"""What a summary is made of: image keys, each with the edition of its result."""


@dataclass(frozen=True)
class Overdue:
    """A job to publish again.

    key: of the image, the parcel, the study or the commitment.
    destination: None but for a delivery.
    """

    stage: Stage
    key: str
    destination: str | None = None


@dataclass(frozen=True)
class DeliveryRow:
    parcel: str
    destination: str
    objects: tuple[str, ...]
    state: DeliveryState
    attempts: int
    last_error: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True)
class ResultRow:
    edition: int
    parcel: str
    outcome: AnalysisOutcome


@dataclass(frozen=True)
class ImageRow:
    """One image as ``status``, the web page, the summary and the tests read it.

    calling_ae_title: of the scanner that sent it.
    edition: how often its result was replaced. parcel: the folder of its result, None without.
    results: of all editions, the newest last. deliveries: of all editions.
    ignored_reason: reason code of an IGNORED image, see ReceivedImage.
    """

    key: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    study_instance_uid: str | None
    revision: int
    edition: int
    parcel: str | None
    state: ImageState
    ignored_reason: str | None
    attempts: int
    duplicates: int
    received_at: datetime
    analysis_started_at: datetime | None
    analysed_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None
    results: tuple[ResultRow, ...]
    deliveries: tuple[DeliveryRow, ...]

    @property
    def outcome(self) -> AnalysisOutcome | None:
        """What holds: that of the newest edition."""
        return self.results[-1].outcome if self.results else None


@dataclass(frozen=True)
class LesionLink:
    """Images that an operator says show one lesion.

    lesion: its name in the journal. side: ``L``, ``R`` or None if he did not say.
    keys: of the images, sorted.
    """

    lesion: str
    side: str | None
    keys: tuple[str, ...]


@dataclass(frozen=True)
class ImageFilter:
    """Which images are listed; what is None chooses all.

    decision: of the result that holds, malignant or benign.
    unlike_training: flagged by the model's gate.
    scanner: calling AE title.
    since, until: of the reception, ``until`` itself excluded.
    whole_studies: with them all images of the studies that they belong to, whenever received.
    key_prefix: what the key begins with.
    """

    state: ImageState | None = None
    decision: str | None = None
    unlike_training: bool | None = None
    scanner: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    whole_studies: bool = False
    key_prefix: str | None = None


@dataclass(frozen=True)
class ScoreRow:
    """scanner_model: None where the header names none. probability_malignant: 0–1."""

    scanner_model: str | None
    probability_malignant: float


Position = tuple[datetime, str]
"""Where a list goes on: reception and key of the last image that was shown."""


@dataclass(frozen=True)
class JournalCounts:
    """images, studies: by state. deliveries: by (destination, state).

    not_analysable: by reason code.
    waiting: jobs by stage that are not finished (what Prometheus calls the queue depth).
    oldest_waiting_seconds: age of the oldest unfinished job by stage, 0 if none; a summary's
        begins when its study is quiet.
    oldest_image_seconds: age of the oldest image that is not at its end, 0 if none.
    destination_oldest_seconds: age of the oldest result that waits, by destination.
    """

    images: dict[ImageState, int]
    studies: dict[StudyState, int]
    deliveries: dict[tuple[str, DeliveryState], int]
    not_analysable: dict[str, int]
    waiting: dict[Stage, int]
    oldest_waiting_seconds: dict[Stage, float]
    oldest_image_seconds: float
    destination_oldest_seconds: dict[str, float]
