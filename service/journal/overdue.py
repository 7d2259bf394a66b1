"""What the keeper publishes again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from service.journal import jobs
from service.journal.records import Overdue, Stage
from service.journal.schema import delivery, image


def publish(
    connection: Connection, now: datetime, publish_grace: float, limit: int
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
        select(delivery.c.image_key, delivery.c.destination, delivery.c.created_at)
        .where(jobs.overdue(delivery, now, publish_grace))
        .order_by(delivery.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    waiting = [(row.received_at, Overdue(Stage.ANALYSIS, row.key)) for row in analyses]
    waiting += [
        (row.created_at, Overdue(Stage.DELIVERY, row.image_key, row.destination))
        for row in deliveries
    ]
    oldest = [job for _, job in sorted(waiting, key=lambda entry: entry[0])][:limit]
    for job in oldest:
        row = (
            update(image).where(image.c.key == job.key)
            if job.destination is None
            else update(delivery).where(
                delivery.c.image_key == job.key, delivery.c.destination == job.destination
            )
        )
        connection.execute(row.values(published_at=now))
    return oldest
