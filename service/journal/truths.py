"""What pathology found: kept, corrected, and held beside the results."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Subquery, func, insert, or_, select

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


def judged(connection: Connection) -> list[JudgedImage]:
    """In the order of reception. Of each SOP Instance UID the newest content, and its newest
    edition; what was withdrawn or not analysed is left out, and so are probes."""
    of_image, of_study = _holding("of_image"), _holding("of_study")
    newer = image.alias("newer")
    is_replaced = (
        select(newer.c.key)
        .where(newer.c.sop_instance_uid == image.c.sop_instance_uid)
        .where(newer.c.revision > image.c.revision)
        .exists()
    )
    query = (
        select(
            image.c.key,
            image.c.study_instance_uid,
            result.c.model_version,
            result.c.scanner_model,
            image.c.received_at,
            result.c.probability_malignant,
            result.c.decision,
            result.c.frame,
            result.c.region,
            of_image.c.diagnosis.label("of_image"),
            of_study.c.diagnosis.label("of_study"),
            func.coalesce(of_image.c.source, of_study.c.source).label("source"),
        )
        .join(result, result.c.parcel == image.c.parcel)
        .outerjoin(of_image, of_image.c.uid == image.c.sop_instance_uid)
        .outerjoin(of_study, of_study.c.uid == image.c.study_instance_uid)
        .where(~image.c.probe, result.c.state == ImageState.ANALYSED, ~is_replaced)
        .where(or_(of_image.c.uid.is_not(None), of_study.c.uid.is_not(None)))
        .order_by(image.c.received_at, image.c.key)
    )
    return [
        JudgedImage(
            key=row.key,
            study_instance_uid=row.study_instance_uid,
            model_version=row.model_version,
            scanner_model=row.scanner_model,
            received_at=row.received_at,
            probability_malignant=row.probability_malignant,
            malignant=row.decision == "malignant",
            frame=row.frame,
            region=tuple(row.region),
            of_image=None if row.of_image is None else Diagnosis(row.of_image),
            of_study=None if row.of_study is None else Diagnosis(row.of_study),
            source=Source(row.source),
        )
        for row in connection.execute(query)
    ]


def _holding(name: str) -> Subquery:
    """Of each UID the diagnosis that holds."""
    newest = (
        select(truth.c.uid, func.max(truth.c.number).label("number"))
        .group_by(truth.c.uid)
        .subquery()
    )
    return (
        select(truth.c.uid, truth.c.diagnosis, truth.c.source)
        .join(newest, (newest.c.uid == truth.c.uid) & (newest.c.number == truth.c.number))
        .subquery(name)
    )
