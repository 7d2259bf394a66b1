"""A study in journal and spool: images with results that were really built."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_sr.finding import Box, Finding, ModelIdentity, NotAnalysed
from service.analysis.objects import Edition, ResultMaker
from service.config import Settings
from service.journal.journal import Journal
from service.journal.parcels import study_key
from service.journal.records import AnalysisOutcome, ImageRow, ImageState, ReceivedImage
from service.monitoring.metrics import Metrics
from service.results import ResultCheck, parcels_for
from service.spool import Spool, image_key
from service.still_image import wrap_pixels
from service.summary.summariser import Summariser
from service.withdrawal import Withdrawal

STUDY = "1.2.826.0.1.77"
QUIET = 60.0
PACS = {"name": "pacs", "host": "127.0.0.1", "port": 104, "ae_title": "PACS"}
BOX = Box(10, 10, 110, 90)


class Office:
    """One study at a service whose clock a test moves; nothing is sent."""

    def __init__(self, folder: Path, *destinations: dict[str, object]) -> None:
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.settings = Settings.model_validate(
            {"data_dir": folder, "destinations": destinations or [PACS]}
        )
        self.spool = Spool(self.settings.spool_dir)
        self.spool.prepare()
        self.journal = Journal(
            self.settings.journal_url, clock=lambda: self.now, quiet_seconds=QUIET
        )
        self.journal.migrate()
        self.metrics = Metrics()
        self.published: list[tuple[str, str]] = []
        self.model = ModelIdentity("model", "1", "ab" * 32)

    def image(self, number: int, **elements: object) -> str:
        """The key of an image that is received now."""
        header = wrap_pixels(np.full((120, 160, 3), 90, np.uint8), f"image {number}")
        header.StudyInstanceUID = STUDY
        header.InstanceNumber = number
        header.PatientName = "Doe^Jane"
        for keyword, value in elements.items():
            setattr(header, keyword, value)
        uid, syntax = str(header.SOPInstanceUID), str(header.file_meta.TransferSyntaxUID)
        key = image_key(uid, syntax, f"{number:064x}")
        temporary = self.spool.incoming / key
        header.save_as(temporary, enforce_file_format=True)
        self.spool.keep_image(key, temporary)
        self.journal.record_received(
            ReceivedImage(
                key=key,
                sop_instance_uid=uid,
                sop_class_uid=str(header.SOPClassUID),
                transfer_syntax_uid=syntax,
                digest=f"{number:064x}",
                size_bytes=1,
                calling_ae_title="SCANNER",
                received_at=self.now,
                study_instance_uid=str(header.StudyInstanceUID),
            )
        )
        return key

    def analysed(self, number: int, probability: float = 0.7, **elements: object) -> str:
        """The key of an image that is received and scored now."""
        return self.scored(self.image(number, **elements), probability)

    def scored(self, key: str, probability: float) -> str:
        cam = np.zeros((BOX.height, BOX.width), np.float32)
        cam[30:50, 40:60] = 1
        finding = Finding(1, 1, BOX, "content box", probability, 1 - probability, 0.5, cam)
        outcome = AnalysisOutcome(
            ImageState.ANALYSED,
            self.model.sha256,
            frame=1,
            frames_scored=1,
            region=(BOX.left, BOX.top, BOX.right, BOX.bottom),
            probability_malignant=probability,
            probability_benign=1 - probability,
            threshold=0.5,
            decision=finding.decision.value,
        )
        return self._record(key, finding, outcome)

    def refused(self, number: int) -> str:
        """The key of an image that is received and not analysed."""
        told = NotAnalysed("doppler-or-elastography", "The picture is coloured.")
        outcome = AnalysisOutcome(
            ImageState.NOT_ANALYSABLE, self.model.sha256, reason=told.code, reason_text=told.text
        )
        return self._record(self.image(number), told, outcome)

    def _record(self, key: str, said: Finding | NotAnalysed, outcome: AnalysisOutcome) -> str:
        job = self.journal.lease_analysis(key, 10)
        assert job is not None
        header = dcmread(self.spool.image_path(key))
        frame = header.pixel_array if isinstance(said, Finding) else None
        predecessor = job.replaces and self.spool.reference(job.replaces, "sr.dcm")
        maker = ResultMaker(self.model, self.settings.wanted, ResultCheck())
        made = maker.make(
            header, said, frame, Edition(job.revision, job.started_at, job.edition, predecessor)
        )
        self.spool.write_results(job.parcel, made.files)
        values = outcome.__dict__ | {
            "objects": made.objects,
            "uids": made.uids,
            "model_name": self.model.name,
            "model_version": self.model.version,
            "study_instance_uid": STUDY,
        }
        parcels = parcels_for(self.settings.destinations, made.objects)
        assert self.journal.record_outcome(job, AnalysisOutcome(**values), parcels)
        return key

    def row(self, key: str) -> ImageRow:
        row = self.journal.image(key)
        assert row is not None
        return row

    def wait(self, seconds: float = QUIET) -> None:
        self.now += timedelta(seconds=seconds)

    def summarise(self) -> list[str]:
        """Let a worker take the study; returns the parcels that it published."""
        self.published.clear()
        Summariser(
            self.settings,
            self.spool,
            self.journal,
            lambda parcel, destination: self.published.append((parcel, destination)),
            self.metrics,
        ).run(study_key(STUDY))
        return [parcel for parcel, _ in self.published]

    def object(self, parcel: str, name: str) -> Dataset:
        return dcmread(self.spool.results_folder(parcel) / name)

    @property
    def withdrawal(self) -> Withdrawal:
        return Withdrawal(self.settings, self.spool, self.journal)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path)
    yield office
    office.journal.close()


@pytest.fixture
def office_for(tmp_path: Path) -> Iterator[type]:
    """``office_for({"objects": ["summary"]})``: for destinations of these wishes."""
    made: list[Office] = []

    def make(*wishes: dict[str, object]) -> Office:
        destinations = [PACS | {"name": f"pacs-{n}"} | wish for n, wish in enumerate(wishes)]
        made.append(Office(tmp_path, *destinations))
        return made[-1]

    yield make
    for office in made:
        office.journal.close()
