"""The delivery of one image's results to one destination: lease, success, failure."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, exists, select, update

from service.journal import jobs, states
from service.journal.records import DeliveryJob
from service.journal.schema import delivery, image, result


def _row(key: str, destination: str) -> ColumnElement[bool]:
    return and_(delivery.c.image_key == key, delivery.c.destination == destination)


def lease(
    connection: Connection,
    key: str,
    destination: str,
    token: str,
    now: datetime,
    lease_seconds: float,
) -> DeliveryJob | None:
    row = connection.execute(
        jobs.take(delivery, token, now, lease_seconds)
        .where(_row(key, destination))
        .returning(delivery.c.result_id, delivery.c.attempts, delivery.c.refusals)
    ).one_or_none()
    if row is None:
        return None
    objects = connection.execute(
        select(result.c.objects).where(result.c.id == row.result_id)
    ).scalar_one()
    return DeliveryJob(
        key=key,
        destination=destination,
        objects=tuple(objects),
        attempt=row.attempts,
        refusals=row.refusals,
        lease=token,
    )


def renew(connection: Connection, job: DeliveryJob, now: datetime, lease_seconds: float) -> bool:
    renewed = connection.execute(
        jobs.renew(delivery, job.lease, now, lease_seconds).where(_row(job.key, job.destination))
    )
    return renewed.rowcount == 1


def record_delivered(connection: Connection, job: DeliveryJob, now: datetime) -> bool:
    """Also for a lost lease: what the destination has stored, it has stored."""
    _lock_image(connection, job.key)
    ended = connection.execute(
        update(delivery)
        .where(_row(job.key, job.destination))
        .where(delivery.c.state.in_(states.STORED_AT_DESTINATION.before))
        .values(state=states.STORED_AT_DESTINATION.after, delivered_at=now)
        .values(lease=None, last_error=None)
    )
    if ended.rowcount != 1:
        return False
    elsewhere_not = exists().where(
        delivery.c.image_key == job.key,
        delivery.c.state != states.STORED_AT_DESTINATION.after,
    )
    connection.execute(
        update(image)
        .where(image.c.key == job.key, ~elsewhere_not)
        .where(image.c.state.in_(states.DELIVERED_EVERYWHERE.before))
        .values(state=states.DELIVERED_EVERYWHERE.after, delivered_at=now)
    )
    return True


def record_failure(
    connection: Connection,
    job: DeliveryJob,
    error: str,
    retry_in: float | None,
    refused: bool,
    now: datetime,
) -> None:
    _lock_image(connection, job.key)
    if retry_in is None:
        ended = jobs.give_up(delivery, job.lease, error, states.DELIVERY_GIVEN_UP)
    else:
        ended = jobs.try_again(delivery, job.lease, error, now + timedelta(seconds=retry_in))
    recorded = connection.execute(
        ended.where(_row(job.key, job.destination)).values(
            refusals=delivery.c.refusals + int(refused)
        )
    )
    if recorded.rowcount == 1 and retry_in is None:
        connection.execute(
            update(image)
            .where(image.c.key == job.key)
            .where(image.c.state.in_(states.IMAGE_DELIVERY_GIVEN_UP.before))
            .values(state=states.IMAGE_DELIVERY_GIVEN_UP.after, last_error=error)
        )


def _lock_image(connection: Connection, key: str) -> None:
    """Let the deliveries of one image end one after the other.

    Otherwise the last two could each see the other one unfinished, and nobody would end the image.
    """
    connection.execute(select(image.c.key).where(image.c.key == key).with_for_update())
