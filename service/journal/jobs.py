"""Jobs: what an image's analysis, a delivery, a study's summary and a commitment share.

A job is taken by one conditional UPDATE, so that of any number of workers one gets it, on SQLite
and PostgreSQL alike. The lease's token fences: who lost the lease to another changes nothing.
Here are the statements; the journal runs them, each inside the transaction of its operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, Update, and_, or_, update

from service.journal.records import CommitmentState, DeliveryState, ImageState, StudyState
from service.journal.schema import commitment, delivery, image, study
from service.journal.states import Transition

UNFINISHED = {
    image: (ImageState.RECEIVED,),
    delivery: (DeliveryState.PENDING, DeliveryState.STORED),
    study: (StudyState.PENDING,),
    commitment: (CommitmentState.PENDING,),
}
"""The states in which a row of the table waits for a worker."""


def unfinished(table: Table) -> ColumnElement[bool]:
    return table.c.state.in_(UNFINISHED[table])


_SKEW = timedelta(seconds=60)
"""So far the clocks of several machines may lie apart."""


@dataclass(frozen=True)
class Now:
    """The time, and how far ahead of it a job may be due.

    longest_wait: of a lease or a retry.
    quiet: how much longer a study may wait for its summary.
    commitment: how much longer a stored parcel may wait for its destination to commit.
    """

    time: datetime
    longest_wait: timedelta
    quiet: timedelta = timedelta(0)
    commitment: timedelta = timedelta(0)


def due(table: Table, now: Now) -> ColumnElement[bool]:
    """Due, or due so far ahead that the clock was set back since.

    A job that nobody has ever taken was due when it was made; only a study waits for quiet.
    """
    if table is study:
        longest = now.longest_wait + now.quiet
        return or_(table.c.available_at <= now.time, table.c.available_at > now.time + longest)
    wrong = table.c.available_at > now.time + now.longest_wait
    if table is delivery:
        committing = now.time + now.longest_wait + now.commitment
        stored = table.c.state == DeliveryState.STORED
        wrong = or_(and_(wrong, ~stored), table.c.available_at > committing)
    return or_(
        table.c.available_at <= now.time,
        wrong,
        and_(table.c.attempts == 0, table.c.available_at > now.time + _SKEW),
    )


def take(table: Table, token: str, now: Now, lease_seconds: float) -> Update:
    """Lease the job if it is unfinished and due; the caller says which row, and what to return."""
    return (
        update(table)
        .where(unfinished(table), due(table, now))
        .values(
            lease=token,
            available_at=now.time + timedelta(seconds=lease_seconds),
            attempts=table.c.attempts + 1,
            published_at=None,
        )
    )


def renew(table: Table, token: str, now: datetime, lease_seconds: float) -> Update:
    """Heartbeat, for the job's last taker only."""
    return (
        update(table)
        .where(unfinished(table), table.c.lease == token)
        .values(available_at=now + timedelta(seconds=lease_seconds))
    )


def try_again(table: Table, token: str, error: str, at: datetime, counts: bool = True) -> Update:
    """End the lease after a failure; the job is due again at ``at``.

    counts: whether it was one of the job's attempts; the next has its number otherwise.
    """
    return (
        update(table)
        .where(unfinished(table), table.c.lease == token)
        .values(
            lease=None,
            available_at=at,
            published_at=None,
            last_error=error,
            attempts=table.c.attempts - (0 if counts else 1),
        )
    )


def give_up(table: Table, token: str, error: str, transition: Transition[Any]) -> Update:
    """End the lease and the job after the last failure."""
    return (
        update(table)
        .where(table.c.state.in_(transition.before), table.c.lease == token)
        .values(state=transition.after, lease=None, published_at=None, last_error=error)
    )


def just_published(now: datetime) -> dict[str, Any]:
    """Values of a new job, whose maker publishes it at once."""
    return due_at_once(now) | {"published_at": now}


def due_at_once(now: datetime) -> dict[str, Any]:
    """Values of a job that starts afresh and that no message is under way for."""
    return {"attempts": 0, "lease": None, "available_at": now, "published_at": None}


def overdue(table: Table, now: Now, publish_grace: float) -> ColumnElement[bool]:
    """Due, and no message is under way, or one has been for ``publish_grace`` seconds.

    A job whose lease ran out or whose next attempt is due has no message under way.
    """
    return and_(
        unfinished(table),
        due(table, now),
        or_(
            table.c.published_at.is_(None),
            table.c.published_at <= now.time - timedelta(seconds=publish_grace),
            table.c.published_at > now.time + _SKEW,
        ),
    )
