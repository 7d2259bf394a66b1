"""The migrations make exactly the schema that the code uses, and travel inside the wheel."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

from service.journal.journal import Journal, JournalError
from service.journal.schema import metadata


@pytest.fixture
def engine_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def test_the_migrations_make_the_tables_of_the_code(journal: Journal, engine_url: str) -> None:
    with create_engine(engine_url).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_to_migrate_again_changes_nothing(journal: Journal, image) -> None:
    journal.record_received(image(1))
    journal.migrate()
    journal.check()
    assert len(journal.images()) == 1


def test_a_journal_of_another_version_is_not_used(journal: Journal, engine_url: str) -> None:
    engine = create_engine(engine_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    engine.dispose()
    with pytest.raises(JournalError, match="schema is 0000"):
        journal.check()


def test_an_empty_database_is_not_yet_a_journal(url: str) -> None:
    with pytest.raises(JournalError, match=r"schema is missing|no journal"):
        Journal(url).check()


def test_looking_for_a_journal_makes_none(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite3"
    with pytest.raises(JournalError, match="no journal"):
        Journal(f"sqlite:///{file}").check()
    assert not file.exists()


def test_sqlite_keeps_a_write_ahead_log_and_syncs_each_commit(tmp_path: Path) -> None:
    journal = Journal(f"sqlite:///{tmp_path / 'journal.sqlite3'}")
    journal.migrate()
    with journal._database.writing() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30000,
    }
