"""The journal's database: engine, transactions, and errors that give nothing away."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

_POSTGRESQL = "postgresql+psycopg"
_VALUES_A_QUERY = 500
_LOCK_SECONDS = 30
"""How long a transaction waits for another one to end before it gives up."""
_ABANDONED_SECONDS = 10
"""After which PostgreSQL undoes a transaction whose client, cut off or frozen, is silent."""
_SILENCE: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A server that is cut off is known as gone within a minute, not by the kernel's two hours."""


class JournalError(Exception):
    """The database cannot be used; the text says what the operator should do (no secrets)."""


class Conflict(JournalError):
    """Somebody else inserted the same row at the same moment."""


class Database:
    """One SQLite file (WAL, synchronous FULL) or one PostgreSQL database. Thread-safe.

    file: the SQLite file, None on PostgreSQL.
    Raises JournalError for a URL that is neither. Connects when it is first used.
    """

    def __init__(self, url: str) -> None:
        self.file: Path | None = None
        parsed = _parse(url)
        if parsed.get_backend_name() == "sqlite":
            self.file = Path(parsed.database or "")
            self._writer = _sqlite_engine(parsed)
            self._reader = self._writer.execution_options(begin="BEGIN")
        else:
            self._writer = _postgresql_engine(parsed)
            self._reader = self._writer.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, on disk at the end of the block; an exception undoes it."""
        with _in_our_words(), self._turn(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One snapshot, which waits for no writer. Raises JournalError if there is no file."""
        if self.file is not None and not self.file.exists():
            raise JournalError(f"there is no journal at {self.file}; did the service run here?")
        with _in_our_words(), self._reader.begin() as connection:
            yield connection

    def prepare(self) -> None:
        """Make a SQLite file that keeps its changes in a write-ahead log; for everybody, once."""
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"cannot make {self.file.parent} ({type(error).__name__})") from None
        outside = self._writer.execution_options(begin="")
        with _in_our_words(), self._turn(), outside.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """On SQLite, queue for the write lock in the kernel, threads and processes alike.

        Who waits for SQLite's own lock sleeps between looks: under a storm of insertions the
        keeper waited up to 2.8 s for it, and 0.1 s in this queue. A kill ends the turn.
        """
        if self.file is None:
            yield
            return
        try:
            turn = self.file.with_name(f"{self.file.name}-turn").open("wb")
        except OSError as error:
            raise JournalError(
                f"cannot write beside {self.file} ({type(error).__name__})"
            ) from None
        with turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            try:
                yield
            finally:  # closing would not do where a child was forked meanwhile
                fcntl.flock(turn, fcntl.LOCK_UN)

    def close(self) -> None:
        self._writer.dispose()


def batches(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """As many values at a time as one query may name."""
    for start in range(0, len(values), _VALUES_A_QUERY):
        yield values[start : start + _VALUES_A_QUERY]


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise JournalError("journal.url is not a database URL") from None
    if parsed.drivername in ("postgres", "postgresql", _POSTGRESQL):
        return parsed.set(drivername=_POSTGRESQL)
    if parsed.drivername == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    raise JournalError("journal.url must be sqlite:///FILE or postgresql://USER@HOST/DATABASE")


def _sqlite_engine(url: URL) -> Engine:
    """An engine that says itself when a transaction begins.

    The driver would begin one only before the first change, after the reads that led to it; a
    writer must hold SQLite's lock from its first statement on (BEGIN IMMEDIATE).
    Source: SQLAlchemy, SQLite dialect, "Enabling Non-Legacy SQLite Transactional Modes".
    """
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _LOCK_SECONDS})

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16384")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get("begin", "BEGIN IMMEDIATE")
        if statement:
            connection.exec_driver_sql(statement)

    return engine


def _postgresql_engine(url: URL) -> Engine:
    """An engine whose transactions hold no lock for longer than their client lives.

    A host whose cable is pulled closes no connection, so its transactions would stay, and with them
    the rows that it had changed: other hosts would wait for them until it is back.
    """
    limits = {"connect_timeout": _LOCK_SECONDS} | _SILENCE
    own = {name: value for name, value in limits.items() if name not in url.query}
    try:
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=own)
    except ImportError:
        raise JournalError("a journal on PostgreSQL needs secondread[postgres]") from None

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: object) -> None:
        # Not by the connection's options: a pooler between us and the server refuses those.
        connection.execute(f"SET idle_in_transaction_session_timeout = '{_ABANDONED_SECONDS}s'")
        connection.commit()

    return engine


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Turn SQLAlchemy's errors into JournalError.

    Texts and causes of the driver are left out: they hold values of rows, or the URL.
    """
    try:
        yield
    except IntegrityError:
        raise Conflict("the journal has this row already") from None
    except DBAPIError as error:
        raise JournalError(
            f"the journal's database fails ({_code(error)}): is it reachable, is its disk full or"
            " read-only, are user and password right?"
        ) from None
    except SQLAlchemyError as error:
        raise JournalError(f"the journal cannot be used ({type(error).__name__})") from None


def _code(error: DBAPIError) -> str:
    """The driver's own code, such as SQLITE_FULL or 28P01; else the class's name."""
    code = getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None)
    return str(code or type(error.orig).__name__)
