"""The delivery of one parcel to one destination: lease, success, failure."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, exists, insert, select, update

from service.journal import jobs, states
from service.journal.records import DeliveryJob, ImageRow, ImageState, Parcels
from service.journal.schema import delivery, image, result


def make(
    connection: Connection,
    parcel: str,
    image_key: str | None,
    parcels: Parcels,
    now: datetime,
    published: bool = True,
) -> None:
    """One delivery for each destination that gets anything.

    image_key: None for a study's summary.
    published: the caller publishes them at once; otherwise the keeper does at its next look.
    """
    job = jobs.just_published(now) if published else jobs.due_at_once(now)
    for destination, objects in parcels.items():
        if objects:
            connection.execute(
                insert(delivery).values(
                    parcel=parcel,
                    destination=destination,
                    objects=list(objects),
                    image_key=image_key,
                    state=states.TO_DELIVER.after,
                    created_at=now,
                    refusals=0,
                    **job,
                )
            )


def make_missing(connection: Connection, row: ImageRow, parcels: Parcels, now: datetime) -> None:
    """As ``make``, but for the destinations that have a delivery of the image's parcel already."""
    if row.parcel is None:
        return
    known = set(
        connection.execute(
            select(delivery.c.destination).where(delivery.c.parcel == row.parcel)
        ).scalars()
    )
    missing = {name: objects for name, objects in parcels.items() if name not in known}
    make(connection, row.parcel, row.key, missing, now, published=False)


def cancel(connection: Connection, image_key: str) -> None:
    """What is not yet stored of an image's results shall not be stored any more.

    Notes of an earlier withdrawal still go out: what they reject may have been stored.
    """
    notes = select(result.c.parcel).where(
        result.c.image_key == image_key, result.c.state == ImageState.WITHDRAWN
    )
    connection.execute(
        update(delivery)
        .where(delivery.c.image_key == image_key, delivery.c.parcel.not_in(notes))
        .where(delivery.c.state.in_(states.DELIVERY_CANCELLED.before))
        .values(state=states.DELIVERY_CANCELLED.after, lease=None, published_at=None)
    )


def _row(parcel: str, destination: str) -> ColumnElement[bool]:
    return and_(delivery.c.parcel == parcel, delivery.c.destination == destination)


def lease(
    connection: Connection,
    parcel: str,
    destination: str,
    token: str,
    now: datetime,
    lease_seconds: float,
) -> DeliveryJob | None:
    row = connection.execute(
        jobs.take(delivery, token, now, lease_seconds)
        .where(_row(parcel, destination))
        .returning(delivery.c.objects, delivery.c.attempts, delivery.c.refusals)
    ).one_or_none()
    if row is None:
        return None
    return DeliveryJob(
        parcel=parcel,
        destination=destination,
        objects=tuple(row.objects),
        attempt=row.attempts,
        refusals=row.refusals,
        lease=token,
    )


def renew(connection: Connection, job: DeliveryJob, now: datetime, lease_seconds: float) -> bool:
    renewed = connection.execute(
        jobs.renew(delivery, job.lease, now, lease_seconds).where(_row(job.parcel, job.destination))
    )
    return renewed.rowcount == 1


def record_delivered(connection: Connection, job: DeliveryJob, now: datetime) -> bool:
    """Also for a lost lease: what the destination has stored, it has stored."""
    _lock_image(connection, job.parcel)
    ended = connection.execute(
        update(delivery)
        .where(_row(job.parcel, job.destination))
        .where(delivery.c.state.in_(states.STORED_AT_DESTINATION.before))
        .values(state=states.STORED_AT_DESTINATION.after, delivered_at=now)
        .values(lease=None, last_error=None)
    )
    if ended.rowcount != 1:
        return False
    elsewhere_not = exists().where(
        delivery.c.parcel == job.parcel,
        delivery.c.state != states.STORED_AT_DESTINATION.after,
    )
    connection.execute(
        update(image)
        .where(image.c.parcel == job.parcel, ~elsewhere_not)
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
    _lock_image(connection, job.parcel)
    if retry_in is None:
        ended = jobs.give_up(delivery, job.lease, error, states.DELIVERY_GIVEN_UP)
    else:
        ended = jobs.try_again(delivery, job.lease, error, now + timedelta(seconds=retry_in))
    recorded = connection.execute(
        ended.where(_row(job.parcel, job.destination)).values(
            refusals=delivery.c.refusals + int(refused)
        )
    )
    if recorded.rowcount == 1 and retry_in is None:
        connection.execute(
            update(image)
            .where(image.c.parcel == job.parcel)
            .where(image.c.state.in_(states.IMAGE_DELIVERY_GIVEN_UP.before))
            .values(state=states.IMAGE_DELIVERY_GIVEN_UP.after, last_error=error)
        )


def _lock_image(connection: Connection, parcel: str) -> None:
    """Let the deliveries of one image end one after the other.

    Otherwise the last two could each see the other one unfinished, and nobody would end the image.
    A summary belongs to no image, and the result of an earlier edition no longer decides its state.
    """
    connection.execute(select(image.c.key).where(image.c.parcel == parcel).with_for_update())
