"""What a second model said of images, which nobody is told: kept beside the results."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, insert, or_, select, update

from service.journal import truths
from service.journal.records import ImageState
from service.journal.schema import image, result, shadow_score
from service.journal.shadow_records import Pair, Said, ScoringModel, ShadowState

_OUTCOMES = (ImageState.ANALYSED, ImageState.NOT_ANALYSABLE)


def analysis_waits(connection: Connection, now: datetime) -> bool:
    """Whether an image is being analysed, or could be; one that waits for its next try is not."""
    busy = or_(image.c.lease.is_not(None), image.c.available_at <= now)
    query = select(image.c.key).where(image.c.state == ImageState.RECEIVED, busy)
    return connection.execute(query.limit(1)).first() is not None


def unseen(connection: Connection, model_sha256: str, since: datetime, limit: int) -> list[str]:
    """Keys of images with a result of another model that this one has not seen, newest first."""
    seen = select(shadow_score.c.image_key).where(
        shadow_score.c.image_key == image.c.key, shadow_score.c.model_sha256 == model_sha256
    )
    query = (
        select(image.c.key)
        .join(result, result.c.parcel == image.c.parcel)
        .where(image.c.received_at >= since, ~image.c.probe)
        .where(image.c.state.not_in((ImageState.RECEIVED, ImageState.WITHDRAWN)))
        .where(result.c.state.in_(_OUTCOMES), result.c.model_sha256 != model_sha256)
        .where(~seen.exists())
        .order_by(image.c.received_at.desc(), image.c.key)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def begin(connection: Connection, key: str, model: ScoringModel, now: datetime) -> bool:
    """False if another worker has begun, or has been here. Raises Conflict on PostgreSQL."""
    if connection.execute(select(shadow_score).where(_row(key, model))).first() is not None:
        return False
    edition = select(image.c.edition).where(image.c.key == key).scalar_subquery()
    connection.execute(
        insert(shadow_score).values(
            image_key=key,
            edition=edition,
            model_sha256=model.sha256,
            model_name=model.name,
            model_version=model.version,
            state=ShadowState.BEGUN,
            unlike_training=False,
            scored_at=now,
        )
    )
    return True


def record(
    connection: Connection, key: str, model: ScoringModel, said: Said, now: datetime
) -> None:
    connection.execute(
        update(shadow_score)
        .where(_row(key, model))
        .values(
            state=said.state,
            reason=said.reason,
            probability_malignant=said.probability_malignant,
            probability_benign=said.probability_benign,
            threshold=said.threshold,
            decision=said.decision,
            unlike_training=said.unlike_training,
            scored_at=now,
        )
    )


def release(connection: Connection, key: str, model: ScoringModel) -> None:
    connection.execute(
        delete(shadow_score).where(_row(key, model), shadow_score.c.state == ShadowState.BEGUN)
    )


def pairs(
    connection: Connection, since: datetime | None, until: datetime | None, limit: int | None
) -> list[Pair]:
    """In the order of reception. Of each SOP Instance UID the newest content, of each model the
    newest edition; what was withdrawn is left out. limit: rows that are read, the newest."""
    query = _PAIRS
    if since is not None:
        query = query.where(image.c.received_at >= since)
    if until is not None:
        query = query.where(image.c.received_at < until)
    rows = connection.execute(query.limit(limit)).all()
    holding = truths.holding(connection) if rows else {}
    newest: dict[tuple[str, str, str], Row[Any]] = {}
    for row in reversed(rows):
        newest[row.key, row.active_sha256, row.shadow_sha256] = row
    return [_pair(row, holding) for row in newest.values()]


def _pair(row: Row[Any], holding: truths.Holding) -> Pair:
    of_image = holding.get(row.sop_instance_uid)
    of_study = holding.get(row.study_instance_uid)
    scored = row.active_state == ImageState.ANALYSED
    return Pair(
        key=row.key,
        study_instance_uid=row.study_instance_uid,
        scanner_model=row.scanner_model,
        received_at=row.received_at,
        active_model=ScoringModel(row.active_sha256, row.active_name, row.active_version),
        active=Said(
            ShadowState.SCORED if scored else ShadowState.NOT_ANALYSABLE,
            row.active_reason,
            row.active_malignant,
            row.active_benign,
            row.active_threshold,
            row.active_decision,
            row.active_unlike,
        ),
        shadow_model=ScoringModel(row.shadow_sha256, row.shadow_name, row.shadow_version),
        shadow=Said(
            ShadowState(row.shadow_state),
            row.shadow_reason,
            row.shadow_malignant,
            row.shadow_benign,
            row.shadow_threshold,
            row.shadow_decision,
            row.shadow_unlike,
        ),
        of_image=of_image[0] if of_image else None,
        of_study=of_study[0] if of_study else None,
    )


def _row(key: str, model: ScoringModel) -> Any:
    return and_(shadow_score.c.image_key == key, shadow_score.c.model_sha256 == model.sha256)


def _columns(table: Any, label: str) -> list[Any]:
    names = {
        "model_sha256": "sha256",
        "model_name": "name",
        "model_version": "version",
        "state": "state",
        "reason": "reason",
        "probability_malignant": "malignant",
        "probability_benign": "benign",
        "threshold": "threshold",
        "decision": "decision",
        "unlike_training": "unlike",
    }
    return [table.c[name].label(f"{label}_{short}") for name, short in names.items()]


_PAIRS: Select[Any] = (
    select(
        *(image.c.key, image.c.sop_instance_uid, image.c.study_instance_uid, image.c.received_at),
        result.c.scanner_model,
        *_columns(result, "active"),
        *_columns(shadow_score, "shadow"),
    )
    .join(result, result.c.image_key == image.c.key)
    .join(shadow_score, shadow_score.c.image_key == image.c.key)
    .where(~image.c.probe, image.c.state != ImageState.WITHDRAWN, truths.newest_content())
    .where(result.c.state.in_(_OUTCOMES))
    .where(result.c.model_sha256 != shadow_score.c.model_sha256)
    .order_by(image.c.received_at.desc(), image.c.key.desc(), result.c.edition.desc())
)
