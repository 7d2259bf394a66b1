"""Backup and restore of a journal with its spool, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from service.analysis.model_store import ModelStore
from service.backup.contents import (
    BackupError,
    read_description,
    read_sums,
    write_description,
    write_sums,
)
from service.backup.restoring import Lacking, Restore
from service.backup.taking import Backup
from service.config import Settings
from service.journal.journal import Journal
from service.journal.records import PROBE_AE_TITLE, ImageState
from service.spool import Spool
from tests.system.conftest import make_small_model

LONG = 600.0


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    """Of a service that has run, with an account and an audit trail."""
    settings = Settings(data_dir=tmp_path / "data", journal={"url": url})
    Spool(settings.spool_dir).prepare()
    settings.audit_dir.mkdir()
    (settings.audit_dir / "2025-03-01.jsonl").write_text("{}\n")
    settings.accounts_file.write_text("{}")
    return settings


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Settings:
    """Of a service that has not run yet."""
    if url.startswith("postgresql"):
        url = request.getfixturevalue("postgresql").make_database()
    else:
        url = f"sqlite:///{tmp_path / 'elsewhere' / 'journal.sqlite3'}"
    return Settings(data_dir=tmp_path / "elsewhere", journal={"url": url})


@pytest.fixture
def receive(journal: Journal, settings: Settings, image):
    """``receive(number)``: as ingest does, first the file, then the row. Returns the key."""
    spool = Spool(settings.spool_dir)

    def receive(number: int) -> str:
        received = image(number)
        temporary = spool.incoming / f"{number}.tmp"
        temporary.write_bytes(b"image %d" % number)
        spool.keep_image(received.key, temporary)
        journal.record_received(received)
        return received.key

    return receive


def back_up(settings: Settings, folder: Path) -> Path:
    backup = Backup(settings, folder)
    backup.copy_journal()
    for name in backup.files():
        backup.copy(name)
    backup.finish()
    return folder


def restore(settings: Settings, folder: Path) -> Lacking:
    back = Restore(settings, folder)
    try:
        for name in back.files():
            back.bring_back(name)
        return back.finish()
    except BaseException:
        back.undo()
        raise


def test_rows_and_files_come_back(
    receive, journal, scored, settings, elsewhere, tmp_path: Path
) -> None:
    analysed, waiting = receive(1), receive(2)
    job = journal.lease_analysis(analysed, LONG)
    Spool(settings.spool_dir).write_results(job.parcel, [("sr.dcm", b"report"), ("sc.dcm", b"")])
    assert journal.record_outcome(job, scored, {"pacs": scored.objects})

    lacking = restore(elsewhere, back_up(settings, tmp_path / "backup"))

    assert lacking == Lacking((), ())
    after, spool = Journal(elsewhere.journal_url), Spool(elsewhere.spool_dir)
    assert after.image(analysed) == journal.image(analysed)
    assert after.image(waiting).state is ImageState.RECEIVED
    assert spool.image_path(waiting).read_bytes() == b"image 2"
    assert (spool.results_folder(job.parcel) / "sr.dcm").read_bytes() == b"report"
    assert after.lease_delivery(job.parcel, "pacs", LONG) is not None
    assert elsewhere.accounts_file.read_text() == "{}"
    assert (elsewhere.audit_dir / "2025-03-01.jsonl").read_text() == "{}\n"
    after.close()


def test_while_images_come_each_row_of_the_copy_finds_its_file(
    receive, settings, elsewhere, eventually, tmp_path: Path
) -> None:
    stop, received = threading.Event(), []

    def scanner() -> None:
        while not stop.is_set():
            received.append(receive(len(received)))

    thread = threading.Thread(target=scanner)
    thread.start()
    try:
        eventually(lambda: len(received) >= 20)
        before = len(received)
        backup = Backup(settings, tmp_path / "backup")
        backup.copy_journal()
        during = len(received)
        eventually(lambda: len(received) > during + 5)
        for name in backup.files():
            backup.copy(name)
        backup.finish()
    finally:
        stop.set()
        thread.join()
    assert restore(elsewhere, tmp_path / "backup") == Lacking((), ())
    after = Journal(elsewhere.journal_url)
    known = after.known_images(received)
    assert known >= set(received[:before])
    files = {path.stem for path in elsewhere.spool_dir.glob("images/*/*.dcm")}
    assert known < files, "what came after the journal's copy is there for the sweeper"
    after.close()


def test_a_probe_stays_behind(journal, image, settings, elsewhere, tmp_path: Path) -> None:
    """Its files may have gone between the journal's copy and the spool's."""
    probe = image(3, calling_ae_title=PROBE_AE_TITLE)
    journal.announce_probe(probe.sop_instance_uid)
    journal.record_received(probe)
    assert journal.every_probe() == [(probe.key, [])]
    assert restore(elsewhere, back_up(settings, tmp_path / "backup")) == Lacking((), ())
    after = Journal(elsewhere.journal_url)
    assert after.image(probe.key) is None
    assert after.every_probe() == []
    after.close()


def test_work_whose_files_are_gone_is_told(receive, settings, elsewhere, tmp_path: Path) -> None:
    key = receive(1)
    Spool(settings.spool_dir).image_path(key).unlink()
    assert restore(elsewhere, back_up(settings, tmp_path / "backup")) == Lacking((key,), ())


def test_installed_models_come_back(settings, elsewhere, journal, tmp_path: Path) -> None:
    store, sha256 = activated(settings, tmp_path)
    assert restore(elsewhere, back_up(settings, tmp_path / "backup")) == Lacking((), ())
    after = ModelStore(elsewhere)
    assert after.state() == store.state()
    assert after.active().manifest == store.active().manifest
    assert [path.name for path in after.folder.iterdir() if path.is_dir()] == [sha256]


def test_a_model_that_is_to_be_used_and_is_not_there_is_told(
    settings, elsewhere, journal, image, tmp_path: Path
) -> None:
    store, sha256 = activated(settings, tmp_path)
    shutil.rmtree(store.folder / sha256)
    journal.record_received(replace(image(1), study_instance_uid="1.2.900.1"))
    journal.choose_model("1.2.900.1", "f" * 64)
    lacking = restore(elsewhere, back_up(settings, tmp_path / "backup"))
    assert set(lacking.models) == {sha256, "f" * 64}


def activated(settings: Settings, tmp_path: Path) -> tuple[ModelStore, str]:
    """A store with one package, which is active, and its digest."""
    (tmp_path / "package").mkdir()
    store = ModelStore(settings)
    installed = store.install(make_small_model(tmp_path / "package"), lambda _: None)
    store.activate(installed.sha256)
    return store, installed.sha256


def test_nothing_is_restored_over_something(receive, settings, elsewhere, tmp_path: Path) -> None:
    receive(1)
    folder = back_up(settings, tmp_path / "backup")
    elsewhere.data_dir.mkdir()
    (elsewhere.data_dir / "notes").touch()
    with pytest.raises(BackupError, match="is not empty"):
        Restore(elsewhere, folder)
    if not str(settings.journal_url).startswith("sqlite"):
        here = settings.model_copy(update={"data_dir": tmp_path / "third"})
        with pytest.raises(BackupError, match="database is not empty"):
            Restore(here, folder)


def test_a_changed_file_is_noticed_and_nothing_stays(
    receive, settings, elsewhere, tmp_path: Path
) -> None:
    receive(1)
    folder = back_up(settings, tmp_path / "backup")
    (damaged,) = folder.glob("spool/images/*/*.dcm")
    damaged.write_bytes(b"image 9")
    with pytest.raises(BackupError, match="is not what was written"):
        restore(elsewhere, folder)
    assert list(elsewhere.data_dir.iterdir()) == []


@pytest.mark.parametrize("name", ["backup.json", "SHA256SUMS"])
def test_half_a_backup_is_none(receive, settings, elsewhere, tmp_path: Path, name: str) -> None:
    receive(1)
    folder = back_up(settings, tmp_path / "backup")
    (folder / name).write_text((folder / name).read_text()[:-80])
    with pytest.raises(BackupError, match=r"no description|damaged"):
        Restore(elsewhere, folder)
    (folder / "backup.json").unlink()
    with pytest.raises(BackupError, match="no whole backup"):
        Restore(elsewhere, folder)


def test_a_backup_leads_nowhere_else(receive, settings, elsewhere, tmp_path: Path) -> None:
    receive(1)
    folder = back_up(settings, tmp_path / "backup")
    description = read_description(folder)
    digests = read_sums(folder, description) | {"spool/../../outside": "0" * 64}
    sums = write_sums(folder, digests)
    write_description(folder, replace(description, sums_sha256=sums))
    with pytest.raises(BackupError, match="no backup has"):
        Restore(elsewhere, folder)


def test_a_backup_goes_back_to_the_same_kind_of_database(
    receive, settings, elsewhere, tmp_path: Path, url: str
) -> None:
    receive(1)
    folder = back_up(settings, tmp_path / "backup")
    other = "sqlite:////nowhere/journal.sqlite3" if "postgres" in url else "postgresql://a@b/c"
    with pytest.raises(BackupError, match="the same kind"):
        Restore(Settings(data_dir=elsewhere.data_dir, journal={"url": other}), folder)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_without_pg_dump_it_says_so(
    journal, settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError, match="pg_dump is not installed"):
        Backup(settings, tmp_path / "backup").copy_journal()


def test_a_newer_versions_backup_is_refused_and_nothing_stays(
    receive, settings, elsewhere, tmp_path: Path
) -> None:
    receive(1)
    engine = create_engine(settings.journal_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    folder = back_up(settings, tmp_path / "backup")
    with pytest.raises(BackupError, match="newer version"):
        restore(elsewhere, folder)
    assert list(elsewhere.data_dir.iterdir()) == []
