"""The counts that are kept are those of the rows, whatever happened to them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from alembic import command
from sqlalchemy import create_engine, delete, func, select, text

from service.journal import migrations, tally
from service.journal.journal import Journal
from service.journal.records import ImageState
from service.journal.schema import delivery, image, result, study

_COUNTED = {image: None, study: None, delivery: delivery.c.destination, result: result.c.reason}


def _rows(journal: Journal) -> Counter[tuple[str, str | None, str]]:
    """What reading the whole tables says."""
    counted: Counter[tuple[str, str | None, str]] = Counter()
    with journal._database.reading() as connection:
        for table, name in _COUNTED.items():
            columns = [table.c.state] if name is None else [table.c.state, name]
            for row in connection.execute(select(*columns, func.count()).group_by(*columns)):
                named = None if name is None else row[1]
                counted[table.name, named, str(row[0])] += row[-1]
    return counted


def _kept(journal: Journal) -> dict[tuple[str, str | None, str], int]:
    with journal._database.reading() as connection:
        counts = tally.read(connection)
    return {(each.about, each.name, each.state): each.number for each in counts if each.number}


def _entries(journal: Journal) -> int:
    with journal._database.reading() as connection:
        return int(connection.execute(text("SELECT COUNT(*) FROM tally")).scalar_one())


def _busy(journal: Journal, image: Any, analysed: Any, not_analysable: Any) -> None:
    """Each kind of row in several states."""
    for number in range(1, 9):
        analysed(number, "pacs", "research")
    for number in (1, 2, 3):
        for destination in ("pacs", "research"):
            job = journal.lease_delivery(f"{number:032x}", destination, 10)
            assert job is not None
            assert journal.record_delivered(job)
    job = journal.lease_delivery(f"{4:032x}", "pacs", 10)
    assert job is not None
    journal.record_delivery_failure(job, "refused", None, refused=True)
    journal.record_received(image(20, study_instance_uid="1.2.3"))
    journal.record_received(image(20))
    journal.record_received(image(21, ignored_reason="key-object"))
    analysis = journal.lease_analysis(f"{20:032x}", 10)
    assert analysis is not None
    assert journal.record_outcome(analysis, not_analysable, {})


def test_counts_are_those_of_the_rows(
    journal: Journal, image: Any, analysed: Any, not_analysable: Any
) -> None:
    _busy(journal, image, analysed, not_analysable)
    assert _kept(journal) == _rows(journal)
    assert journal.counts().images[ImageState.DELIVERED] == 3

    journal.replay([f"{4:032x}"])
    with journal._database.writing() as connection:
        connection.execute(delete(delivery).where(delivery.c.destination == "research"))
    assert _kept(journal) == _rows(journal)


def test_gathering_changes_no_count_and_leaves_few_entries(
    journal: Journal, image: Any, analysed: Any, not_analysable: Any, monkeypatch: Any
) -> None:
    _busy(journal, image, analysed, not_analysable)
    before, entries = _kept(journal), _entries(journal)
    journal.gather_counts()
    assert _entries(journal) == entries  # not yet many

    monkeypatch.setattr(tally, "_MANY", 10)
    journal.gather_counts()
    assert _kept(journal) == before
    assert _entries(journal) == len(before)


def test_a_change_that_is_undone_is_not_counted(journal: Journal, image: Any) -> None:
    journal.record_received(image(1))
    try:
        with journal._database.writing() as connection:
            connection.execute(text("UPDATE image SET state = 'failed'"))
            raise RuntimeError
    except RuntimeError:
        pass
    assert _kept(journal) == {("image", None, "received"): 1}


def test_gathering_loses_nothing_that_is_recorded_meanwhile(
    journal: Journal, image: Callable[..., Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(tally, "_MANY", 0)
    finished = threading.Event()

    def gather() -> None:
        while not finished.is_set():
            journal.gather_counts()

    def record(first: int) -> None:
        for number in range(first, first + 40):
            journal.record_received(image(number))

    gatherers = [threading.Thread(target=gather) for _ in range(2)]
    recorders = [threading.Thread(target=record, args=[1000 * each]) for each in (1, 2)]
    for thread in (*gatherers, *recorders):
        thread.start()
    for thread in recorders:
        thread.join(60)
    finished.set()
    for thread in gatherers:
        thread.join(60)
    assert _kept(journal) == {("image", None, "received"): 80}


def test_what_is_in_an_older_journal_is_counted(url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        now = "2026-01-01 00:00:00"
        connection.execute(
            text(
                "INSERT INTO image (key, sop_instance_uid, sop_class_uid, transfer_syntax_uid,"
                " digest, size_bytes, calling_ae_title, revision, edition, state, duplicates,"
                " received_at, attempts, available_at) VALUES"
                f" ('k1', '1.1', '1', '1', 'd', 1, 'AE', 0, 0, 'received', 0, '{now}', 0, '{now}'),"
                f" ('k2', '1.2', '1', '1', 'd', 1, 'AE', 0, 0, 'failed', 0, '{now}', 0, '{now}')"
            )
        )
    engine.dispose()
    journal = Journal(url)
    journal.migrate()
    assert _kept(journal) == _rows(journal)
    assert journal.counts().images[ImageState.FAILED] == 1
    journal.close()
