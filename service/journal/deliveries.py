"""The delivery of one parcel to one destination: lease, success, commitment, failure."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, exists, insert, select, update

from service.journal import jobs, states
from service.journal.records import (
    AwaitedCommitment,
    DeliveryJob,
    DeliveryState,
    ImageRow,
    ImageState,
    Parcels,
    Reference,
)
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


_STUDY = (
    select(image.c.study_instance_uid)
    .where(image.c.key == delivery.c.image_key)
    .scalar_subquery()
    .label("study_instance_uid")
)
_RECEIVED = (
    select(image.c.received_at)
    .where(image.c.key == delivery.c.image_key, image.c.key == delivery.c.parcel)
    .scalar_subquery()
    .label("received_at")
)
"""Only the first results of an image have its key for their parcel's name."""


def lease(
    connection: Connection,
    parcel: str,
    destination: str,
    token: str,
    now: jobs.Now,
    lease_seconds: float,
) -> DeliveryJob | None:
    row = connection.execute(
        jobs.take(delivery, token, now, lease_seconds)
        .where(_row(parcel, destination))
        .returning(
            delivery.c.state,
            delivery.c.objects,
            delivery.c.attempts,
            delivery.c.refusals,
            delivery.c.awaited,
            delivery.c.image_key,
            _STUDY,
            _RECEIVED,
        )
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
        awaited=_references(row.awaited) if row.state is DeliveryState.STORED else (),
        study_instance_uid=row.study_instance_uid,
        received_at=row.received_at,
        image_key=row.image_key,
    )


def _references(kept: list[list[str]] | None) -> tuple[Reference, ...]:
    return tuple((sop_class_uid, uid) for sop_class_uid, uid in kept or ())


def postpone(connection: Connection, parcel: str, destination: str, until: datetime) -> None:
    """Nobody has it, and nobody shall take it before."""
    connection.execute(
        update(delivery)
        .where(_row(parcel, destination), jobs.unfinished(delivery), delivery.c.lease.is_(None))
        .values(available_at=until, published_at=None)
    )


def renew(connection: Connection, job: DeliveryJob, now: datetime, lease_seconds: float) -> bool:
    renewed = connection.execute(
        jobs.renew(delivery, job.lease, now, lease_seconds).where(_row(job.parcel, job.destination))
    )
    return renewed.rowcount == 1


def record_delivered(connection: Connection, job: DeliveryJob, now: datetime) -> bool:
    """Also for a lost lease: what the destination has stored, it has stored."""
    row = _row(job.parcel, job.destination)
    return _end_delivered(connection, job.parcel, row, states.STORED_AT_DESTINATION, now)


def record_stored(
    connection: Connection,
    job: DeliveryJob,
    awaited: tuple[Reference, ...],
    now: datetime,
    lease_seconds: float,
) -> bool:
    """Also for a lost lease, which is then ours again."""
    stored = connection.execute(
        update(delivery)
        .where(_row(job.parcel, job.destination))
        .where(delivery.c.state.in_(states.STORED_UNCOMMITTED.before))
        .values(state=states.STORED_UNCOMMITTED.after, awaited=[list(each) for each in awaited])
        .values(lease=job.lease, available_at=now + timedelta(seconds=lease_seconds))
        .values(published_at=None, last_error=None)
    )
    return stored.rowcount == 1


def name_transaction(connection: Connection, job: DeliveryJob, transaction_uid: str) -> bool:
    named = connection.execute(
        update(delivery)
        .where(_row(job.parcel, job.destination), delivery.c.lease == job.lease)
        .where(delivery.c.state.in_(states.COMMITTED.before))
        .values(transaction_uid=transaction_uid)
    )
    return named.rowcount == 1


def wait_for_commitment(connection: Connection, job: DeliveryJob, until: datetime) -> None:
    connection.execute(
        update(delivery)
        .where(_row(job.parcel, job.destination), delivery.c.lease == job.lease)
        .where(delivery.c.state.in_(states.COMMITTED.before))
        .values(lease=None, available_at=until, published_at=None, last_error=None)
    )


