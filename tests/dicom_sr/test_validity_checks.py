"""An object that breaks a rule is caught before it leaves, and what we build breaks none."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from importlib.resources import files

import numpy as np
import pytest
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_sr import iod
from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.identity import ResultKind
from dicom_sr.overlay import draw_overlay
from dicom_sr.reference import InstanceReference, hierarchical_references
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from dicom_sr.validity import problems
from dicom_sr.variant import REPORT_CLASSES, CharacterSetPolicy, Variant, as_variant

REGION = Box(20, 10, 220, 130)
LIBRARY_IMAGE = "ContentSequence[8].ContentSequence[1].ContentSequence[1]"
ROLE = ("PurposeOfReferenceCodeSequence", 1)
SCANNER_S_ROLE = (("ContributingEquipmentSequence", 1), ROLE)
ALGORITHM_S_ROLE = (("ContributingEquipmentSequence", 2), ROLE)
NOT_PERMITTED = "a value type or relationship that the IOD does not permit here"
GROUP = "ContentSequence[9].ContentSequence[1]"

MakeFinding = Callable[..., Finding]
Break = Callable[[Dataset], None]
OurObjects = Callable[[Dataset], dict[ResultKind, Dataset]]


@pytest.fixture
def report(
    source: Dataset, model: ModelIdentity, started_at: datetime, make_finding: MakeFinding
) -> Dataset:
    """Of an earlier edition's successor, with evidence from two studies."""
    old = InstanceReference("1.2.3.4.5.2", "1.8", "1.2.840.10008.5.1.4.1.1.88.34", "1.9")
    report = build_report(
        source,
        make_finding(REGION),
        model,
        revision=0,
        started_at=started_at,
        edition=1,
        predecessor=old,
    )
    report.CurrentRequestedProcedureEvidenceSequence.extend(
        hierarchical_references([replace(old, study_instance_uid="1.7")])
    )
    return report


@pytest.fixture
def capture(
    source: Dataset, model: ModelIdentity, started_at: datetime, make_finding: MakeFinding
) -> Dataset:
    finding = make_finding(REGION)
    overlay = draw_overlay(np.zeros((200, 300, 3), np.uint8), finding, model)
    return build_secondary_capture(
        source, overlay, finding, model, revision=0, started_at=started_at
    )


def put(keyword: str, value: object, *path: tuple[str, int]) -> Break:
    """Set an attribute of the item at the end of ``path``, whatever its value is."""

    def do(data_set: Dataset) -> None:
        tag = tag_for_keyword(keyword)
        assert tag is not None
        element = DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE)
        at(data_set, path).add(element)

    return do


def drop(keyword: str, *path: tuple[str, int]) -> Break:
    return lambda data_set: delattr(at(data_set, path), keyword)


def at(data_set: Dataset, path: tuple[tuple[str, int], ...]) -> Dataset:
    for keyword, number in path:
        data_set = data_set[keyword].value[number - 1]
    return data_set


def content(*numbers: int) -> tuple[tuple[str, int], ...]:
    return tuple(("ContentSequence", number) for number in numbers)


