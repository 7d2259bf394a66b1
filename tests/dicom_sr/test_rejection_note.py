"""The withdrawal of results, as an archive that knows IHE IOCM understands it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from pydicom.dataset import Dataset

from dicom_sr.finding import ModelIdentity
from dicom_sr.reference import InstanceReference
from dicom_sr.rejection_note import RejectionReason, build_rejection_note

STUDY = "1.2.3.4.5.2"
REPORT = InstanceReference(STUDY, "2.25.11", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.12")
OVERLAY = InstanceReference(STUDY, "2.25.21", "1.2.840.10008.5.1.4.1.1.7", "2.25.22")
TEXT = "The probe was on the phantom."

Build = Callable[..., Dataset]


@pytest.fixture
def build(source: Dataset, model: ModelIdentity, started_at: datetime) -> Build:
    """``build(reason, text, rejected)``: the note on results of ``source``."""

    def make(
        reason: RejectionReason = RejectionReason.QUALITY,
        text: str = TEXT,
        rejected: tuple[InstanceReference, ...] = (REPORT, OVERLAY),
        edition: int = 0,
    ) -> Dataset:
        return build_rejection_note(
            source,
            rejected,
            model,
            reason,
            text,
            revision=0,
            started_at=started_at,
            edition=edition,
        )

    return make


@pytest.mark.parametrize(
    ("reason", "code"),
    [(RejectionReason.QUALITY, "113001"), (RejectionReason.PATIENT_SAFETY, "113037")],
)
def test_the_title_tells_the_archive_what_to_do(
    build: Build, reason: RejectionReason, code: str
) -> None:
    note = build(reason)
    (title,) = note.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator) == (code, "DCM")
    assert (note.Modality, note.SeriesNumber) == ("KO", 9009)


def test_it_refers_to_nothing_but_what_is_rejected(build: Build) -> None:
    note = build()
    in_content = [
        (item.ValueType, item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in note.ContentSequence
        if "ReferencedSOPSequence" in item
    ]
    assert in_content == [("COMPOSITE", "2.25.12"), ("IMAGE", "2.25.22")]
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == STUDY
    assert [
        (series.SeriesInstanceUID, each.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for each in series.ReferencedSOPSequence
    ] == [("2.25.11", "2.25.12"), ("2.25.21", "2.25.22")]


def test_it_says_why_in_words(build: Build) -> None:
    (description,) = [
        item.TextValue
        for item in build().ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "113012"
    ]
    assert description == TEXT


def test_another_withdrawal_is_another_note(build: Build) -> None:
    notes = [
        build(),
        build(RejectionReason.PATIENT_SAFETY),
        build(text="The wrong patient."),
        build(rejected=(REPORT,)),
        build(edition=1),
    ]
    assert len({note.SOPInstanceUID for note in notes}) == len(notes)
    assert len({note.SeriesInstanceUID for note in notes}) == 1
    assert build().SOPInstanceUID == notes[0].SOPInstanceUID


def test_a_note_on_nothing_is_refused(build: Build) -> None:
    with pytest.raises(ValueError, match="must name what is rejected"):
        build(rejected=())


def test_a_result_of_another_study_is_refused(build: Build) -> None:
    with pytest.raises(ValueError, match="its own study only"):
        build(rejected=(REPORT, replace(OVERLAY, study_instance_uid="1.9")))
