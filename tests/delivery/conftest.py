"""Analysed images with results in the spool, a journal whose clock a test moves, and PACS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.overlay import draw_overlay
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from service.audit.trail import AuditTrail
from service.config import Settings
from service.delivery.deliverer import Deliverer
from service.journal.journal import Journal
from service.journal.records import (
    AnalysisOutcome,
    DeliveryRow,
    ImageRow,
    ImageState,
    ReceivedImage,
)
from service.monitoring.metrics import Metrics
from service.spool import Spool
from service.still_image import wrap_pixels
from service.storage_scp import LocalArchive

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PACS = "pacs"


class MoodyArchive(LocalArchive):
    """Gives the statuses of ``answers`` first, storing nothing; afterwards it stores.

    seconds: how long it thinks about each object.
    """

    def __init__(self, folder: Path, answers: list[int], port: int, seconds: float) -> None:
        super().__init__(folder, port=port)
        self.answers = answers
        self.seconds = seconds

    def store(self, event: evt.Event) -> int:
        time.sleep(self.seconds)
        return self.answers.pop(0) if self.answers else super().store(event)


class Office:
    """The delivery side of a running service, for one destination."""

    def __init__(self, folder: Path) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.spool = Spool(folder / "spool")
        self.spool.prepare()
        self.journal = Journal(f"sqlite:///{folder / 'journal.sqlite3'}", clock=lambda: self.now)
        self.journal.migrate()
        self.metrics = Metrics()
        self.trail = AuditTrail(folder / "audit", self.metrics)

    def deliverer(self, port: int, ae_title: str = "ARCHIVE", **sections: object) -> Deliverer:
        destination = {"name": PACS, "host": "127.0.0.1", "port": port, "ae_title": ae_title}
        quick = {"connect_timeout": 2, "dimse_timeout": 2}
        settings = Settings.model_validate(
            {"destinations": [destination], "delivery": quick, **sections}
        )
        return Deliverer(settings, self.spool, self.journal, self.metrics, self.trail)

    def analysed(self, objects: dict[str, bytes]) -> str:
        """The key of an image whose results wait for delivery to PACS."""
        key = generate_uid().rpartition(".")[2].zfill(32)[-32:]
        self.journal.record_received(
            ReceivedImage(key, generate_uid(), "1", "1", "d", 1, "SCANNER", self.now)
        )
        job = self.journal.lease_analysis(key, 60)
        assert job is not None
        self.spool.write_results(key, objects.items())
        outcome = AnalysisOutcome(ImageState.ANALYSED, "m" * 64, objects=tuple(objects))
        assert self.journal.record_outcome(job, outcome, {PACS: tuple(objects)})
        return key

    def row(self, key: str) -> ImageRow:
        row = self.journal.image(key)
        assert row is not None
        return row

    def delivery(self, key: str) -> DeliveryRow:
        (delivery,) = self.row(key).deliveries
        return delivery

    def wait_for_next_attempt(self, key: str) -> float:
        """Move the clock to the next attempt; returns the seconds that it was away."""
        due = self.delivery(key).next_attempt_at
        assert due is not None
        waited = (due - self.now) / timedelta(seconds=1)
        self.now = due
        return waited

    def wait_for_lease(self) -> None:
        """Move the clock so far that the lease of a killed worker has run out."""
        self.now += timedelta(seconds=60)

    def reports(self, outcome: str) -> float:
        """Commitment reports that came."""
        labels = {"outcome": outcome}
        return self.metrics.registry.get_sample_value("secondread_commitments_total", labels) or 0.0

    def count(self, outcome: str) -> float:
        labels = {"destination": PACS, "outcome": outcome}
        return self.metrics.registry.get_sample_value("secondread_deliveries_total", labels) or 0.0


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.journal.close()


@pytest.fixture
def moody_archive(tmp_path: Path) -> Iterator[Callable[..., MoodyArchive]]:
    """``moody_archive(0xA700, 0xA700)``: an archive that answers these first."""
    running = []

    def start(*answers: int, port: int = 0, seconds: float = 0) -> MoodyArchive:
        archive = MoodyArchive(tmp_path / "archive", list(answers), port, seconds)
        archive.start()
        running.append(archive)
        return archive

    yield start
    for archive in running:
        archive.stop()


@pytest.fixture
def results() -> Callable[..., dict[str, bytes]]:
    """``results()``: an SR and an SC of one study as Part 10 files, by their names."""

    def make(study: str | None = None, pixel_bytes: int = 64) -> dict[str, bytes]:
        study = study or generate_uid()
        capture = _object(SECONDARY_CAPTURE, study, "OT")
        capture.BitsAllocated = 8
        capture.PixelData = b"\7" * pixel_bytes
        return {
            "sr.dcm": _part_10(_object(COMPREHENSIVE_3D_SR, study, "SR")),
            "sc.dcm": _part_10(capture),
        }

    return make


def _object(sop_class: str, study: str, modality: str) -> Dataset:
    data_set = Dataset()
    data_set.SOPClassUID = sop_class
    data_set.SOPInstanceUID = generate_uid()
    data_set.PatientID = "P1"
    data_set.StudyInstanceUID = study
    data_set.SeriesInstanceUID = generate_uid()
    data_set.Modality = modality
    return data_set


def _part_10(data_set: Dataset) -> bytes:
    data_set.ensure_file_meta()
    data_set.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    stream = BytesIO()
    data_set.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture
def made_objects() -> Callable[[], dict[str, Dataset]]:
    """``made_objects()``: SR and SC of one image, by file name, for a patient called 王^小红."""
    model = ModelIdentity("model", "1", "ab" * 32)
    box = Box(10, 10, 110, 90)
    cam = np.zeros((box.height, box.width), np.float32)
    cam[30:50, 40:60] = 1
    finding = Finding(1, 1, box, "content box", 0.7, 0.3, 0.5, cam)
    frame = np.full((120, 160, 3), 90, np.uint8)

    def make() -> dict[str, Dataset]:
        source = wrap_pixels(frame, "made")
        source.SpecificCharacterSet = "ISO_IR 192"
        source.PatientName = "王^小红"
        when = {"revision": 0, "started_at": datetime(2026, 3, 1, tzinfo=UTC)}
        overlay = draw_overlay(frame, finding, model)
        return {
            "sr.dcm": build_report(source, finding, model, **when),
            "sc.dcm": build_secondary_capture(source, overlay, finding, model, **when),
        }

    return make