HEADER_BREAKS = [
    (drop("PatientID"), "PatientID: is missing"),
    (drop("SOPInstanceUID"), "SOPInstanceUID: is missing"),
    (put("SeriesInstanceUID", ""), "SeriesInstanceUID: is empty"),
    (drop("StudyInstanceUID"), "StudyInstanceUID: is missing"),
    (put("StudyInstanceUID", "1.2.3"), "StudyInstanceUID: is not the source's"),
    (put("SOPInstanceUID", "1.2.3.4.5.1"), "SOPInstanceUID: is the source's own"),
    (put("SeriesInstanceUID", "1.2.3.4.5.3"), "SeriesInstanceUID: is the source's own"),
    (put("SeriesInstanceUID", "1.2..3"), "SeriesInstanceUID: is no UI: length or characters"),
    (put("SeriesInstanceUID", "3.2.3"), "SeriesInstanceUID: is no UID"),
    (put("SOPInstanceUID", "2.25." + "1" * 60), "SOPInstanceUID: is no UI: length or characters"),
    (put("SOPClassUID", "1.2.840.10008.1.1"), "SOPClassUID: none of the classes of our objects"),
    (put("PatientID", "A\\B"), "PatientID: has 2 values"),
    (put("PatientID", "P" * 65), "PatientID: is no LO: length or characters"),
    (put("PatientID", "A\nB"), "PatientID: has control characters"),
    (put("AccessionNumber", "1" * 17), "AccessionNumber: is no SH: length or characters"),
    (put("PatientSex", "female"), "PatientSex: is no CS: length or characters"),
    (put("PatientBirthDate", "20250230"), "PatientBirthDate: is no date"),
    (put("PatientAge", "51"), "PatientAge: is no AS: length or characters"),
    (put("StudyTime", "2513"), "StudyTime: is no TM: length or characters"),
    (put("PatientName", "a^b^c^d^e^f"), "PatientName: has more than five components"),
    (put("PatientName", "x" * 65), "PatientName: is no PN: length or characters"),
    (put("InstanceNumber", "9" * 13), "InstanceNumber: is no IS: length or characters"),
    (
        put("PatientName", "王^小红"),
        "PatientName: has characters outside Specific Character Set",
    ),
    (
        put("StudyDescription", "\udc80"),
        "StudyDescription: has characters outside Specific Character Set",
    ),
    (put("SpecificCharacterSet", "UTF_8"), "SpecificCharacterSet: not a defined term"),
    (
        drop("CodeMeaning", *ALGORITHM_S_ROLE),
        "ContributingEquipmentSequence[2].PurposeOfReferenceCodeSequence[1].CodeMeaning: "
        "is missing",
    ),
    (
        drop("CodeValue", *SCANNER_S_ROLE),
        "ContributingEquipmentSequence[1].PurposeOfReferenceCodeSequence[1].CodeValue: is missing",
    ),
    (
        put("Manufacturer", "", ("ContributingEquipmentSequence", 2)),
        "ContributingEquipmentSequence[2].Manufacturer: is empty",
    ),
]

