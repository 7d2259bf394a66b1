"""Probes: images that we make ourselves, send to ourselves, and take out again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, exists, insert, or_, select

from service.journal.records import DeliveryState, ImageState
from service.journal.schema import delivery, image, probe, result

_UNFINISHED = (DeliveryState.PENDING, DeliveryState.STORED)


def announce(connection: Connection, sop_instance_uid: str, now: datetime) -> None:
    """Before it is sent: what comes under this UID is a probe."""
    connection.execute(insert(probe).values(sop_instance_uid=sop_instance_uid, made_at=now))


def is_announced(connection: Connection, sop_instance_uid: str) -> bool:
    query = select(probe.c.made_at).where(probe.c.sop_instance_uid == sop_instance_uid)
    return connection.execute(query).first() is not None


def finished(
    connection: Connection, sop_instance_uid: str, made_before: datetime
) -> list[tuple[str, list[str]]]:
    """Keys of probes that nobody works on any more, each with its parcels: this one, and older."""
    busy = exists().where(delivery.c.image_key == image.c.key, delivery.c.state.in_(_UNFINISHED))
    keys = connection.execute(
        select(image.c.key)
        .join(probe, probe.c.sop_instance_uid == image.c.sop_instance_uid)
        .where(image.c.probe, image.c.state != ImageState.RECEIVED, ~busy)
        .where(or_(image.c.sop_instance_uid == sop_instance_uid, probe.c.made_at < made_before))
    ).scalars()
    return [(key, _parcels(connection, key)) for key in keys]


def every(connection: Connection) -> list[tuple[str, list[str]]]:
    """Keys of all probes, each with its parcels."""
    keys = connection.execute(select(image.c.key).where(image.c.probe)).scalars().all()
    return [(key, _parcels(connection, key)) for key in keys]


def _parcels(connection: Connection, key: str) -> list[str]:
    return list(
        connection.execute(select(result.c.parcel).where(result.c.image_key == key)).scalars()
    )


def forget(connection: Connection, keys: Sequence[str], never_came_before: datetime) -> None:
    """Take the rows of these probes out, and of those that were announced and never came."""
    uids = select(image.c.sop_instance_uid).where(image.c.key.in_(keys), image.c.probe)
    connection.execute(delete(probe).where(probe.c.sop_instance_uid.in_(uids)))
    for table in (delivery, result):
        connection.execute(delete(table).where(table.c.image_key.in_(keys)))
    connection.execute(delete(image).where(image.c.key.in_(keys), image.c.probe))
    came = exists().where(image.c.sop_instance_uid == probe.c.sop_instance_uid)
    connection.execute(delete(probe).where(probe.c.made_at < never_came_before, ~came))
