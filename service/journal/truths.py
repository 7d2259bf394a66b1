"""What pathology found: kept, corrected, and held beside the results."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, insert, select

from service.journal.database import batches
from service.journal.records import ImageState
from service.journal.schema import image, result, truth
from service.journal.truth_records import (
    Diagnosis,
    JudgedImage,
    Source,
    Subject,
    Taken,
    Truth,
    TruthRow,
)

Holding = Mapping[str, tuple[Diagnosis, Source]]
"""By Study or SOP Instance UID."""


def record(connection: Connection, told: Truth, now: datetime, replace: bool) -> Taken:
    """replace: also what is of a later date. Earlier rows stay as they came."""
    if not _is_known(connection, told):
        return Taken.UNKNOWN
    before = history(connection, told.uid)
    if before:
        holds = before[-1]
        if (holds.diagnosis, holds.dated, holds.source) == (
            told.diagnosis,
            told.dated,
            told.source,
        ):
            return Taken.UNCHANGED
        if told.dated < holds.dated and not replace:
            return Taken.OLDER
    connection.execute(
        insert(truth).values(
            uid=told.uid,
            number=len(before),
            diagnosis=told.diagnosis,
            dated=told.dated,
            source=told.source,
            teller=told.teller,
            came_at=now,
        )
    )
    return Taken.CORRECTED if before else Taken.TAKEN


def _is_known(connection: Connection, told: Truth) -> bool:
    column = {
        Subject.STUDY: image.c.study_instance_uid,
        Subject.IMAGE: image.c.sop_instance_uid,
    }[told.subject]
    query = select(image.c.key).where(column == told.uid, ~image.c.probe)
    return connection.execute(query.limit(1)).first() is not None


def history(connection: Connection, uid: str) -> list[TruthRow]:
    """All that was ever said of a UID; the last one holds."""
    query = select(truth).where(truth.c.uid == uid).order_by(truth.c.number)
    return [
        TruthRow(
            number=row.number,
            diagnosis=Diagnosis(row.diagnosis),
            dated=row.dated,
            source=Source(row.source),
            teller=row.teller,
            came_at=row.came_at,
        )
        for row in connection.execute(query)
    ]


def holding(connection: Connection) -> Holding:
    """What holds of every UID that pathology has said something of."""
    return {
        row.uid: (Diagnosis(row.diagnosis), Source(row.source))
        for row in connection.execute(
            select(truth.c.uid, truth.c.diagnosis, truth.c.source).order_by(truth.c.number)
        )
    }


def judged(connection: Connection) -> list[JudgedImage]:
    """In the order of reception. Of each SOP Instance UID the newest content, and its newest
    edition; what was withdrawn or not analysed is left out, and so are probes.

    It starts from what pathology has said, by index: one query that joins all took the keeper 30 s
    of a journal of 100 000 images.
    """
    known = holding(connection)
    rows: dict[str, Row[Any]] = {}
    for uids in batches(list(known)):
        for column in (image.c.study_instance_uid, image.c.sop_instance_uid):
            for row in connection.execute(_SCORED.where(column.in_(uids))):
                rows[row.key] = row
    found = [_judged(row, known) for row in rows.values()]
    return sorted(found, key=lambda each: (each.received_at, each.key))


def _judged(row: Row[Any], holding: Holding) -> JudgedImage:
    of_image = holding.get(row.sop_instance_uid)
    of_study = holding.get(row.study_instance_uid)
    _, source = of_image or of_study or (None, Source.OTHER)
    return JudgedImage(
        key=row.key,
        study_instance_uid=row.study_instance_uid,
        model_version=row.model_version,
        scanner_model=row.scanner_model,
        received_at=row.received_at,
        probability_malignant=row.probability_malignant,
        malignant=row.decision == "malignant",
        frame=row.frame,
        region=tuple(row.region),
        of_image=of_image[0] if of_image else None,
        of_study=of_study[0] if of_study else None,
        source=source,
    )


def newest_content() -> ColumnElement[bool]:
    """Of an image: no other content came under its SOP Instance UID later."""
    newer = image.alias("newer")
    return ~(
        select(newer.c.key)
        .where(newer.c.sop_instance_uid == image.c.sop_instance_uid)
        .where(newer.c.revision > image.c.revision)
        .exists()
    )


_SCORED: Select[Any] = (
    select(
        *(image.c.key, image.c.sop_instance_uid, image.c.study_instance_uid, image.c.received_at),
        *(result.c.model_version, result.c.scanner_model, result.c.probability_malignant),
        *(result.c.decision, result.c.frame, result.c.region),
    )
    .join(result, result.c.parcel == image.c.parcel)
    .where(~image.c.probe, result.c.state == ImageState.ANALYSED, newest_content())
)
"""Images of which a score holds."""
