"""The migrations make exactly the schema that the code uses, and travel inside the wheel."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

from service.journal import migrations
from service.journal.journal import Journal, JournalError
from service.journal.records import ImageState
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


def test_a_journal_of_the_first_version_keeps_its_images_results_and_deliveries(
    url: str, engine_url: str
) -> None:
    engine = create_engine(engine_url)
    with engine.begin() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        now = "2026-01-01 00:00:00"
        job = f"0, '{now}', NULL, NULL, NULL"
        connection.execute(
            text(
                "INSERT INTO image (key, sop_instance_uid, sop_class_uid, transfer_syntax_uid,"
                " digest, size_bytes, calling_ae_title, revision, state, duplicates, received_at,"
                " attempts, available_at, lease, published_at, last_error) VALUES"
                f" ('k1', '1.1', '1', '1', 'd', 1, 'AE', 0, 'analysed', 0, '{now}', {job}),"
                f" ('k2', '1.2', '1', '1', 'd', 1, 'AE', 0, 'received', 0, '{now}', {job})"
            )
        )
        connection.execute(
            text(
                "INSERT INTO result (id, image_key, model_sha256, created_at, state, objects,"
                " probability_malignant, stage_seconds) VALUES"
                f" (7, 'k1', 'ab', '{now}', 'analysed', '[\"sr.dcm\"]', 0.75, '{{}}')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO delivery (id, image_key, destination, result_id, state, created_at,"
                " refusals, attempts, available_at, lease, published_at, last_error) VALUES"
                f" (1, 'k1', 'pacs', 7, 'pending', '{now}', 0, {job})"
            )
        )
    engine.dispose()

    journal = Journal(url)
    journal.migrate()

    analysed = journal.image("k1")
    assert analysed is not None
    assert (analysed.edition, analysed.parcel) == (0, "k1")
    assert analysed.outcome is not None
    assert analysed.outcome.probability_malignant == 0.75
    delivery = journal.lease_delivery("k1", "pacs", 10)
    assert delivery is not None
    assert delivery.objects == ("sr.dcm",)
    assert journal.record_delivered(delivery)
    done = journal.image("k1")
    assert done is not None
    assert done.state is ImageState.DELIVERED
    waiting = journal.lease_analysis("k2", 10)
    assert waiting is not None
    assert (waiting.parcel, waiting.replaces) == ("k2", None)
    journal.close()
