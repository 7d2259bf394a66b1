"""How many rows are in each state, without reading them: a ledger that triggers write.

Each change of a row adds entries in the same transaction, so the sums are exact at any moment.
Entries are only added: a sum that everybody changed would be a row that everybody waits for, and
on PostgreSQL a deadlock sooner or later.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from service.journal.schema import tally

_MANY = 500
"""Entries that are summed up each time the counts are read; more are gathered into few."""


@dataclass(frozen=True)
class Count:
    """number: of the rows of the table ``about`` with this name (see the schema) and state."""

    about: str
    name: str | None
    state: str
    number: int


def read(connection: Connection) -> list[Count]:
    kinds = (tally.c.about, tally.c.name, tally.c.state)
    rows = connection.execute(select(*kinds, func.sum(tally.c.number)).group_by(*kinds))
    return [Count(about, name, state, number) for about, name, state, number in rows]


def gather(connection: Connection) -> None:
    """Put one entry for each sum in place of many, once they are many.

    Two who do it at once gather different entries.
    """
    entries = connection.execute(select(func.count()).select_from(tally)).scalar_one()
    if entries <= _MANY:
        return
    sums: Counter[tuple[str, str | None, str]] = Counter()
    for row in connection.execute(
        delete(tally).returning(tally.c.about, tally.c.name, tally.c.state, tally.c.number)
    ):
        sums[row.about, row.name, row.state] += row.number
    for (about, name, state), number in sums.items():
        if number:
            values = {"about": about, "name": name, "state": state, "number": number}
            connection.execute(insert(tally).values(values))
