"""The journal's tables. The migrations make them; a test holds both equal."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)

from service.journal.records import CommitmentState, DeliveryState, ImageState, StudyState
from service.journal.shadow_records import ShadowState
from service.journal.truth_records import Diagnosis, Source


class UtcDateTime(TypeDecorator[datetime]):
    """A time with its zone on both sides; UTC in the database, which SQLite keeps without zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raises ValueError for a time without zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the journal takes no time without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _enum(kind: type[StrEnum]) -> Enum:
    """The values as text, without a CHECK: a new state needs no migration."""
    return Enum(
        kind,
        native_enum=False,
        create_constraint=False,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


def _job() -> tuple[Column[int], Column[str], Column[datetime], Column[datetime], Column[str]]:
    """What a row is as a job, see ``service.journal.jobs``.

    attempts: how often it was taken since it was made or replayed.
    lease: token of the worker that took it last; stays when the lease runs out, so that this
        worker may still finish as long as nobody else has taken the job.
    available_at: nobody may take the job before: the lease's end, or the next attempt's time.
    published_at: since when a message for the job is under way; null if there is none.
    last_error: of the last attempt that failed, until one succeeds.
    """
    return (
        Column("attempts", Integer, nullable=False),
        Column("lease", String(32)),
        Column("available_at", UtcDateTime, nullable=False),
        Column("published_at", UtcDateTime),
        Column("last_error", Text),
    )


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

image = Table(
    "image",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("study_instance_uid", String(64)),
    Column("revision", Integer, nullable=False),
    Column("edition", Integer, nullable=False),
    Column("parcel", String(32)),
    Column("model_asked", String(64)),
    Column("state", _enum(ImageState), nullable=False),
    Column("ignored_reason", Text),
    Column("duplicates", Integer, nullable=False),
    Column("probe", Boolean, nullable=False, server_default=false()),
    Column("received_at", UtcDateTime, nullable=False),
    Column("analysis_started_at", UtcDateTime),
    Column("analysed_at", UtcDateTime),
    Column("delivered_at", UtcDateTime),
    *_job(),
    UniqueConstraint("sop_instance_uid", "revision"),
    Index(None, "state", "received_at"),
    Index(None, "received_at"),
    Index(None, "study_instance_uid"),
)
"""One row an image: SOP Instance UID, transfer syntax and content. As a job: its analysis.

model_asked: digest of the model package that an operator wants for it; null without.
probe: whether we made it ourselves, to see whether the road is open.
"""

probe = Table(
    "probe",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("made_at", UtcDateTime, nullable=False),
)
"""One row a probe that was sent, or is about to be: no other image is taken for one."""

result = Table(
    "result",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("image_key", ForeignKey("image.key"), nullable=False),
    Column("edition", Integer, nullable=False),
    Column("parcel", String(32), nullable=False),
    Column("model_sha256", String(64), nullable=False),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state", _enum(ImageState), nullable=False),
    Column("objects", JSON, nullable=False),
    Column("uids", JSON, nullable=False),
    Column("reason", Text),
    Column("reason_text", Text),
    Column("frame", Integer),
    Column("frames_scored", Integer),
    Column("region", JSON(none_as_null=True)),
    Column("probability_malignant", Float),
    Column("probability_benign", Float),
    Column("threshold", Float),
    Column("decision", Text),
    Column("unlike_training", Boolean, nullable=False),
    Column("scanner_model", Text),
    Column("stage_seconds", JSON, nullable=False),
    UniqueConstraint("image_key", "edition"),
    UniqueConstraint("parcel"),
    Index(None, "state", "reason"),
)
"""What was said of an image, an ``AnalysisOutcome``: the highest edition holds."""

study = Table(
    "study",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("study_instance_uid", String(64), nullable=False),
    Column("state", _enum(StudyState), nullable=False),
    Column("summary_started_at", UtcDateTime),
    *_job(),
    UniqueConstraint("study_instance_uid"),
    Index(None, "state", "available_at"),
)
"""One row a study that gets summaries. As a job: its next summary."""

study_model = Table(
    "study_model",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("package_sha256", String(64), nullable=False),
    Column("chosen_at", UtcDateTime, nullable=False),
)
"""One row a study of which an image was given to a model: all its images get the same."""

summary = Table(
    "summary",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_key", ForeignKey("study.key"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("parcel", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("basis", JSON, nullable=False),
    UniqueConstraint("study_key", "number"),
    UniqueConstraint("parcel"),
)
"""One row a summary: which results it was made of."""

lesion_link = Table(
    "lesion_link",
    metadata,
    Column("image_key", ForeignKey("image.key"), primary_key=True),
    Column("lesion", String(32), nullable=False),
    Column("side", String(1)),
    Column("linked_at", UtcDateTime, nullable=False),
    Index(None, "lesion"),
)
"""One row an image that an operator has said to show a lesion, together with others."""

delivery = Table(
    "delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("parcel", String(32), nullable=False),
    Column("destination", Text, nullable=False),
    Column("objects", JSON, nullable=False),
    Column("image_key", ForeignKey("image.key")),
    Column("state", _enum(DeliveryState), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("delivered_at", UtcDateTime),
    Column("refusals", Integer, nullable=False),
    Column("transaction_uid", String(64)),
    Column("awaited", JSON(none_as_null=True)),
    *_job(),
    UniqueConstraint("parcel", "destination"),
    Index(None, "state", "created_at"),
    Index(None, "image_key"),
    Index(None, "transaction_uid"),
)
"""One row a parcel at a destination; without an image it is a study's summary.

transaction_uid: of the newest question whether it is committed.
awaited: what that question is about, see ``Reference``.
"""

commitment = Table(
    "commitment",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("calling_ae_title", String(16), nullable=False),
    Column("address", String(45), nullable=False),
    Column("transaction_uid", String(64), nullable=False),
    Column("references", JSON, nullable=False),
    Column("state", _enum(CommitmentState), nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("reported_at", UtcDateTime),
    Column("not_committed", Integer),
    *_job(),
    Index(None, "state", "available_at"),
)
"""One row a peer's request to commit. As a job: the report to it.

not_committed: how many of the references, as last reported.
"""

tally = Table(
    "tally",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("about", String(16), nullable=False),
    Column("name", Text),
    Column("state", String(16), nullable=False),
    Column("number", Integer, nullable=False),
)
"""How many rows of a table are in a state: the sum of ``number``, which triggers write.

about: image, study, delivery or result. name: a delivery's destination, a result's reason.
"""

truth = Table(
    "truth",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("diagnosis", _enum(Diagnosis), nullable=False),
    Column("dated", Date, nullable=False),
    Column("source", _enum(Source), nullable=False),
    Column("teller", Text, nullable=False),
    Column("came_at", UtcDateTime, nullable=False),
    UniqueConstraint("uid", "number"),
)
"""What pathology said of a Study or SOP Instance UID: the highest number holds, others stay.

dated: of the pathology. teller: who brought it.
"""

shadow_score = Table(
    "shadow_score",
    metadata,
    Column("image_key", ForeignKey("image.key"), primary_key=True),
    Column("model_sha256", String(64), primary_key=True),
    Column("edition", Integer, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("state", _enum(ShadowState), nullable=False),
    Column("reason", Text),
    Column("probability_malignant", Float),
    Column("probability_benign", Float),
    Column("threshold", Float),
    Column("decision", Text),
    Column("unlike_training", Boolean, nullable=False),
    Column("scored_at", UtcDateTime, nullable=False),
)
"""One row an image that a shadow has looked at: nothing of it is sent or shown to anybody.

edition: of the image's result at that time.
"""
