"""Ingest, the keeper's sweep, commitment, backup and doctor, with the spool in a bucket."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from service.backup.restoring import Lacking, Restore
from service.backup.taking import Backup
from service.commitment.verdict import PROCESSING_FAILURE, failures
from service.journal.journal import Journal, JournalError
from service.journal.records import AnalysisOutcome, ImageState
from service.monitoring.metrics import Metrics
from service.scu import StorageObject, send_objects
from service.spool import StoreError, image_name, result_name
from service.sweep import UNREADABLE, Sweeper
from tests.ingest.conftest import Ingest, journal, start_ingest  # noqa: F401 fixtures
from tests.s3.server import S3Server

EXPLICIT_LE = "1.2.840.10008.1.2.1"
PARCEL = "cd" * 16


class DyingJournal(Journal):
    """Where ``dead`` is set, ingest dies after its file and before its row."""

    dead = False

    def record_received(self, image):
        if self.dead:
            raise JournalError("killed")
        return super().record_received(image)


def send(ingest: Ingest, uid: str = "1.2.826.0.1.7") -> int | None:
    data_set = Dataset()
    data_set.ensure_file_meta()
    data_set.file_meta.TransferSyntaxUID = EXPLICIT_LE
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    data_set.SOPInstanceUID = uid
    data_set.StudyInstanceUID = "1.2.826.0.1.8"
    item = StorageObject(Path("x"), data_set.SOPClassUID, uid, EXPLICIT_LE, data_set)
    (outcome,) = send_objects([item], ingest.peer, "SCANNER")
    return outcome.status


@pytest.fixture
def dying_journal(tmp_path: Path):
    with closing(DyingJournal(f"sqlite:///{tmp_path / 'dying.sqlite3'}")) as made:
        made.migrate()
        yield made


def test_success_means_that_it_is_in_the_bucket(
    s3: S3Server,
    bucket: str,
    open_host,
    start_ingest,  # noqa: F811
) -> None:
    ingest = start_ingest(spool=open_host("a"))
    assert send(ingest) == 0
    assert send(ingest) == 0
    (row,) = ingest.rows()
    assert row.duplicates == 1
    assert s3.names(bucket) == [f"images/{row.key[:2]}/{row.key}.dcm"]


def test_a_store_that_is_down_refuses_for_now_and_leaves_nothing(
    s3: S3Server,
    open_host,
    start_ingest,  # noqa: F811
) -> None:
    ingest = start_ingest(spool=open_host("a"))
    s3.kill()
    try:
        assert send(ingest) == 0xA700
    finally:
        s3.start()
    assert ingest.rows() == []
    assert ingest.incoming() == []
    assert ingest.count("refused") == 1
    assert send(ingest) == 0


def test_a_crash_between_bucket_and_row_is_adopted_by_any_keeper(
    s3: S3Server,
    bucket: str,
    open_host,
    start_ingest,  # noqa: F811
    dying_journal: DyingJournal,
    tmp_path: Path,
) -> None:
    ingest = start_ingest(spool=open_host("a"), journal=dying_journal)
    dying_journal.dead = True
    assert send(ingest) == 0xA700
    dying_journal.dead = False
    (name,) = s3.names(bucket)
    strange = {"ab" * 16: {}, "ac" * 16: {"sha256": "0" * 64}}
    for key, said in strange.items():
        s3.client.put_object(Bucket=bucket, Key=image_name(key), Body=b"half a fi", Metadata=said)
    keeper = open_host("b")
    keeper.write_results(PARCEL, [("sr.dcm", b"of a worker that died")])
    settings = s3.settings(bucket, tmp_path, keeper={"sweep_seconds": 256, "sweep_age": 100})
    now, metrics = 0.0, Metrics()
    sweeper = Sweeper(settings, keeper, dying_journal, metrics, clock=lambda: now)
    for now in (257.0, 514.0):
        if now > 257:
            assert dying_journal.images() == [], "what was seen once is left to who writes it"
        sweeper.sweep()
    swept = {
        outcome: metrics.registry.get_sample_value("secondread_swept_total", {"outcome": outcome})
        for outcome in ("adopted", "unreadable", "removed")
    }
    assert swept == {"adopted": 1, "unreadable": 2, "removed": 1}
    rows = {row.key: row for row in dying_journal.images()}
    assert rows[Path(name).stem].sop_instance_uid == "1.2.826.0.1.7"
    assert {rows[key].ignored_reason for key in strange} == {UNREADABLE}
    assert len(s3.names(bucket)) == 3
    assert send(ingest) == 0, "the scanner's next attempt is the same image"
    assert len(dying_journal.images()) == 3


def test_committed_is_what_the_store_has_not_what_a_copy_says(
    s3: S3Server,
    bucket: str,
    open_host,
    start_ingest,  # noqa: F811
) -> None:
    spool = open_host("a")
    ingest = start_ingest(spool=spool)
    assert send(ingest) == 0
    (row,) = ingest.rows()
    reference = (row.sop_class_uid, row.sop_instance_uid)
    kept = ingest.journal.kept([reference])
    assert failures([reference], kept, spool) == {}
    s3.freeze()
    try:
        with pytest.raises(StoreError):
            failures([reference], kept, open_host("a", timeout=0.3))
    finally:
        s3.thaw()
    s3.client.delete_object(Bucket=bucket, Key=s3.names(bucket)[0])
    assert spool.image_path(row.key).exists()
    assert failures([reference], kept, spool) == {reference: PROCESSING_FAILURE}


def test_a_backup_comes_back_into_another_bucket(
    s3: S3Server,
    bucket: str,
    open_host,
    start_ingest,  # noqa: F811
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "a"
    data_dir.mkdir()
    with closing(Journal(f"sqlite:///{data_dir / 'journal.sqlite3'}")) as here:
        here.migrate()
        spool = open_host("a")
        assert send(start_ingest(spool=spool, journal=here)) == 0
        (row,) = here.images()
        job = here.lease_analysis(row.key, 10)
        assert job is not None
        spool.write_results(job.parcel, [("sr.dcm", b"report")])
        outcome = AnalysisOutcome(ImageState.ANALYSED, "m" * 64, objects=("sr.dcm",))
        assert here.record_outcome(job, outcome, {"pacs": ("sr.dcm",)})
    backup = Backup(s3.settings(bucket, data_dir), tmp_path / "backup")
    backup.copy_journal()
    for name in backup.files():
        backup.copy(name)
    backup.finish()

    other = s3.make_bucket()
    restore = Restore(s3.settings(other, tmp_path / "b"), tmp_path / "backup")
    for name in restore.files():
        restore.bring_back(name)
    assert restore.finish() == Lacking((), ())
    assert s3.names(other) == s3.names(bucket)
    s3.client.delete_object(Bucket=bucket, Key=result_name(job.parcel, "sr.dcm"))
    again = Backup(s3.settings(bucket, data_dir), tmp_path / "again")
    again.copy_journal()
    for name in again.files():
        again.copy(name)
    again.finish()
    restore = Restore(s3.settings(s3.make_bucket(), tmp_path / "c"), tmp_path / "again")
    for name in restore.files():
        restore.bring_back(name)
    assert restore.finish() == Lacking((), (job.parcel,))


@pytest.mark.parametrize("found", [None, False], ids=["answers unencrypted", "refuses"])
def test_the_doctor_looks_at_the_bucket(
    s3: S3Server, bucket: str, tmp_path: Path, found: bool | None
) -> None:
    section = s3.spool(bucket if found is None else "elsewhere")
    environment = {f"SECONDREAD_SPOOL__{key.upper()}": str(value) for key, value in section.items()}
    config = tmp_path / "secondread.toml"
    config.write_text(f'data_dir = "{tmp_path}"')
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "doctor", "--json", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path), **environment},
    )
    (finding,) = [each for each in json.loads(done.stdout) if each["subject"] == "spool"]
    assert finding["good"] is found
    assert ("unencrypted" if found is None else "NoSuchBucket") in finding["found"]
    assert s3.names(bucket) == [], "nothing is left of the look"
    assert s3.secret_key not in done.stdout + done.stderr
