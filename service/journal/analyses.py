"""The analysis of an image: lease, outcome, failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, literal, update

from service.journal import jobs, states
from service.journal.records import AnalysisJob, AnalysisOutcome
from service.journal.schema import UtcDateTime, delivery, image, result


def lease(
    connection: Connection, key: str, token: str, now: datetime, lease_seconds: float
) -> AnalysisJob | None:
    row = connection.execute(
        jobs.take(image, token, now, lease_seconds)
        .where(image.c.key == key)
        .values(
            analysis_started_at=func.coalesce(
                image.c.analysis_started_at, literal(now, UtcDateTime())
            )
        )
        .returning(
            image.c.revision, image.c.received_at, image.c.analysis_started_at, image.c.attempts
        )
    ).one_or_none()
    if row is None:
        return None
    return AnalysisJob(
        key=key,
        revision=row.revision,
        received_at=row.received_at,
        started_at=row.analysis_started_at,
        attempt=row.attempts,
        lease=token,
    )


def renew(connection: Connection, job: AnalysisJob, now: datetime, lease_seconds: float) -> bool:
    renewed = connection.execute(
        jobs.renew(image, job.lease, now, lease_seconds).where(image.c.key == job.key)
    )
    return renewed.rowcount == 1


def record_outcome(
    connection: Connection,
    job: AnalysisJob,
    outcome: AnalysisOutcome,
    destinations: Sequence[str],
    now: datetime,
) -> bool:
    """Result and deliveries, if the job is still this worker's.

    Raises ValueError for an outcome that is no end of an analysis.
    """
    if outcome.state not in states.OUTCOMES:
        raise ValueError(f"an analysis does not end as {outcome.state}")
    ended = connection.execute(
        update(image)
        .where(image.c.key == job.key, image.c.lease == job.lease)
        .where(image.c.state.in_(states.OUTCOMES[outcome.state].before))
        .values(state=states.OUTCOMES[outcome.state].after, analysed_at=now)
        .values(lease=None, last_error=None)
    )
    if ended.rowcount != 1:
        return False
    result_id = connection.execute(
        insert(result)
        .values(image_key=job.key, created_at=now, **asdict(outcome))
        .returning(result.c.id)
    ).scalar_one()
    if outcome.objects:
        for destination in destinations:
            connection.execute(
                insert(delivery).values(
                    image_key=job.key,
                    destination=destination,
                    result_id=result_id,
                    state=states.TO_DELIVER.after,
                    created_at=now,
                    refusals=0,
                    **jobs.just_published(now),
                )
            )
    return True


def record_failure(
    connection: Connection, job: AnalysisJob, error: str, retry_in: float | None, now: datetime
) -> None:
    if retry_in is None:
        ended = jobs.give_up(image, job.lease, error, states.ANALYSIS_GIVEN_UP)
    else:
        ended = jobs.try_again(image, job.lease, error, now + timedelta(seconds=retry_in))
    connection.execute(ended.where(image.c.key == job.key))
