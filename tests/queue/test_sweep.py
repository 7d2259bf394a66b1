"""What a crash leaves in the spool is adopted or removed, and nothing else is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from service.audit.trail import AuditTrail
from service.config import Settings
from service.ingest.commitment import CommitmentScp
from service.ingest.scp import StorageScp
from service.journal.journal import Journal, JournalError
from service.journal.records import AnalysisOutcome, ImageState
from service.monitoring.metrics import Metrics
from service.scu import Peer, StorageObject, send_objects
from service.spool import Spool
from service.sweep import UNREADABLE, Sweeper

PARCEL = "cd" * 16


class DyingJournal(Journal):
    """Where ``dead`` is set, ingest dies after its file and before its row."""

    dead = False

    def record_received(self, image):
        if self.dead:
            raise JournalError("killed")
        return super().record_received(image)


class Office:
    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder / "spool")
        self.spool.prepare()
        self.journal = DyingJournal(f"sqlite:///{folder / 'journal.sqlite3'}", quiet_seconds=60)
        self.journal.migrate()
        self.metrics = Metrics()
        self.settings = Settings.model_validate(
            {"keeper": {"sweep_seconds": 256, "sweep_age": 100}, "ingest": {"low_water_bytes": 0}}
        )
        self.time = 0.0

    def sweeper(self) -> Sweeper:
        return Sweeper(
            self.settings, self.spool, self.journal, self.metrics, clock=lambda: self.time
        )

    def sweep_all(self, rounds: int = 2) -> None:
        self.time = 0.0
        sweeper = self.sweeper()
        for number in range(1, rounds + 1):
            self.time = 257.0 * number
            sweeper.sweep()

    def send(self, data_set: Dataset, syntax: str) -> int | None:
        ingest = self.settings.ingest.model_copy(update={"port": 0})
        commitment = CommitmentScp(self.settings, self.spool, self.journal, self.metrics)
        scp = StorageScp(
            ingest,
            self.spool,
            self.journal,
            lambda _: None,
            self.metrics,
            commitment,
            AuditTrail(self.spool.root / "audit", self.metrics),
        )
        scp.start()
        try:
            item = StorageObject(
                Path("x"), data_set.SOPClassUID, data_set.SOPInstanceUID, syntax, data_set
            )
            peer = Peer("127.0.0.1", scp.port, "SECONDREAD")
            (outcome,) = send_objects([item], peer, "SCANNER")
            return outcome.status
        finally:
            scp.stop(drain=0)

    def swept(self, outcome: str) -> float:
        labels = {"outcome": outcome}
        return self.metrics.registry.get_sample_value("secondread_swept_total", labels) or 0.0

    def images(self) -> list[Path]:
        return list(self.spool.root.glob("images/*/*.dcm"))


@pytest.fixture
def office(tmp_path: Path):
    office = Office(tmp_path)
    yield office
    office.journal.close()


@pytest.fixture
def image() -> Callable[..., Dataset]:
    def make(syntax: str, sop_class: str = "1.2.840.10008.5.1.4.1.1.6.1") -> Dataset:
        data_set = Dataset()
        data_set.ensure_file_meta()
        data_set.file_meta.TransferSyntaxUID = syntax
        data_set.SOPClassUID = sop_class
        data_set.SOPInstanceUID = "1.2.826.0.1.7"
        data_set.StudyInstanceUID = "1.2.826.0.1.8"
        data_set.PatientName = "DOE^JANE"
        return data_set

    return make


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_an_image_without_a_row_gets_the_one_that_ingest_would_have_made(
    office: Office, image, syntax: str
) -> None:
    office.journal.dead = True
    assert office.send(image(syntax), syntax) == 0xA700
    office.journal.dead = False
    (path,) = office.images()

    office.sweep_all()

    assert office.swept("adopted") == 1
    (row,) = office.journal.images()
    assert (row.key, row.state) == (path.stem, ImageState.RECEIVED)
    assert row.sop_instance_uid == "1.2.826.0.1.7"
    assert row.study_instance_uid == "1.2.826.0.1.8"
    assert office.send(image(syntax), syntax) == 0
    (again,) = office.journal.images()
    assert again.duplicates == 1, "the scanner's next attempt is the same image"


def test_what_is_never_analysed_is_adopted_as_such(office: Office, image) -> None:
    syntax, report = "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.88.33"
    office.journal.dead = True
    office.send(image(syntax, report), syntax)
    office.journal.dead = False
    office.sweep_all()
    assert office.journal.images()[0].state is ImageState.IGNORED


def test_what_was_seen_once_is_left_to_who_writes_it_whatever_its_date(
    office: Office, image
) -> None:
    office.journal.dead = True
    office.send(image("1.2.840.10008.1.2.1"), "1.2.840.10008.1.2.1")
    office.journal.dead = False
    (office.spool.incoming / "young.tmp").write_bytes(b"x")
    office.spool.write_results(PARCEL, [("sr.dcm", b"sr")])
    os.utime(office.images()[0], (0, 0))
    office.sweep_all(rounds=1)
    assert office.journal.images() == []
    assert len(list(office.spool.incoming.iterdir())) == 1
    assert office.spool.results_folder(PARCEL).exists()


@pytest.mark.parametrize("content", [b"", b"half a fi", b"\0" * 128 + b"DICM"])
def test_a_file_that_is_not_what_its_name_says_is_kept_and_recorded(
    office: Office, caplog, content: bytes
) -> None:
    keys = ["ab" * 16, "ac" * 16]
    for key in keys:
        path = office.spool.image_path(key)
        path.parent.mkdir()
        path.write_bytes(content)
    office.sweep_all(rounds=4)
    for key in keys:
        assert office.spool.image_path(key).exists()
        row = office.journal.image(key)
        assert (row.state, row.ignored_reason) == (ImageState.IGNORED, UNREADABLE)
    assert office.swept("unreadable") == 2, "once each, not at each round"
    assert "is no image that was received" in caplog.text


def test_results_stay_while_somebody_may_record_them(office: Office, image) -> None:
    """As of a worker that is frozen between its files and its row."""
    office.send(image("1.2.840.10008.1.2.1"), "1.2.840.10008.1.2.1")
    (row,) = office.journal.images()
    job = office.journal.lease_analysis(row.key, 10)
    assert job is not None
    folder = office.spool.write_results(job.parcel, [("sr.dcm", b"sr")])
    office.sweep_all()
    outcome = AnalysisOutcome(ImageState.ANALYSED, "m" * 64, objects=("sr.dcm",))
    assert office.journal.record_outcome(job, outcome, {"pacs": ("sr.dcm",)})
    office.sweep_all()
    assert [path.name for path in folder.iterdir()] == ["sr.dcm"]


def test_temporary_files_and_results_without_a_row_go(office: Office) -> None:
    left_over = office.spool.incoming / "old.tmp"
    left_over.write_bytes(b"x")
    office.spool.write_results(PARCEL, [("sr.dcm", b"sr")])
    office.sweep_all()
    assert not left_over.exists()
    assert not office.spool.results_folder(PARCEL).exists()
    assert office.swept("removed") == 2


def test_results_with_a_row_stay(office: Office, image) -> None:
    office.send(image("1.2.840.10008.1.2.1"), "1.2.840.10008.1.2.1")
    (row,) = office.journal.images()
    job = office.journal.lease_analysis(row.key, 10)
    assert job is not None
    folder = office.spool.write_results(job.parcel, [("sr.dcm", b"sr")])
    outcome = AnalysisOutcome(ImageState.ANALYSED, "m" * 64, objects=("sr.dcm",))
    office.journal.record_outcome(job, outcome, {"pacs": ("sr.dcm",)})
    left_over = folder / ".sr.dcm.12.tmp"
    left_over.write_bytes(b"half")
    office.sweep_all()
    assert [path.name for path in folder.iterdir()] == ["sr.dcm"]
    assert len(office.images()) == 1
    assert office.swept("adopted") == 0


def test_the_whole_spool_is_looked_at_once_in_a_round(office: Office) -> None:
    sweeper = office.sweeper()
    seen: list[str] = []
    sweeper._sweep_images = seen.append
    for second in range(257):
        office.time = float(second)
        sweeper.sweep()
    assert seen == [f"{number:02x}" for number in range(256)]
    office.time += 100_000
    sweeper.sweep()
    assert len(seen) == 512, "what was missed is made up for once"
