"""A received image becomes a row."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, bindparam, func, insert, select, update

from service.journal import jobs, probes, states, studies
from service.journal.records import PROBE_AE_TITLE, Receipt, ReceivedImage
from service.journal.schema import image

# Made once: to make a statement takes SQLAlchemy longer than to run it.
_COUNT_DUPLICATE = (
    update(image)
    .where(image.c.key == bindparam("known"))
    .values(duplicates=image.c.duplicates + 1)
    .returning(image.c.state)
)
_NEXT_REVISION = select(func.coalesce(func.max(image.c.revision) + 1, 0)).where(
    image.c.sop_instance_uid == bindparam("revised")
)
_INSERT = insert(image).values(revision=_NEXT_REVISION.scalar_subquery())


def record(
    connection: Connection, received: ReceivedImage, now: datetime, quiet_seconds: float | None
) -> Receipt:
    """Insert the row, or count a duplicate if the key is there.

    Raises Conflict if another transaction inserts the same key or the same revision meanwhile:
    then the whole transaction is to be repeated.
    """
    known = connection.execute(_COUNT_DUPLICATE, {"known": received.key}).scalar_one_or_none()
    if known is not None:
        return Receipt(received.key, duplicate=True, state=known)

    # The sweeper, which brings back what a crash has left, does not know who had called.
    ours = received.calling_ae_title in (PROBE_AE_TITLE, "")
    probe = ours and probes.is_announced(connection, received.sop_instance_uid)
    stored = states.STORED if received.ignored_reason is None else states.STORED_BUT_NOT_FOR_US
    connection.execute(
        _INSERT,
        {
            "revised": received.sop_instance_uid,
            "key": received.key,
            "sop_instance_uid": received.sop_instance_uid,
            "sop_class_uid": received.sop_class_uid,
            "transfer_syntax_uid": received.transfer_syntax_uid,
            "digest": received.digest,
            "size_bytes": received.size_bytes,
            "calling_ae_title": received.calling_ae_title,
            "study_instance_uid": received.study_instance_uid,
            "edition": 0,
            "state": stored.after,
            "ignored_reason": received.ignored_reason,
            "duplicates": 0,
            "probe": probe,
            "received_at": received.received_at,
            **jobs.just_published(now),
        },
    )
    if received.study_instance_uid is not None and stored is states.STORED and not probe:
        studies.image_came(connection, received.study_instance_uid, now, quiet_seconds)
    return Receipt(received.key, duplicate=False, state=stored.after)


def last(connection: Connection, calling_ae_title: str, since: datetime) -> datetime | None:
    """From the newest backwards, for which there is an index."""
    found: datetime | None = connection.execute(
        select(image.c.received_at)
        .where(image.c.received_at > since, image.c.calling_ae_title == calling_ae_title)
        .order_by(image.c.received_at.desc())
        .limit(1)
    ).scalar_one_or_none()
    return found
