"""When the database fails, the operator learns what to do, and nobody learns a secret."""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from service.journal import database
from service.journal.journal import Journal, JournalError
from service.journal.records import ReceivedImage

Image = Callable[..., ReceivedImage]


def told(error: pytest.ExceptionInfo[JournalError]) -> str:
    """All that a log with the traceback would show."""
    return "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize(
    "url", ["", "no url", "mysql://u:secret@h/d", "sqlite://", "sqlite:///:memory:"]
)
def test_a_url_that_is_no_journal_is_refused(url: str) -> None:
    with pytest.raises(JournalError, match=r"journal\.url") as error:
        Journal(url)
    assert "secret" not in told(error)


def test_a_server_that_is_down_does_not_show_the_password(free_port: Callable[[], int]) -> None:
    journal = Journal(f"postgresql://user:secret@127.0.0.1:{free_port()}/journal")
    with pytest.raises(JournalError, match="reachable") as error:
        journal.check()
    assert "secret" not in told(error)


def test_a_wrong_password_is_not_shown(postgresql) -> None:
    url = postgresql.make_database().replace("not-to-be-shown", "wrong-secret")
    with pytest.raises(JournalError, match="password") as error:
        Journal(url).migrate()
    assert "wrong-secret" not in told(error)


def test_a_failing_statement_shows_no_value_of_the_row(journal: Journal, image: Image) -> None:
    """The parameters hold the SOP Instance UID."""
    with journal._database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE image RENAME TO lost")
    with pytest.raises(JournalError) as error:
        journal.record_received(image(1))
    assert image(1).sop_instance_uid not in told(error)
    assert image(1).key not in told(error)


def test_a_row_that_breaks_a_rule_shows_no_value_of_it(journal: Journal, image: Image) -> None:
    with pytest.raises(JournalError) as error:
        journal.record_received(image(1, sop_class_uid=None))
    assert image(1).sop_instance_uid not in told(error)


def test_a_file_that_is_no_database_is_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite3"
    file.write_bytes(b"this is no database " * 100)
    with pytest.raises(JournalError, match="SQLITE_NOTADB"):
        Journal(f"sqlite:///{file}").migrate()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot make"):
        Journal(f"sqlite:///{tmp_path / 'file' / 'journal.sqlite3'}").migrate()


def test_what_failed_in_the_middle_is_undone(journal: Journal, image: Image, scored) -> None:
    """The second delivery has no destination: state, result and first delivery go as well."""
    key = journal.record_received(image(1)).key
    job = journal.lease_analysis(key, 10)
    assert job is not None

    with pytest.raises(JournalError):
        journal.record_outcome(job, scored, {"pacs": scored.objects, None: scored.objects})

    row = journal.image(key)
    assert row is not None
    assert row.state == "received"
    assert row.outcome is None
    assert row.deliveries == ()
    assert journal.record_outcome(job, scored, {"pacs": scored.objects})


def test_the_disk_is_full(tmp_path: Path, image: Image) -> None:
    url = f"sqlite:///{tmp_path / 'journal.sqlite3'}"
    journal = Journal(url)
    journal.migrate()
    with journal._database.writing() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    def receive(count: int) -> None:
        for number in range(count):
            journal.record_received(image(number))

    with pytest.raises(JournalError, match="SQLITE_FULL"):
        receive(1000)

    kept = {row.key for row in journal.images(limit=1000)}
    with sqlite3.connect(tmp_path / "journal.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert kept == {image(number).key for number in range(len(kept))}


def test_who_was_cut_off_in_a_transaction_keeps_no_row(
    postgresql, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection stays open, for nobody told the server that the cable was pulled."""
    monkeypatch.setattr(database, "_ABANDONED_SECONDS", 1)
    url = postgresql.make_database()
    cut_off, other = Journal(url), Journal(url)
    other.migrate()
    key = other.record_received(image(1)).key
    with (  # noqa: PT012 the error comes from the end of the inner block
        pytest.raises(JournalError, match="database fails"),
        cut_off._database.writing() as transaction,
    ):
        transaction.exec_driver_sql("UPDATE image SET attempts = 9")
        job = other.lease_analysis(key, 10)
    assert job is not None
    assert job.attempt == 1
    assert cut_off.image(key) is not None, "it goes on with a new connection"
    for journal in (cut_off, other):
        journal.close()
