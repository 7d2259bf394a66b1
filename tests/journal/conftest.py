"""A journal on SQLite and on a real PostgreSQL; the same tests run on both."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from service.journal.journal import Journal
from service.journal.records import AnalysisOutcome, ImageState, ReceivedImage

PASSWORD = "not-to-be-shown"


class Clock:
    """Stands still until a test moves it; long ago for other processes, whose clock is real."""

    def __init__(self) -> None:
        self.now = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class PostgreSQL:
    """Debian's PostgreSQL on a free port; it refuses to run as root, so it runs as ``postgres``."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.port = port
        self._user = {}
        if os.geteuid() == 0:
            self._user = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(folder, "postgres", "postgres")
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self._folder / "password").write_text(PASSWORD)
        (self._folder / "password").chmod(0o644)
        data = self._folder / "data"
        command = [_binary("initdb"), "-D", data, "-U", "secondread", "--auth=scram-sha-256"]
        command += [f"--pwfile={self._folder / 'password'}", "-E", "UTF8", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60, **self._user)
        command = [_binary("postgres"), "-D", data, "-p", str(self.port), "-k", self._folder]
        command += ["-h", "127.0.0.1", "-c", "fsync=off"]
        with (self._folder / "server.log").open("wb") as log:
            self._server = subprocess.Popen(command, stderr=log, **self._user)

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def make_database(self) -> str:
        """URL of a new, empty database."""
        name = f"journal_{uuid.uuid4().hex}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://secondread:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(10)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait(10)


def _binary(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: the tests need Debian's postgresql")
    return path


@pytest.fixture(scope="session")
def postgresql(
    free_port: Callable[[], int], eventually: Callable[..., None]
) -> Iterator[PostgreSQL]:
    with tempfile.TemporaryDirectory(prefix="secondread-postgresql-") as folder:
        server = PostgreSQL(Path(folder), free_port())
        try:
            server.start()
            eventually(server.answers, 30)
            yield server
        finally:
            server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'journal.sqlite3'}"
    return str(request.getfixturevalue("postgresql").make_database())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(url: str, clock: Clock) -> Iterator[Journal]:
    journal = Journal(url, clock=clock)
    journal.migrate()
    yield journal
    journal.close()


@pytest.fixture
def image(clock: Clock) -> Callable[..., ReceivedImage]:
    """``image(1)``: the image number 1 with a key, UID and content of its own, received now."""

    def make(number: int = 1, **different: object) -> ReceivedImage:
        values = {
            "key": f"{number:032x}",
            "sop_instance_uid": f"1.2.826.0.1.{number}",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.6.1",
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "digest": f"{number:064x}",
            "size_bytes": 2_360_000,
            "calling_ae_title": "SCANNER",
            "received_at": clock.now,
        }
        return ReceivedImage(**(values | different))  # type: ignore[arg-type]

    return make


@pytest.fixture
def scored() -> AnalysisOutcome:
    """An outcome with everything that an analysis can say."""
    return AnalysisOutcome(
        state=ImageState.ANALYSED,
        model_sha256="ab" * 32,
        objects=("sr.dcm", "sc.dcm"),
        frame=3,
        region=(10, 20, 310, 420),
        probability_malignant=0.75,
        probability_benign=0.25,
        threshold=0.5,
        decision="malignant",
        stage_seconds={"decode": 0.01, "inference": 1.1},
    )


@pytest.fixture
def not_analysable() -> AnalysisOutcome:
    return AnalysisOutcome(
        state=ImageState.NOT_ANALYSABLE,
        model_sha256="ab" * 32,
        objects=("sr.dcm",),
        reason="colour-doppler",
        reason_text="The region shows colour flow.",
    )


@pytest.fixture
def analysed(
    journal: Journal, image: Callable[..., ReceivedImage], scored: AnalysisOutcome
) -> Callable[..., str]:
    """``analysed(1, "pacs")``: the key of an image whose result waits to go to ``pacs``."""

    def make(number: int, *destinations: str) -> str:
        key = journal.record_received(image(number)).key
        job = journal.lease_analysis(key, 10)
        assert job is not None
        assert journal.record_outcome(job, scored, dict.fromkeys(destinations, scored.objects))
        return key

    return make
