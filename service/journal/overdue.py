"""What the keeper publishes again."""

from __future__ import annotations

from sqlalchemy import Connection, Update, select, update

from service.journal import jobs, studies
from service.journal.records import Overdue, Stage
from service.journal.schema import commitment, delivery, image, study


def publish(
    connection: Connection, now: jobs.Now, publish_grace: float, limit: int
) -> list[Overdue]:
    """Name the oldest overdue jobs and count them as published at ``now``.

    Rows that another keeper or a worker is just changing are skipped.
    """
    analyses = connection.execute(
        select(image.c.key, image.c.received_at)
        .where(jobs.overdue(image, now, publish_grace))
        .order_by(image.c.received_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    deliveries = connection.execute(
        select(delivery.c.parcel, delivery.c.destination, delivery.c.created_at)
        .where(jobs.overdue(delivery, now, publish_grace))
        .order_by(delivery.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    summaries = connection.execute(
        select(study.c.key, study.c.available_at)
        .where(jobs.overdue(study, now, publish_grace), studies.is_complete())
        .order_by(study.c.available_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    commitments = connection.execute(
        select(commitment.c.key, commitment.c.received_at)
        .where(jobs.overdue(commitment, now, publish_grace))
        .order_by(commitment.c.received_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    waiting = [(row.received_at, Overdue(Stage.ANALYSIS, row.key)) for row in analyses]
    waiting += [
        (row.created_at, Overdue(Stage.DELIVERY, row.parcel, row.destination)) for row in deliveries
    ]
    waiting += [(row.available_at, Overdue(Stage.SUMMARY, row.key)) for row in summaries]
    waiting += [(row.received_at, Overdue(Stage.COMMITMENT, row.key)) for row in commitments]
    oldest = [job for _, job in sorted(waiting, key=lambda entry: entry[0])][:limit]
    for job in oldest:
        connection.execute(_row(job).values(published_at=now.time))
    return oldest


def _row(job: Overdue) -> Update:
    if job.stage is Stage.ANALYSIS:
        return update(image).where(image.c.key == job.key)
    if job.stage is Stage.SUMMARY:
        return update(study).where(study.c.key == job.key)
    if job.stage is Stage.COMMITMENT:
        return update(commitment).where(commitment.c.key == job.key)
    return update(delivery).where(
        delivery.c.parcel == job.key, delivery.c.destination == job.destination
    )
