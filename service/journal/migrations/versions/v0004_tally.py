"""Counts that are kept: how many rows there are in each state is no longer read off whole tables.

On SQLite a later revision that makes one of the tables anew must make its triggers anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NAMES = {"image": None, "study": None, "delivery": "destination", "result": "reason"}
"""By table the column that its rows are counted by, beside their state."""


def upgrade() -> None:
    op.create_table(
        "tally",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("about", sa.String(16), nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tally"),
    )
    for table, name in _NAMES.items():
        for statement in _triggers(table, name):
            op.execute(statement)
        counted = f"{name}, state" if name else "state"
        op.execute(
            f"INSERT INTO tally (about, name, state, number)"  # noqa: S608 our own names
            f" SELECT '{table}', {name or 'NULL'}, state, COUNT(*) FROM {table} GROUP BY {counted}"
        )


def _triggers(table: str, name: str | None) -> list[str]:
    gone, come = _entry(table, name, "OLD", -1), _entry(table, name, "NEW", 1)
    if op.get_bind().dialect.name == "sqlite":
        make = f"CREATE TRIGGER tally_{table}"
        changed = f"UPDATE OF state ON {table} WHEN OLD.state <> NEW.state"
        return [
            f"{make}_insert AFTER INSERT ON {table} BEGIN {come} END",
            f"{make}_update AFTER {changed} BEGIN {gone} {come} END",
            f"{make}_delete AFTER DELETE ON {table} BEGIN {gone} END",
        ]
    run = f"FOR EACH ROW EXECUTE FUNCTION tally_{table}()"
    return [
        f"CREATE FUNCTION tally_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF TG_OP <> 'INSERT' THEN {gone} END IF;"
        f" IF TG_OP <> 'DELETE' THEN {come} END IF;"
        " RETURN NULL; END $$",
        f"CREATE TRIGGER tally_{table} AFTER INSERT OR DELETE ON {table} {run}",
        f"CREATE TRIGGER tally_{table}_state AFTER UPDATE OF state ON {table}"
        f" FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION tally_{table}()",
    ]


def _entry(table: str, name: str | None, row: str, number: int) -> str:
    named = f"{row}.{name}" if name else "NULL"
    return (
        f"INSERT INTO tally (about, name, state, number)"  # noqa: S608 our own names
        f" VALUES ('{table}', {named}, {row}.state, {number});"
    )
