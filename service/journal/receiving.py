"""A received image becomes a row."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update

from service.journal import jobs, states, studies
from service.journal.records import Receipt, ReceivedImage
from service.journal.schema import image


def record(
    connection: Connection, received: ReceivedImage, now: datetime, quiet_seconds: float | None
) -> Receipt:
    """Insert the row, or count a duplicate if the key is there.

    Raises Conflict if another transaction inserts the same key or the same revision meanwhile:
    then the whole transaction is to be repeated.
    """
    known = connection.execute(
        update(image)
        .where(image.c.key == received.key)
        .values(duplicates=image.c.duplicates + 1)
        .returning(image.c.state)
    ).scalar_one_or_none()
    if known is not None:
        return Receipt(received.key, duplicate=True, state=known)

    stored = states.STORED if received.ignored_reason is None else states.STORED_BUT_NOT_FOR_US
    earlier = select(func.max(image.c.revision)).where(
        image.c.sop_instance_uid == received.sop_instance_uid
    )
    connection.execute(
        insert(image).values(
            key=received.key,
            sop_instance_uid=received.sop_instance_uid,
            sop_class_uid=received.sop_class_uid,
            transfer_syntax_uid=received.transfer_syntax_uid,
            digest=received.digest,
            size_bytes=received.size_bytes,
            calling_ae_title=received.calling_ae_title,
            study_instance_uid=received.study_instance_uid,
            revision=func.coalesce(earlier.scalar_subquery() + 1, 0),
            edition=0,
            state=stored.after,
            ignored_reason=received.ignored_reason,
            duplicates=0,
            received_at=received.received_at,
            **jobs.just_published(now),
        )
    )
    if received.study_instance_uid is not None and stored is states.STORED:
        studies.image_came(connection, received.study_instance_uid, now, quiet_seconds)
    return Receipt(received.key, duplicate=False, state=stored.after)