DOCUMENT_BREAKS = [
    (drop("CompletionFlag"), "CompletionFlag: is missing"),
    (
        drop("ReferencedSeriesSequence", ("CurrentRequestedProcedureEvidenceSequence", 2)),
        "CurrentRequestedProcedureEvidenceSequence[2].ReferencedSeriesSequence: is missing",
    ),
    (
        put("ReferencedSeriesSequence", [], ("PredecessorDocumentsSequence", 1)),
        "PredecessorDocumentsSequence[1].ReferencedSeriesSequence: is empty",
    ),
    (
        drop("CodingSchemeIdentificationSequence"),
        "CodingSchemeIdentificationSequence: a private coding scheme is not identified",
    ),
    (drop("ValueType"), "ValueType: the root is no CONTAINER"),
    (put("ConceptNameCodeSequence", []), "ConceptNameCodeSequence: is missing"),
    (
        put("RelationshipType", "HAS PROPERTIES", *content(1)),
        f"ContentSequence[1]: {NOT_PERMITTED}",
    ),
    (
        put("ValueType", "SCOORD", *content(1)),
        f"ContentSequence[1]: {NOT_PERMITTED}",
    ),
    (
        drop("ConceptCodeSequence", *content(7)),
        "ContentSequence[7].ConceptCodeSequence: is missing",
    ),
    (
        drop("ConceptNameCodeSequence", *content(7)),
        "ContentSequence[7].ConceptNameCodeSequence: is missing",
    ),
    (
        drop("CodeMeaning", *content(7), ("ConceptCodeSequence", 1)),
        "ContentSequence[7].ConceptCodeSequence[1].CodeMeaning: is missing",
    ),
    (
        drop("ContinuityOfContent", *content(9)),
        "ContentSequence[9].ContinuityOfContent: is missing",
    ),
    (
        put(
            "ReferencedSOPInstanceUID",
            "1.2.3.4.5.9",
            *content(8, 1, 1),
            ("ReferencedSOPSequence", 1),
        ),
        f"{LIBRARY_IMAGE}.ReferencedSOPSequence: is not listed in the evidence",
    ),
    (
        put(
            "ReferencedSOPClassUID",
            "1.2.840.10008.5.1.4.1.1.7",
            *content(8, 1, 1),
            ("ReferencedSOPSequence", 1),
        ),
        f"{LIBRARY_IMAGE}.ReferencedSOPSequence: is listed in the evidence with another class",
    ),
    (
        put("ReferencedSOPSequence", [], *content(8, 1, 1)),
        f"{LIBRARY_IMAGE}.ReferencedSOPSequence: not one item",
    ),
    (
        put("NumericValue", "83.21", *content(9, 1, 9), ("MeasuredValueSequence", 1)),
        f"{GROUP}: the probabilities do not sum to 100 %",
    ),
    (
        put("NumericValue", "100.01", *content(9, 1, 11), ("MeasuredValueSequence", 1)),
        f"{GROUP}.ContentSequence[11]: percentage outside 0–100",
    ),
    (
        put("GraphicData", [20.0, 10.0, 300.5, 10.0], *content(9, 1, 13)),
        f"{GROUP}.ContentSequence[13].GraphicData: leaves the image",
    ),
    (
        put("GraphicData", [20.0, -0.5, 30.0, 10.0], *content(9, 1, 13)),
        f"{GROUP}.ContentSequence[13].GraphicData: leaves the image",
    ),
    (
        put("GraphicData", [20.0, 200.5, 30.0, 10.0], *content(9, 1, 13)),
        f"{GROUP}.ContentSequence[13].GraphicData: leaves the image",
    ),
    (
        put("GraphicData", [20.0, float("nan"), 30.0, 10.0], *content(9, 1, 13)),
        f"{GROUP}.ContentSequence[13].GraphicData: is not finite",
    ),
    (
        put("GraphicData", [20.0, 10.0, 30.0], *content(9, 1, 13)),
        f"{GROUP}.ContentSequence[13].GraphicData: not as many points as the graphic has",
    ),
    (
        drop("ContentSequence", *content(9, 1, 13)),
        f"{GROUP}.ContentSequence[13]: not selected from an image",
    ),
]

IMAGE_BREAKS = [
    (drop("PixelData"), "PixelData: is missing"),
    (put("PixelData", b"\0" * 10), "PixelData: its length is not that of the image"),
    (put("Rows", 99), "PixelData: its length is not that of the image"),
    (drop("ConversionType"), "ConversionType: is missing"),
    (drop("PhotometricInterpretation"), "PhotometricInterpretation: is missing"),
    (drop("SourceImageSequence"), "SourceImageSequence: does not name the source image"),
    (
        drop("ReferencedSOPClassUID", ("SourceImageSequence", 1)),
        "SourceImageSequence[1].ReferencedSOPClassUID: is missing",
    ),
    (
        put("PixelSpacing", ["0.123456789012345", "0.1"]),
        "PixelSpacing: is no DS: length or characters",
    ),
    (put("PixelSpacing", []), "PixelSpacing: is empty"),
]


@pytest.mark.parametrize(("spoil", "problem"), HEADER_BREAKS + DOCUMENT_BREAKS)
def test_a_broken_report_is_caught(
    report: Dataset, source: Dataset, spoil: Break, problem: str
) -> None:
    spoil(report)
    assert problems(report, source) == [problem]


@pytest.mark.parametrize(("spoil", "problem"), HEADER_BREAKS + IMAGE_BREAKS)
def test_a_broken_overlay_is_caught(
    capture: Dataset, source: Dataset, spoil: Break, problem: str
) -> None:
    spoil(capture)
    assert problems(capture, source) == [problem]


def test_a_report_that_does_not_name_its_source_is_caught(report: Dataset, source: Dataset) -> None:
    put(
        "ReferencedSOPInstanceUID",
        "1.9",
        ("CurrentRequestedProcedureEvidenceSequence", 1),
        ("ReferencedSeriesSequence", 1),
        ("ReferencedSOPSequence", 1),
    )(report)
    found = problems(report, source)
    assert found[0] == ("CurrentRequestedProcedureEvidenceSequence: does not name the source image")
    # … and the image library, the measurement, two regions refer to what is no evidence.
    assert [line.rpartition(": ")[2] for line in found[1:]] == ["is not listed in the evidence"] * 4


