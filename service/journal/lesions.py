"""Operators' links: which images show one lesion."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, delete, insert, select

from service.journal import studies
from service.journal.records import LesionLink
from service.journal.schema import image, lesion_link


def link(
    connection: Connection,
    keys: Sequence[str],
    side: str | None,
    now: datetime,
    quiet_seconds: float | None,
) -> LesionLink | None:
    """The same images make the same lesion, also after they were unlinked.

    None, and nothing is changed, unless they are two or more images of one study of which none is
    linked or a probe. Raises Conflict if another transaction links one of them meanwhile.
    """
    chosen = sorted(set(keys))
    rows = connection.execute(
        select(image.c.study_instance_uid, lesion_link.c.lesion)
        .select_from(image.outerjoin(lesion_link, lesion_link.c.image_key == image.c.key))
        .where(image.c.key.in_(chosen), ~image.c.probe)
    ).all()
    uids = {row.study_instance_uid for row in rows}
    linked = any(row.lesion is not None for row in rows)
    if len(chosen) < 2 or len(rows) < len(chosen) or len(uids) > 1 or None in uids or linked:
        return None
    lesion = sha256("|".join(chosen).encode()).hexdigest()[:32]
    connection.execute(
        insert(lesion_link),
        [{"image_key": key, "lesion": lesion, "side": side, "linked_at": now} for key in chosen],
    )
    studies.result_came(connection, uids.pop(), now, quiet_seconds)
    return LesionLink(lesion, side, tuple(chosen))


def unlink(
    connection: Connection, key: str, now: datetime, quiet_seconds: float | None
) -> LesionLink | None:
    """Undo the link of which the image is a part; None if it is in none."""
    row = connection.execute(
        select(lesion_link.c.lesion, lesion_link.c.side, image.c.study_instance_uid)
        .join(image, image.c.key == lesion_link.c.image_key)
        .where(lesion_link.c.image_key == key)
    ).one_or_none()
    if row is None:
        return None
    members = connection.execute(
        delete(lesion_link)
        .where(lesion_link.c.lesion == row.lesion)
        .returning(lesion_link.c.image_key)
    ).scalars()
    undone = LesionLink(row.lesion, row.side, tuple(sorted(members)))
    studies.result_came(connection, row.study_instance_uid, now, quiet_seconds)
    return undone


def links_of(connection: Connection, study_instance_uid: str) -> list[LesionLink]:
    """In the order of the lesions' names."""
    keys: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    rows = connection.execute(
        select(lesion_link)
        .join(image, image.c.key == lesion_link.c.image_key)
        .where(image.c.study_instance_uid == study_instance_uid)
        .order_by(lesion_link.c.lesion, lesion_link.c.image_key)
    )
    for row in rows:
        keys[row.lesion, row.side].append(row.image_key)
    return [LesionLink(lesion, side, tuple(these)) for (lesion, side), these in keys.items()]
