"""What a reader should look at first, as a Key Object Selection."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.key_objects import build_key_objects
from dicom_sr.part10 import part10_bytes
from dicom_sr.reference import InstanceReference

IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"
STUDY = "1.2.3.4.5.2"
REPORT = InstanceReference(STUDY, "2.25.11", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.12")
OVERLAY = InstanceReference(STUDY, "2.25.21", "1.2.840.10008.5.1.4.1.1.7", "2.25.22")

Build = Callable[..., Dataset]


@pytest.fixture
def build(
    source: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    make_finding: Callable[..., Finding],
) -> Build:
    """``build(frame=1, **header)``: for ``source`` with changed header attributes."""

    def make(frame: int = 1, **header: object) -> Dataset:
        for keyword, value in header.items():
            setattr(source, keyword, value)
        return build_key_objects(
            source,
            make_finding(Box(20, 10, 220, 130), frame=frame),
            model,
            [OVERLAY, REPORT],
            revision=0,
            started_at=started_at,
        )

    return make


def referred(document: Dataset) -> list[tuple[str, str, str]]:
    """Value type, class and UID of each object in the content tree."""
    return [
        (
            item.ValueType,
            item.ReferencedSOPSequence[0].ReferencedSOPClassUID,
            item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
        )
        for item in document.ContentSequence
        if "ReferencedSOPSequence" in item
    ]


def evidence(document: Dataset) -> set[tuple[str, str, str, str]]:
    return {
        (
            study.StudyInstanceUID,
            series.SeriesInstanceUID,
            each.ReferencedSOPClassUID,
            each.ReferencedSOPInstanceUID,
        )
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for each in series.ReferencedSOPSequence
    }


def test_it_is_titled_of_interest(build: Build) -> None:
    document = build()
    (title,) = document.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113000", "DCM")
    assert document.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    assert (document.Modality, document.SeriesNumber) == ("KO", 9004)
    assert document.SeriesDescription == "AI breast ultrasound key images, unverified"


def test_it_shows_the_image_and_its_results(build: Build) -> None:
    assert referred(build()) == [
        ("IMAGE", IMAGE, "1.2.3.4.5.1"),
        ("IMAGE", OVERLAY.sop_class_uid, OVERLAY.sop_instance_uid),
        ("COMPOSITE", REPORT.sop_class_uid, REPORT.sop_instance_uid),
    ]


def test_the_evidence_leads_to_all_that_it_shows(build: Build) -> None:
    assert evidence(build()) == {
        (STUDY, "1.2.3.4.5.3", IMAGE, "1.2.3.4.5.1"),
        (STUDY, OVERLAY.series_instance_uid, OVERLAY.sop_class_uid, OVERLAY.sop_instance_uid),
        (STUDY, REPORT.series_instance_uid, REPORT.sop_class_uid, REPORT.sop_instance_uid),
    }


@pytest.mark.parametrize(("sop_class", "frame"), [(IMAGE, None), (MULTI_FRAME, 4)])
def test_of_a_cine_it_shows_the_scored_frame(
    build: Build, sop_class: str, frame: int | None
) -> None:
    document = build(frame or 1, SOPClassUID=sop_class)
    (image, *_) = [item for item in document.ContentSequence if item.ValueType == "IMAGE"]
    assert image.ReferencedSOPSequence[0].get("ReferencedFrameNumber") == frame


def test_it_says_why(build: Build) -> None:
    (description,) = [
        item.TextValue
        for item in build().ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "113012"
    ]
    assert description.startswith("Probability of malignancy 73.21 %, threshold 41 %: malignant.")
    assert description.endswith("Unverified AI result, for research use only.")


def test_the_observer_is_the_algorithm(build: Build, model: ModelIdentity) -> None:
    observer = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item
        for item in build().ContentSequence
        if item.RelationshipType == "HAS OBS CONTEXT"
    }
    assert observer["Observer Type"].ConceptCodeSequence[0].CodeMeaning == "Device"
    assert observer["Device Observer Name"].TextValue == model.name


def test_the_key_objects_of_a_study_share_a_series(build: Build) -> None:
    first, second = build(), build(SOPInstanceUID="1.2.3.4.5.9")
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_dsrdump_reads_it(build: Build, run_tool: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "key_objects.dcm"
    path.write_bytes(part10_bytes(build()))
    printed = run_tool("dsrdump", str(path))
    assert "Key Object Selection Document" in printed
    assert "<contains IMAGE:=(SC image,)>" in printed
    assert "<contains COMPOSITE:=(Comprehensive3DSRStorage,)>" in printed
