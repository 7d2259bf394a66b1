"""What peers ask us to commit to, and whether they have been told: lease, report, failure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select, update

from service.journal import jobs, states
from service.journal.database import batches
from service.journal.records import CommitmentJob, CommitmentRequest, KeptImage, Reference
from service.journal.schema import commitment, image


def record(
    connection: Connection, request: CommitmentRequest, now: datetime, published: bool
) -> None:
    """The same transaction again is a new question in its place.

    Raises Conflict if another transaction makes the same row meanwhile.
    """
    job = jobs.just_published(now) if published else jobs.due_at_once(now)
    values = {
        "address": request.address,
        "references": [list(each) for each in request.references],
        "received_at": now,
        "last_error": None,
        **job,
    }
    known = connection.execute(
        update(commitment)
        .where(commitment.c.key == request.key)
        .where(commitment.c.state.in_(states.ASKED_AGAIN.before))
        .values(state=states.ASKED_AGAIN.after, **values)
    )
    if known.rowcount == 0:
        connection.execute(
            insert(commitment).values(
                key=request.key,
                calling_ae_title=request.calling_ae_title,
                transaction_uid=request.transaction_uid,
                state=states.TO_REPORT.after,
                **values,
            )
        )


def lease(
    connection: Connection, key: str, token: str, now: jobs.Now, lease_seconds: float
) -> CommitmentJob | None:
    row = connection.execute(
        jobs.take(commitment, token, now, lease_seconds)
        .where(commitment.c.key == key)
        .returning(commitment)
    ).one_or_none()
    if row is None:
        return None
    references = tuple((sop_class_uid, uid) for sop_class_uid, uid in row.references)
    request = CommitmentRequest(row.calling_ae_title, row.address, row.transaction_uid, references)
    return CommitmentJob(key, request, row.received_at, row.attempts, token)


def renew(connection: Connection, job: CommitmentJob, now: datetime, lease_seconds: float) -> bool:
    renewed = connection.execute(
        jobs.renew(commitment, job.lease, now, lease_seconds).where(commitment.c.key == job.key)
    )
    return renewed.rowcount == 1


def record_reported(
    connection: Connection, job: CommitmentJob, not_committed: int, now: datetime
) -> bool:
    ended = connection.execute(
        update(commitment)
        .where(commitment.c.key == job.key, commitment.c.lease == job.lease)
        .where(commitment.c.state.in_(states.REPORTED.before))
        .values(state=states.REPORTED.after, reported_at=now, not_committed=not_committed)
        .values(lease=None, last_error=None)
    )
    return ended.rowcount == 1


def record_failure(
    connection: Connection, job: CommitmentJob, error: str, retry_in: float | None, now: datetime
) -> None:
    if retry_in is None:
        ended = jobs.give_up(commitment, job.lease, error, states.REPORT_GIVEN_UP)
    else:
        ended = jobs.try_again(commitment, job.lease, error, now + timedelta(seconds=retry_in))
    connection.execute(ended.where(commitment.c.key == job.key))


def kept(connection: Connection, references: Sequence[Reference]) -> dict[str, KeptImage]:
    """By SOP Instance UID the newest content."""
    uids = sorted({uid for _, uid in references})
    newest: dict[str, KeptImage] = {}
    for some in batches(uids):
        rows = connection.execute(
            select(image).where(image.c.sop_instance_uid.in_(some)).order_by(image.c.revision)
        )
        for row in rows:
            newest[row.sop_instance_uid] = KeptImage(
                row.key, row.sop_class_uid, row.digest, row.size_bytes
            )
    return newest