@pytest.mark.parametrize(
    ("sop_class", "allowed"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.22", True),
        ("1.2.840.10008.5.1.4.1.1.88.33", True),
        ("1.2.840.10008.5.1.4.1.1.88.59", False),
    ],
    ids=["Enhanced", "Comprehensive", "Key Object Selection"],
)
def test_the_tree_is_judged_by_the_document_s_own_class(
    report: Dataset, source: Dataset, sop_class: str, allowed: bool
) -> None:
    report.SOPClassUID = sop_class
    found = problems(report, source)
    assert (found == []) is allowed
    if not allowed:
        assert any("does not permit" in line for line in found)


def test_a_container_within_a_measurement_is_comprehensive_not_enhanced(
    report: Dataset, source: Dataset
) -> None:
    container = deepcopy(report.ContentSequence[9])
    container.RelationshipType = "HAS PROPERTIES"
    report.ContentSequence[6].ContentSequence = [container]
    assert problems(report, source) == []
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    assert problems(report, source) == [f"ContentSequence[7].ContentSequence[1]: {NOT_PERMITTED}"]


def test_no_problem_shows_a_value(report: Dataset, source: Dataset) -> None:
    secret = "Sécret^Patient\x01" + "x" * 100
    for keyword in ("PatientID", "PatientName", "AccessionNumber", "StudyDescription"):
        put(keyword, secret)(report)
    put("PatientBirthDate", "19999999")(report)
    put("StudyInstanceUID", "1.2.secret")(report)
    found = "\n".join(problems(report, source))
    assert len(found.splitlines()) == 7
    for part in ("cret", "Patient^", "xxx", "19999999", "1.2."):
        assert part not in found


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_source_s_malformed_uids_are_quoted_as_they_are(
    source: Dataset, model: ModelIdentity, started_at: datetime, make_finding: MakeFinding
) -> None:
    put("SOPInstanceUID", "1.02.3")(source)
    put("StudyInstanceUID", "9.2.3")(source)
    report = build_report(source, make_finding(REGION), model, revision=0, started_at=started_at)
    assert problems(report, source) == []
    assert {line.partition(": ")[2] for line in problems(report, None)} == {
        "is no UI: length or characters",
        "is no UID",
    }
    assert problems(report, None, [source]) == []


def test_undeclared_bytes_may_come_out_as_they_came(
    source: Dataset, model: ModelIdentity, started_at: datetime, make_finding: MakeFinding
) -> None:
    source.PatientName = "Müller"
    report = build_report(source, make_finding(REGION), model, revision=0, started_at=started_at)
    assert "SpecificCharacterSet" not in report
    assert problems(report, source) == []
    assert problems(report, None) == ["PatientName: has characters outside Specific Character Set"]


@pytest.mark.parametrize("declared", ["ISO_IR 192", "GB18030", "ISO 2022 IR 6\\ISO 2022 IR 58"])
def test_chinese_in_a_set_that_holds_it(report: Dataset, source: Dataset, declared: str) -> None:
    put("SpecificCharacterSet", declared.split("\\"))(report)
    put("PatientName", "Wang^XiaoHong=王^小红")(report)
    assert problems(report, source) == []
    put("PatientName", "Wang^XiaoHong=王^小红^ก")(report)
    held = declared != "ISO 2022 IR 6\\ISO 2022 IR 58"
    assert (problems(report, source) == []) is held


@pytest.mark.parametrize("report_class", REPORT_CLASSES)
def test_every_object_in_every_form_for_a_destination_is_valid(
    source: Dataset, our_objects: OurObjects, report_class: str
) -> None:
    variant = Variant(report_class, CharacterSetPolicy.GB18030)
    source.PhotometricInterpretation = "MONOCHROME2"
    for result in our_objects(source).values():
        assert problems(as_variant(result, variant), source) == [], result.SOPClassUID


