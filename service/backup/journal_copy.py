"""The journal as a file, as it is at one moment, while others write it; and back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from service.backup.contents import BackupError, Database


def database_of(url: str) -> Database:
    """url: of a journal that was opened, so that it is one of the two."""
    name = make_url(url).get_backend_name()
    return Database.SQLITE if name == "sqlite" else Database.POSTGRESQL


def copy_journal(url: str, target: Path) -> None:
    """Write the journal into the new file ``target``. Raises BackupError, OSError.

    SQLite: its online backup in one step, which holds up no writer of a write-ahead log (source:
    sqlite.org/backup.html). PostgreSQL: pg_dump, which works in one snapshot.
    """
    parsed = make_url(url)
    if database_of(url) is Database.POSTGRESQL:
        _run("pg_dump", ["--format=custom", "--no-owner", f"--file={target}"], parsed)
        _sync(target)
        return
    source = Path(parsed.database or "")
    if not source.exists():
        raise BackupError(f"there is no journal at {source}; did the service run here?")
    try:
        with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            (sound,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"the journal cannot be copied ({type(error).__name__})") from None
    if sound != "ok":
        raise BackupError("the journal is damaged: keep your older backups, and restore one")
    _sync(target)


def restore_journal(copy: Path, url: str) -> None:
    """Bring back a dump into the PostgreSQL database, all or nothing. Raises BackupError.

    A SQLite journal is a file like the others of a backup.
    """
    arguments = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    parsed = make_url(url)
    _run("pg_restore", [*arguments, f"--dbname={parsed.database}", str(copy)], parsed)


def require_empty(url: str) -> None:
    """Raises BackupError if the PostgreSQL database has tables, or cannot be asked."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), hide_parameters=True)
    try:
        tables = inspect(engine).get_table_names()
    except SQLAlchemyError:
        raise BackupError("the journal's database does not answer: see journal.url") from None
    finally:
        engine.dispose()
    if tables:
        raise BackupError("the journal's database is not empty: name an empty one in journal.url")


def _run(program: str, arguments: Sequence[str], url: URL) -> None:
    """Login by the environment, for other users see a process's arguments.

    What the program says may quote rows, so it is not passed on.
    """
    path = shutil.which(program)
    if path is None:
        raise BackupError(f"{program} is not installed: it comes with PostgreSQL's client programs")
    given = {
        "PGHOST": url.host or _first(url.query.get("host")),
        "PGPORT": str(url.port) if url.port else None,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
        "PGSSLMODE": _first(url.query.get("sslmode")),
        "PGSSLROOTCERT": _first(url.query.get("sslrootcert")),
        "PGCONNECT_TIMEOUT": "30",
    }
    environment = {name: value for name, value in given.items() if value}
    done = subprocess.run(  # noqa: S603 our own arguments
        [path, "--no-password", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise BackupError(
            f"{program} failed (exit code {done.returncode}): does the database answer, and is"
            f" {program} as new as its server? `{program} --version` tells"
        )


def _first(value: str | tuple[str, ...] | None) -> str | None:
    return value[0] if isinstance(value, tuple) else value


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
