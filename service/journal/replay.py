"""Failed images go back to work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, select, update

from service.journal import jobs, states
from service.journal.records import ImageState
from service.journal.schema import delivery, image, result


def replay(connection: Connection, keys: Sequence[str], now: datetime) -> int:
    """Those with a result are delivered again where that failed, the others are analysed again."""
    failed = connection.execute(
        select(image.c.key, result.c.state.label("result"))
        .join_from(image, result, isouter=True)
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