OTHER_KINDS_BREAKS = [
    (
        ResultKind.SEGMENTATION,
        put("NumberOfFrames", 2),
        [
            "PixelData: its length is not that of the image",
            "PerFrameFunctionalGroupsSequence: not one item for each frame",
        ],
    ),
    (
        ResultKind.SEGMENTATION,
        drop("SegmentIdentificationSequence", ("PerFrameFunctionalGroupsSequence", 2)),
        ["PerFrameFunctionalGroupsSequence: a frame without SegmentIdentificationSequence"],
    ),
    (
        ResultKind.SEGMENTATION,
        put("PixelMeasuresSequence", [], ("SharedFunctionalGroupsSequence", 1)),
        ["SharedFunctionalGroupsSequence[1].PixelMeasuresSequence: is empty"],
    ),
    (
        ResultKind.SEGMENTATION,
        drop("SegmentAlgorithmType", ("SegmentSequence", 2)),
        ["SegmentSequence[2].SegmentAlgorithmType: is missing"],
    ),
    (
        ResultKind.SEGMENTATION,
        drop("ReferencedSeriesSequence"),
        ["ReferencedSeriesSequence: does not name the source image"],
    ),
    (
        ResultKind.PRESENTATION_STATE,
        put("PresentationCreationDate", ""),
        ["PresentationCreationDate: is empty"],
    ),
    (
        ResultKind.PRESENTATION_STATE,
        drop("GraphicLayerOrder", ("GraphicLayerSequence", 1)),
        ["GraphicLayerSequence[1].GraphicLayerOrder: is missing"],
    ),
    (
        ResultKind.PRESENTATION_STATE,
        put(
            "ReferencedSOPInstanceUID",
            "1.9",
            ("ReferencedSeriesSequence", 1),
            ("ReferencedImageSequence", 1),
        ),
        ["ReferencedSeriesSequence: does not name the source image"],
    ),
    (
        ResultKind.KEY_OBJECTS,
        drop("CurrentRequestedProcedureEvidenceSequence"),
        [
            "CurrentRequestedProcedureEvidenceSequence: is missing",
            *(
                f"ContentSequence[{number}].ReferencedSOPSequence: is not listed in the evidence"
                for number in (6, 7, 8)
            ),
        ],
    ),
    (
        ResultKind.REJECTION_NOTE,
        put("RelationshipType", "HAS PROPERTIES", *content(6)),
        [f"ContentSequence[6]: {NOT_PERMITTED}"],
    ),
    (
        ResultKind.STUDY_REPORT,
        put("GraphicData", [0.0, 0.0, 301.0, 0.0], *content(9, 1, 13)),
        [f"{GROUP}.ContentSequence[13].GraphicData: leaves the image"],
    ),
]


@pytest.mark.parametrize(("kind", "spoil", "expected"), OTHER_KINDS_BREAKS)
def test_broken_objects_of_the_other_kinds_are_caught(
    source: Dataset, our_objects: OurObjects, kind: ResultKind, spoil: Break, expected: list[str]
) -> None:
    source.PhotometricInterpretation = "MONOCHROME2"
    result = our_objects(source)[kind]
    spoil(result)
    assert problems(result, source) == expected


def test_pixels_are_not_looked_at(capture: Dataset, source: Dataset) -> None:
    def cpu() -> float:
        began = time.process_time()
        assert problems(capture, source) == []
        return time.process_time() - began

    capture.Rows = capture.Columns = 8
    capture.PixelData = bytes(8 * 8 * 3)
    small = min(cpu() for _ in range(20))
    capture.Rows = capture.Columns = 4096
    capture.PixelData = bytes(4096 * 4096 * 3)
    assert min(cpu() for _ in range(20)) < 2 * small


def test_the_stored_tables_are_those_of_the_standard_that_highdicom_ships() -> None:
    stored = (files("dicom_sr") / "iod.json").read_text("utf-8")
    assert stored == iod.derive(), "run: python -m dicom_sr.iod > dicom_sr/iod.json"
