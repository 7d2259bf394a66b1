"""What failed goes back to work: images, and summaries that no destination got or nobody made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, select, update

from service.journal import jobs, states
from service.journal.records import DeliveryState, ImageState, StudyState
from service.journal.schema import delivery, image, result, study


def replay(connection: Connection, keys: Sequence[str], now: datetime) -> int:
    """Those with a result are delivered again where that failed, the others are analysed again."""
    failed = connection.execute(
        select(image.c.key, result.c.state.label("result"))
        .join_from(
            image,
            result,
            and_(result.c.image_key == image.c.key, result.c.edition == image.c.edition),
            isouter=True,
        )
        .where(image.c.key.in_(keys), image.c.state == ImageState.FAILED)
        .with_for_update(of=image)
    ).all()
    replayed: dict[states.Transition[ImageState], list[str]] = defaultdict(list)
    for row in failed:
        transition = states.REPLAYS[row.result] if row.result else states.ANALYSIS_REPLAYED
        replayed[transition].append(row.key)
    for transition, alike in replayed.items():
        connection.execute(
            update(image)
            .where(image.c.key.in_(alike), image.c.state.in_(transition.before))
            .values(state=transition.after, **jobs.due_at_once(now))
        )
    connection.execute(
        update(delivery)
        .where(delivery.c.image_key.in_([row.key for row in failed]))
        .where(delivery.c.state.in_(states.DELIVERY_REPLAYED.before))
        .values(state=states.DELIVERY_REPLAYED.after, refusals=0, **jobs.due_at_once(now))
    )
    return len(failed)


def replay_summaries(connection: Connection, now: datetime) -> int:
    """Studies whose summary failed, and summaries that a destination refused."""
    made = connection.execute(
        update(study)
        .where(study.c.state == StudyState.FAILED)
        .values(state=states.STUDY_CHANGED.after, **jobs.due_at_once(now))
    )
    sent = connection.execute(
        update(delivery)
        .where(delivery.c.image_key.is_(None), delivery.c.state == DeliveryState.FAILED)
        .values(state=states.DELIVERY_REPLAYED.after, refusals=0, **jobs.due_at_once(now))
    )
    return made.rowcount + sent.rowcount
