"""Ingest, workers and keeper are processes of their own that share one journal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from service.journal.journal import Journal
from service.journal.records import ReceivedImage

Image = Callable[..., ReceivedImage]
Process = subprocess.Popen[str]
SCRIPT = Path(__file__).with_name("process.py")


@contextmanager
def processes(
    count: int, action: str, url: str, keys: Sequence[str] = ()
) -> Iterator[list[Process]]:
    """``count`` processes that start to act at the same moment; killed at the end."""
    command = [sys.executable, str(SCRIPT), action, url, *keys]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_each_job_is_taken_by_exactly_one_of_two_processes(
    journal: Journal, url: str, image: Image
) -> None:
    keys = [journal.record_received(image(number)).key for number in range(200)]

    with processes(2, "lease", url, keys) as (one, other):
        taken = [process.communicate(timeout=60)[0].split() for process in (one, other)]

    assert sorted(taken[0] + taken[1]) == keys


def test_on_sqlite_no_process_starves_while_another_writes_without_pause(tmp_path: Path) -> None:
    """SQLite's own waiting looks at the lock less and less often: one process would get it all."""
    url = f"sqlite:///{tmp_path / 'journal.sqlite3'}"
    Journal(url).migrate()
    keys = [f"{number:032x}" for number in range(1, 20001)]

    with processes(2, "receive", url, keys) as storm:
        for process in storm:
            assert process.stdout is not None
            first_turns = [process.stdout.readline() for _ in range(50)]
            assert all(first_turns)
        # Whoever was slower has had its turns long before the other was done.
        assert all(process.poll() is None for process in storm)


def test_processes_that_migrate_at_once_make_one_schema(url: str) -> None:
    with processes(3, "migrate", url) as migrating:
        for process in migrating:
            assert process.communicate(timeout=60)[0] == "migrated\n"
            assert process.returncode == 0


def test_what_was_acknowledged_survives_a_kill(journal: Journal, url: str) -> None:
    keys = [f"{number:032x}" for number in range(1, 3001)]

    with processes(1, "receive", url, keys) as (ingest,):
        assert ingest.stdout is not None
        acknowledged = [ingest.stdout.readline().strip() for _ in range(40)]
        ingest.kill()
        acknowledged += ingest.stdout.read().split()

    assert len(acknowledged) < len(keys), "it was killed at work"
    rows = {row.key for row in journal.images(limit=len(keys))}
    assert rows >= set(acknowledged)
    assert len(rows) <= len(acknowledged) + 1, "at most the one that was being answered"


def test_a_kill_in_mid_transaction_leaves_nothing_behind(
    journal: Journal, url: str, image: Image
) -> None:
    before = journal.record_received(image(1)).key

    with processes(1, "receive_half", url, [image(2).key]) as (ingest,):
        assert ingest.stdout is not None
        assert ingest.stdout.readline() == "inserted\n"
        assert journal.image(image(2).key) is None, "others do not see it"
        ingest.kill()
        ingest.wait(10)

        assert journal.image(image(2).key) is None
        assert not journal.record_received(image(2)).duplicate
        assert journal.lease_analysis(before, 10) is not None


def test_sqlite_is_sound_after_a_kill(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'journal.sqlite3'}"
    Journal(url).migrate()
    with processes(1, "receive", url, [f"{number:032x}" for number in range(1, 3001)]) as (ingest,):
        assert ingest.stdout is not None
        ingest.stdout.readline()
        ingest.kill()
        ingest.wait(10)

    with create_engine(url).connect() as connection:
        assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
