"""A study and its summaries: when one is due, its lease, its end."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    case,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)

from service.journal import deliveries, jobs, states
from service.journal.parcels import study_key, summary_parcel
from service.journal.records import Basis, Parcels, SummaryJob
from service.journal.schema import UtcDateTime, image, study, summary


def image_came(
    connection: Connection, study_instance_uid: str, now: datetime, quiet_seconds: float | None
) -> None:
    """The study is not quiet: its summary waits for ``quiet_seconds`` more.

    quiet_seconds: None where nobody wants summaries.
    Raises Conflict if another transaction makes the same row meanwhile.
    """
    if quiet_seconds is None:
        return
    due = now + timedelta(seconds=quiet_seconds)
    _changed(connection, study_instance_uid, literal(due, UtcDateTime()), due)


def result_came(
    connection: Connection, study_instance_uid: str, now: datetime, quiet_seconds: float | None
) -> None:
    """A result, or its withdrawal: a summary is due once the study is quiet."""
    if quiet_seconds is None:
        return
    at = literal(now, UtcDateTime())
    later = case((study.c.available_at > at, study.c.available_at), else_=at)
    _changed(connection, study_instance_uid, later, now + timedelta(seconds=quiet_seconds))


def _changed(
    connection: Connection,
    study_instance_uid: str,
    available_at: ColumnElement[datetime],
    first_available_at: datetime,
) -> None:
    known = connection.execute(
        update(study)
        .where(study.c.key == study_key(study_instance_uid))
        .where(study.c.state.in_(states.STUDY_CHANGED.before))
        .values(
            state=states.STUDY_CHANGED.after,
            available_at=available_at,
            attempts=0,
            lease=None,
            published_at=None,
            summary_started_at=None,
        )
    )
    if known.rowcount == 0:
        connection.execute(
            insert(study).values(
                key=study_key(study_instance_uid),
                study_instance_uid=study_instance_uid,
                state=states.TO_SUMMARISE.after,
                **jobs.due_at_once(first_available_at),
            )
        )


def is_complete() -> ColumnElement[bool]:
    """No image of the study row waits for its analysis."""
    waiting = exists().where(
        image.c.study_instance_uid == study.c.study_instance_uid, jobs.unfinished(image)
    )
    return ~waiting


def lease(
    connection: Connection, key: str, token: str, now: jobs.Now, lease_seconds: float
) -> SummaryJob | None:
    row = connection.execute(
        jobs.take(study, token, now, lease_seconds)
        .where(study.c.key == key, is_complete())
        .values(
            summary_started_at=func.coalesce(
                study.c.summary_started_at, literal(now.time, UtcDateTime())
            )
        )
        .returning(study.c.study_instance_uid, study.c.summary_started_at, study.c.attempts)
    ).one_or_none()
    if row is None:
        return None
    last = connection.execute(
        select(summary.c.number, summary.c.parcel, summary.c.basis)
        .where(summary.c.study_key == key)
        .order_by(summary.c.number.desc())
        .limit(1)
    ).one_or_none()
    number = 0 if last is None else last.number + 1
    return SummaryJob(
        key=key,
        study_instance_uid=row.study_instance_uid,
        number=number,
        parcel=summary_parcel(key, number),
        replaces=None if last is None else last.parcel,
        known=() if last is None else tuple((name, edition) for name, edition in last.basis),
        started_at=row.summary_started_at,
        attempt=row.attempts,
        lease=token,
    )


def renew(connection: Connection, job: SummaryJob, now: datetime, lease_seconds: float) -> bool:
    renewed = connection.execute(
        jobs.renew(study, job.lease, now, lease_seconds).where(study.c.key == job.key)
    )
    return renewed.rowcount == 1


def record_summary(
    connection: Connection, job: SummaryJob, basis: Basis, parcels: Parcels, now: datetime
) -> bool:
    """Summary and deliveries, if the study has not changed meanwhile and the job is still ours."""
    if not _end(connection, job, now):
        return False
    connection.execute(
        insert(summary).values(
            study_key=job.key,
            number=job.number,
            parcel=job.parcel,
            created_at=now,
            basis=[list(entry) for entry in basis],
        )
    )
    deliveries.make(connection, job.parcel, None, parcels, now)
    return True


def record_nothing_new(connection: Connection, job: SummaryJob, now: datetime) -> bool:
    """The last summary still holds, or there is nothing to summarise."""
    return _end(connection, job, now)


def _end(connection: Connection, job: SummaryJob, now: datetime) -> bool:
    ended = connection.execute(
        update(study)
        .where(study.c.key == job.key, study.c.lease == job.lease)
        .where(study.c.state.in_(states.SUMMARY_MADE.before))
        .values(
            state=states.SUMMARY_MADE.after,
            lease=None,
            available_at=now,
            last_error=None,
            summary_started_at=None,
        )
    )
    return ended.rowcount == 1


def record_failure(
    connection: Connection,
    job: SummaryJob,
    error: str,
    retry_in: float | None,
    counts: bool,
    now: datetime,
) -> None:
    if retry_in is None:
        ended = jobs.give_up(study, job.lease, error, states.SUMMARY_GIVEN_UP)
    else:
        ended = jobs.try_again(study, job.lease, error, now + timedelta(seconds=retry_in), counts)
    connection.execute(ended.where(study.c.key == job.key))
