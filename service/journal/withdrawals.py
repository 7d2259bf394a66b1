"""The withdrawal of an image's result."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, update

from service.journal import analyses, deliveries, states, studies
from service.journal.records import AnalysisOutcome, ImageRow, Parcels
from service.journal.schema import image


def withdraw(
    connection: Connection,
    row: ImageRow,
    parcel: str,
    outcome: AnalysisOutcome,
    parcels: Parcels,
    now: datetime,
    quiet_seconds: float | None,
) -> bool:
    """A new edition that takes the result back, if the image is still as ``row`` has it."""
    edition = row.edition + 1
    withdrawn = connection.execute(
        update(image)
        .where(image.c.key == row.key, image.c.edition == row.edition)
        .where(image.c.state == row.state)
        .where(image.c.state.in_(states.RESULT_WITHDRAWN.before))
        .values(
            state=states.RESULT_WITHDRAWN.after, edition=edition, parcel=parcel, last_error=None
        )
    )
    if withdrawn.rowcount != 1:
        return False
    deliveries.cancel(connection, row.key)
    analyses.record_result(connection, row.key, edition, parcel, outcome, now)
    deliveries.make(connection, parcel, row.key, parcels, now, published=False)
    if row.study_instance_uid is not None:
        studies.result_came(connection, row.study_instance_uid, now, quiet_seconds)
    return True
