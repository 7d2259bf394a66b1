"""A whole examination with every object: to one PACS by C-STORE, to another one by STOW-RS."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from service.journal.parcels import study_key, summary_parcel
from service.journal.records import DeliveryState, ImageState, StudyState
from service.scu import send_files

SECONDS = 180
QUIET = 4
BREAST = ("breast/uta4_p1_d045f565_IM128.dcm", "breast/uta7_Anonymized1_US000000.dcm")
DOPPLER = "other/pydicom__examples_ybr_color.dcm"
EVERYTHING = 'objects = ["sr", "sc", "seg", "pr", "ko", "summary"]'
SENSITIVE = "analysis.operating_point = 'sensitive'"


@dataclass
class Examination:
    """One study of several images that has gone all the way, summary included."""

    service: Any
    by_dimse: Any
    by_stow: Any
    eventually: Any
    study: str
    images: list[Path] = field(default_factory=list)

    def send(self, image: Path) -> None:
        self.images.append(image)
        (outcome,) = send_files([image], self.service.peer, "SCANNER")
        assert outcome.stored

    def wait_for_summary(self, number: int) -> str:
        """Returns its parcel."""
        parcel = summary_parcel(study_key(self.study), number)

        def arrived() -> bool:
            counts = self.service.journal.counts()
            waiting = sum(
                amount
                for (_, state), amount in counts.deliveries.items()
                if state is DeliveryState.PENDING
            )
            made = (self.service.spool.results_folder(parcel) / "summary.dcm").is_file()
            return made and not waiting and not counts.studies[StudyState.PENDING]

        self.eventually(arrived, SECONDS)
        return parcel

    def files(self, parcel: str) -> list[Path]:
        return sorted(self.service.spool.results_folder(parcel).glob("*.dcm"))


@pytest.fixture(scope="module")
def two_orthancs(make_orthanc):
    return make_orthanc(), make_orthanc()


@pytest.fixture(scope="module")
def examination(
    shared_up, two_orthancs, reference_model, us_dicom, copy_of, eventually
) -> Examination:
    by_dimse, by_stow = two_orthancs
    service = shared_up(
        reference_model,
        destinations=[
            f'{EVERYTHING}\nhost = "127.0.0.1"\nport = {by_dimse.port}\n'
            f'ae_title = "{by_dimse.ae_title}"',
            f'{EVERYTHING}\nurl = "{by_stow.url}/dicom-web"',
        ],
        extra=[SENSITIVE],
        quiet_seconds=QUIET,
    )
    service.start()
    eventually(service.is_ready, SECONDS)
    study = generate_uid()
    examination = Examination(service, by_dimse, by_stow, eventually, study)
    for number, (name, side) in enumerate(zip((*BREAST, DOPPLER), "LRR", strict=True), 1):
        examination.send(
            copy_of(
                us_dicom / name,
                StudyInstanceUID=study,
                Laterality=side,
                InstanceNumber=number,
                PatientName="Doe^Jane",
                PatientID="P1",
            )
        )
    examination.wait_for_summary(0)
    return examination


def row(examination: Examination, image: Path) -> Any:
    return examination.service.row(image)


def test_every_object_lies_in_both_archives_byte_for_byte(
    examination, data_set_bytes, tmp_path
) -> None:
    sent = 0
    parcels = [row(examination, image).parcel for image in examination.images]
    for parcel in (*parcels, summary_parcel(study_key(examination.study), 0)):
        for path in examination.files(parcel):
            if path.name == "summary-alone.dcm":
                continue
            uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            for archive in (examination.by_dimse, examination.by_stow):
                (instance,) = archive.find("Instance", SOPInstanceUID=uid)
                stored = tmp_path / "stored.dcm"
                stored.write_bytes(archive.content(f"/instances/{instance['ID']}/file"))
                assert data_set_bytes(stored) == data_set_bytes(path), path.name
                sent += 1
    names = {path.name for parcel in parcels for path in examination.files(parcel)}
    assert names >= {"sr.dcm", "sc.dcm", "seg.dcm", "pr.dcm"}
    assert sent >= 2 * (2 * 4 + 1 + 1)


def test_the_archives_hold_nothing_else_of_the_study(examination) -> None:
    held = []
    for archive in (examination.by_dimse, examination.by_stow):
        held.append(
            sorted(
                item["MainDicomTags"]["SOPInstanceUID"]
                for item in archive.find("Instance", StudyInstanceUID=examination.study)
            )
        )
    assert held[0] == held[1]
    assert len(set(held[0])) == len(held[0])


def test_dcentvfy_finds_the_study_of_one_piece(examination, dcmtk) -> None:
    files = list(examination.images)
    for image in examination.images:
        files += examination.files(row(examination, image).parcel)
    files.append(
        examination.service.spool.results_folder(summary_parcel(study_key(examination.study), 0))
        / "summary.dcm"
    )
    told = dcmtk("dcentvfy", *files).stdout
    ours = [line for line in told.splitlines() if line.startswith("Error")]
    assert ours == [], told


def test_a_late_image_replaces_the_summary_and_a_withdrawal_does_it_again(
    examination, us_dicom, copy_of
) -> None:
    first = summary_parcel(study_key(examination.study), 0)
    late = copy_of(
        us_dicom / "breast/uta7_Anonymized3_US000000.dcm",
        StudyInstanceUID=examination.study,
        PatientName="Doe^Jane",
        PatientID="P1",
    )
    examination.send(late)
    second = examination.wait_for_summary(1)
    before, after = (_report(examination, parcel, "summary.dcm") for parcel in (first, second))
    assert _predecessor(after) == before.SOPInstanceUID

    uid = str(dcmread(late, stop_before_pixels=True).SOPInstanceUID)
    command = [*examination.service.command("withdraw"), uid, "--reason", "wrong patient"]
    told = subprocess.run(
        [*command, "--config", str(examination.service.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert uid not in told.stdout + told.stderr
    third = examination.wait_for_summary(2)
    withdrawn = row(examination, late)
    assert withdrawn.state is ImageState.WITHDRAWN
    assert "withdrawn" in _texts(_report(examination, third, "summary.dcm"))
    for archive in (examination.by_dimse, examination.by_stow):
        (note,) = archive.find(
            "Instance",
            SOPInstanceUID=str(
                _report(examination, withdrawn.parcel, "rejection.dcm").SOPInstanceUID
            ),
        )
        assert note
    replacing = _report(examination, withdrawn.parcel, "sr.dcm")
    assert _predecessor(replacing) == withdrawn.results[0].outcome.uids[0]


def test_an_operators_link_brings_a_score_for_the_lesion_to_both_archives(examination) -> None:
    keys = [row(examination, image).key for image in examination.images[:2]]
    told = subprocess.run(
        [
            *examination.service.command("lesion"),
            *("link", *keys, "--config", str(examination.service.config)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    parcel = examination.wait_for_summary(3)
    report = _report(examination, parcel, "summary.dcm")
    assert "Lesion, side not stated, linked by the operator" in _texts(report)
    assert "Fused from 2 views: mean of logits" in _texts(report)
    for archive in (examination.by_dimse, examination.by_stow):
        assert archive.find("Instance", SOPInstanceUID=str(report.SOPInstanceUID))


def test_the_log_names_no_patient(examination) -> None:
    text = examination.service.text()
    assert "Doe" not in text
    assert "wrong patient" not in text
    assert examination.study not in text
    assert re.search(r"summary 0 of 3 images", text)


def _report(examination: Examination, parcel: str, name: str) -> Dataset:
    return dcmread(examination.service.spool.results_folder(parcel) / name)


def _predecessor(report: Dataset) -> str:
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (document,) = series.ReferencedSOPSequence
    return str(document.ReferencedSOPInstanceUID)


def _texts(report: Dataset) -> str:
    return " ".join(str(each.value) for each in report.iterall() if each.keyword == "TextValue")