def awaited(connection: Connection, transaction_uid: str) -> AwaitedCommitment | None:
    row = connection.execute(
        select(delivery).where(
            delivery.c.transaction_uid == transaction_uid,
            delivery.c.state.in_(states.COMMITTED.before),
        )
    ).one_or_none()
    if row is None:
        return None
    return AwaitedCommitment(
        parcel=row.parcel,
        destination=row.destination,
        awaited=_references(row.awaited),
        attempts=row.attempts,
        refusals=row.refusals,
        image_key=row.image_key,
    )


def record_committed(
    connection: Connection, parcel: str, transaction_uid: str, now: datetime
) -> bool:
    row = and_(delivery.c.parcel == parcel, delivery.c.transaction_uid == transaction_uid)
    return _end_delivered(connection, parcel, row, states.COMMITTED, now)


def record_not_committed(
    connection: Connection,
    parcel: str,
    transaction_uid: str,
    error: str,
    retry_in: float | None,
    now: datetime,
) -> bool:
    _lock_image(connection, parcel)
    given_up = retry_in is None
    transition = states.DELIVERY_GIVEN_UP if given_up else states.NOT_COMMITTED
    ended = connection.execute(
        update(delivery)
        .where(delivery.c.parcel == parcel, delivery.c.transaction_uid == transaction_uid)
        .where(delivery.c.state.in_(states.NOT_COMMITTED.before))
        .values(state=transition.after, transaction_uid=None, awaited=None, lease=None)
        .values(available_at=now + timedelta(seconds=retry_in or 0), published_at=None)
        .values(last_error=error, refusals=delivery.c.refusals + 1)
    )
    if ended.rowcount == 1 and given_up:
        _give_image_up(connection, parcel, error)
    return ended.rowcount == 1


def _end_delivered(
    connection: Connection,
    parcel: str,
    row: ColumnElement[bool],
    transition: states.Transition[DeliveryState],
    now: datetime,
) -> bool:
    _lock_image(connection, parcel)
    ended = connection.execute(
        update(delivery)
        .where(row, delivery.c.state.in_(transition.before))
        .values(state=transition.after, delivered_at=now)
        .values(lease=None, last_error=None)
    )
    if ended.rowcount != 1:
        return False
    elsewhere_not = exists().where(
        delivery.c.parcel == parcel,
        delivery.c.state != transition.after,
    )
    connection.execute(
        update(image)
        .where(image.c.parcel == parcel, ~elsewhere_not)
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
        _give_image_up(connection, job.parcel, error)


def _give_image_up(connection: Connection, parcel: str, error: str) -> None:
    connection.execute(
        update(image)
        .where(image.c.parcel == parcel)
        .where(image.c.state.in_(states.IMAGE_DELIVERY_GIVEN_UP.before))
        .values(state=states.IMAGE_DELIVERY_GIVEN_UP.after, last_error=error)
    )


def _lock_image(connection: Connection, parcel: str) -> None:
    """Let the deliveries of one image end one after the other.

    Otherwise the last two could each see the other one unfinished, and nobody would end the image.
    A summary belongs to no image, and the result of an earlier edition no longer decides its state.
    On SQLite one transaction writes at a time anyway.
    """
    if connection.dialect.name == "sqlite":
        return
    connection.execute(select(image.c.key).where(image.c.parcel == parcel).with_for_update())


def waiting(connection: Connection) -> list[tuple[str, tuple[str, ...]]]:
    """Parcels that a destination has not got yet, each with the files that it gets."""
    query = select(delivery.c.parcel, delivery.c.objects).where(
        delivery.c.state == DeliveryState.PENDING
    )
    return [(row.parcel, tuple(row.objects)) for row in connection.execute(query)]
