"""The report says what the finding says, in the standard's tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_sr.finding import Box, Finding, ModelIdentity, NotAnalysed
from dicom_sr.identity import device_uid
from dicom_sr.part10 import part10_bytes
from dicom_sr.report import build_report
from dicom_sr.source import ReportError
from tests.dicom_sr.content_tree import items, only

REGION = Box(20, 10, 220, 130)
SCORE_GROUP, ACTIVATION_GROUP = 0, 1
NOT_ANALYSED = NotAnalysed("colour-doppler", "The region is coloured.")

Build = Callable[..., Dataset]
MakeFinding = Callable[..., Finding]


@pytest.fixture
def build(source: Dataset, model: ModelIdentity, started_at: datetime) -> Build:
    """``build(result, **header)``: the report on ``source`` with changed header attributes."""

    def make(result: Finding | NotAnalysed, **header: object) -> Dataset:
        for keyword, value in header.items():
            setattr(source, keyword, value)
        return build_report(source, result, model, revision=0, started_at=started_at)

    return make


def groups(report: Dataset) -> list[Dataset]:
    return items(only(report, "126010"), "125007")


def walk(node: Dataset) -> Iterator[Dataset]:
    for item in node.get("ContentSequence", []):
        yield item
        yield from walk(item)


def number(item: Dataset) -> float:
    return float(item.MeasuredValueSequence[0].NumericValue)


def coded(item: Dataset) -> tuple[str, str]:
    value = item.ConceptCodeSequence[0]
    return value.CodeValue, value.CodingSchemeDesignator


def outline(group: Dataset) -> np.ndarray:
    return np.array(only(group, "111030").GraphicData).reshape(-1, 2)


def test_document_is_tid_1500_with_its_parts_in_order(
    build: Build, make_finding: MakeFinding
) -> None:
    report = build(make_finding(REGION))
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert report.Modality == "SR"
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    names = [item.ConceptNameCodeSequence[0].CodeValue for item in report.ContentSequence]
    assert names == [
        "121049", "121005", "121012", "121013", "121014", "121015",
        "121058", "111028", "126010", "C0034375",
    ]  # fmt: skip
    assert coded(only(report, "121058")) == ("47079000", "SCT")


def test_every_container_is_separate(build: Build, make_finding: MakeFinding) -> None:
    report = build(make_finding(REGION))
    assert report.ContinuityOfContent == "SEPARATE"
    containers = [item for item in walk(report) if item.ValueType == "CONTAINER"]
    assert len(containers) == 6
    assert {item.ContinuityOfContent for item in containers} == {"SEPARATE"}


def test_observer_is_the_algorithm_as_a_device(
    build: Build, make_finding: MakeFinding, model: ModelIdentity
) -> None:
    report = build(make_finding(REGION))
    assert coded(only(report, "121005")) == ("121007", "DCM")
    assert str(only(report, "121012").UID) == device_uid(model.sha256)
    assert only(report, "121013").TextValue == model.name


def test_score_group_gives_the_probabilities_in_percent(
    build: Build, make_finding: MakeFinding
) -> None:
    group = groups(build(make_finding(REGION)))[SCORE_GROUP]
    assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"
    assert number(only(group, "111047")) == 73.21
    assert number(only(group, "SR001")) == 26.79
    assert number(only(group, "SR002")) == 41.0
    units = {
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }
    assert units == {"%"}


@pytest.mark.parametrize("probability", [0.0, 1 / 3, 0.123456, 0.99996, 1.0])
def test_probabilities_sum_to_100(
    build: Build, make_finding: MakeFinding, probability: float
) -> None:
    finding = make_finding(
        REGION, probability_malignant=probability, probability_benign=1 - probability
    )
    group = groups(build(finding))[SCORE_GROUP]
    total = number(only(group, "111047")) + number(only(group, "SR001"))
    assert total == pytest.approx(100, abs=1e-9)


@pytest.mark.parametrize(
    ("probability", "assessment", "summary"),
    [(0.41, "21594007", "111242"), (0.4099, "30807003", "111241")],
    ids=["malignant at the threshold", "benign below it"],
)
def test_decision_is_coded_in_group_and_summary(
    build: Build, make_finding: MakeFinding, probability: float, assessment: str, summary: str
) -> None:
    report = build(make_finding(REGION, probability_malignant=probability))
    assert coded(only(groups(report)[SCORE_GROUP], "111005")) == (assessment, "SCT")
    assert coded(only(only(report, "C0034375"), "111017")) == (summary, "DCM")


def test_algorithm_is_identified_with_its_parameters(
    build: Build, make_finding: MakeFinding, model: ModelIdentity
) -> None:
    group = groups(build(make_finding(REGION)))[SCORE_GROUP]
    assert only(group, "111001").TextValue == model.name
    assert only(group, "111003").TextValue == model.version
    assert [item.TextValue for item in items(group, "111002")] == [
        "threshold=0.41",
        f"model_sha256={model.sha256}",
        *model.parameters,
    ]


def test_region_is_the_analysed_box(build: Build, make_finding: MakeFinding) -> None:
    group = groups(build(make_finding(REGION)))[SCORE_GROUP]
    assert only(group, "111030").GraphicType == "POLYLINE"
    corners = [[20, 10], [220, 10], [220, 130], [20, 130], [20, 10]]
    assert outline(group).tolist() == corners


def test_contour_follows_the_half_maximum_in_pixel_corner_coordinates(
    build: Build, make_finding: MakeFinding
) -> None:
    cam = np.zeros((REGION.height, REGION.width), np.float32)
    cam[30:60, 50:90] = 1  # columns 50–89, rows 30–59 of the box
    cam[100:104, 10:14] = 1  # a smaller area
    group = groups(build(make_finding(REGION, cam=cam)))[ACTIVATION_GROUP]
    assert coded(only(group, "121071")) == ("130403", "DCM")
    line = outline(group)
    assert line[0].tolist() == line[-1].tolist()
    assert line.min(axis=0) == pytest.approx([20 + 50, 10 + 30])
    assert line.max(axis=0) == pytest.approx([20 + 90, 10 + 60])


def test_contour_is_simple_and_stays_inside_the_box(
    build: Build, make_finding: MakeFinding
) -> None:
    cam = np.full((REGION.height, REGION.width), 1, np.float32)
    whole = outline(groups(build(make_finding(REGION, cam=cam)))[ACTIVATION_GROUP])
    assert whole.min(axis=0).tolist() == [REGION.left, REGION.top]
    assert whole.max(axis=0).tolist() == [REGION.right, REGION.bottom]
    blob = outline(groups(build(make_finding(REGION)))[ACTIVATION_GROUP])
    assert 8 <= len(blob) <= 60
    peak = np.array([REGION.left + 0.6 * REGION.width, REGION.top + 0.45 * REGION.height])
    radii = np.array([REGION.width * 0.15, REGION.height * 0.2]) * np.sqrt(np.log(2))
    assert np.hypot(*((blob - peak - 0.5) / radii).T) == pytest.approx(1, abs=0.05)


def test_no_activation_group_without_activation(build: Build, make_finding: MakeFinding) -> None:
    cam = np.zeros((REGION.height, REGION.width), np.float32)
    report = build(make_finding(REGION, cam=cam))
    assert len(groups(report)) == 1
    assert "No heatmap" in only(only(report, "C0034375"), "121106").TextValue


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"Laterality": "L"}, "7771000"),
        ({"Laterality": "R"}, "24028007"),
        ({"ImageLaterality": "B"}, "51440002"),
        ({"Laterality": "L", "ImageLaterality": "R"}, "24028007"),
        ({}, None),
        ({"Laterality": ""}, None),
        ({"ImageLaterality": "U"}, None),
    ],
)
def test_laterality_only_where_the_header_says_it(
    build: Build, make_finding: MakeFinding, header: dict[str, str], code: str | None
) -> None:
    site = only(groups(build(make_finding(REGION), **header))[SCORE_GROUP], "363698007")
    assert coded(site) == ("76752008", "SCT")
    if code is None:
        assert "ContentSequence" not in site
    else:
        assert coded(only(site, "272741003")) == (code, "SCT")


@pytest.mark.parametrize(
    ("sop_class", "frame"),
    [
        ("1.2.840.10008.5.1.4.1.1.6.1", None),
        ("1.2.840.10008.5.1.4.1.1.6", None),
        ("1.2.840.10008.5.1.4.1.1.3.1", 12),
        ("1.2.840.10008.5.1.4.1.1.3", 12),
    ],
    ids=["single", "single, retired", "cine", "cine, retired"],
)
def test_references_name_the_frame_of_a_cine(
    build: Build, make_finding: MakeFinding, sop_class: str, frame: int | None
) -> None:
    report = build(make_finding(REGION, frame=frame or 1), SOPClassUID=sop_class)
    references = [
        item.ReferencedSOPSequence[0]
        for item in walk(only(report, "126010"))
        if item.ValueType == "IMAGE"
    ]
    assert len(references) == 3
    for reference in references:
        assert reference.ReferencedSOPClassUID == sop_class
        assert reference.ReferencedSOPInstanceUID == "1.2.3.4.5.1"
        assert reference.get("ReferencedFrameNumber") == frame


def test_image_library_and_evidence_name_the_source(
    build: Build, make_finding: MakeFinding
) -> None:
    report = build(make_finding(REGION))
    entry = only(only(only(report, "111028"), "126200"), "260753009")
    assert entry.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5.1"
    study = report.CurrentRequestedProcedureEvidenceSequence[0]
    series = study.ReferencedSeriesSequence[0]
    assert study.StudyInstanceUID == report.StudyInstanceUID == "1.2.3.4.5.2"
    assert series.SeriesInstanceUID == "1.2.3.4.5.3" != report.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5.1"


def test_comment_can_be_read_alone(build: Build, make_finding: MakeFinding) -> None:
    finding = make_finding(
        REGION, frame=1, frames_scored=6, remarks=("There are calipers in the image.",)
    )
    assert only(only(build(finding), "C0034375"), "121106").TextValue == (
        "Probability of malignancy 73.21 %, threshold 41 %: malignant. "
        "Analysed box: ultrasound region. Frame 1 is the most suspicious of 6 scored. "
        "The heatmap shows the evidence for malignant. There are calipers in the image. "
        "Unverified AI result, for research use only."
    )


def test_report_on_an_image_that_was_not_analysed(build: Build) -> None:
    report = build(NOT_ANALYSED)
    assert items(report, "126010") == []
    summary = only(report, "C0034375")
    assert coded(only(summary, "111017")) == ("111245", "DCM")
    assert only(summary, "121106").TextValue == (
        "Not analysed: The region is coloured (reason: colour-doppler). "
        "Unverified AI result, for research use only."
    )
    assert len(items(only(only(report, "111028"), "126200"), "260753009")) == 1


def test_header_says_preliminary_unverified_research(
    build: Build, make_finding: MakeFinding, model: ModelIdentity
) -> None:
    report = build(make_finding(REGION))
    assert report.CompletionFlag == "COMPLETE"
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert report.ContentQualification == "RESEARCH"
    assert report.Manufacturer == "SecondRead"
    schemes = [i.CodingSchemeDesignator for i in report.CodingSchemeIdentificationSequence]
    assert schemes == ["99SECONDREAD"]
    scanner, algorithm = report.ContributingEquipmentSequence
    assert scanner.Manufacturer == "Maker"
    assert algorithm.ManufacturerModelName == model.name
    assert algorithm.SoftwareVersions == model.version
    assert algorithm.DeviceUID == device_uid(model.sha256)


def test_patient_and_study_are_the_source_s(
    build: Build, source: Dataset, make_finding: MakeFinding
) -> None:
    report = build(make_finding(REGION))
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber",
        "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyInstanceUID",
    ):  # fmt: skip
        assert report[keyword].value == source[keyword].value


def test_source_is_not_changed(build: Build, source: Dataset, make_finding: MakeFinding) -> None:
    before = deepcopy(source)
    build(make_finding(REGION))
    assert source == before


def test_a_poor_header_is_filled_as_the_standard_permits(
    source: Dataset,
    model: ModelIdentity,
    started_at: datetime,
    make_finding: MakeFinding,
    iod_errors: Callable[[bytes], list[str]],
) -> None:
    for keyword in list(source.dir()):
        if not keyword.endswith("UID"):
            delattr(source, keyword)
    for result in (make_finding(REGION), NOT_ANALYSED):
        report = build_report(source, result, model, revision=0, started_at=started_at)
        assert report.PatientID == ""
        assert iod_errors(part10_bytes(report)) == []


def test_invalid_values_are_left_out_and_old_dates_are_read(
    build: Build, make_finding: MakeFinding
) -> None:
    with pytest.warns(UserWarning, match="Invalid value"):
        report = build(
            make_finding(REGION),
            PatientSex="female",
            PatientBirthDate="02/01/1970",
            StudyDate="1994.01.30",
            StudyTime="10:11:12",
        )
    assert report.PatientSex == ""
    assert report.PatientBirthDate == ""
    assert report.StudyDate == "19940130"
    assert report.StudyTime == "101112"


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"]
)
def test_a_source_without_identity_is_refused_without_showing_its_data(
    build: Build, source: Dataset, make_finding: MakeFinding, keyword: str
) -> None:
    delattr(source, keyword)
    with pytest.raises(ReportError) as refused:
        build(make_finding(REGION))
    assert str(refused.value) == f"the source image has no {keyword}"


def test_times_are_told_in_the_source_s_timezone(build: Build, make_finding: MakeFinding) -> None:
    report = build(make_finding(REGION), TimezoneOffsetFromUTC="+0800")
    assert report.TimezoneOffsetFromUTC == "+0800"
    assert (report.ContentDate, report.ContentTime) == ("20250304", "130607.089000")
    assert report.ContributingEquipmentSequence[1].ContributionDateTime == "20250304130607.089000"


def test_times_keep_the_timezone_of_started_at_where_the_source_has_none(
    source: Dataset, model: ModelIdentity, started_at: datetime, make_finding: MakeFinding
) -> None:
    local = started_at.astimezone(timezone(timedelta(hours=-6)))
    report = build_report(source, make_finding(REGION), model, revision=0, started_at=local)
    assert report.TimezoneOffsetFromUTC == "-0600"
    assert (report.ContentDate, report.ContentTime) == ("20250303", "230607.089000")


def test_times_need_a_timezone(
    source: Dataset, model: ModelIdentity, started_at: datetime, make_finding: MakeFinding
) -> None:
    naive = started_at.replace(tzinfo=None)
    with pytest.raises(ValueError, match="timezone"):
        build_report(source, make_finding(REGION), model, revision=0, started_at=naive)


def test_another_revision_or_model_is_another_report(
    source: Dataset, model: ModelIdentity, started_at: datetime, make_finding: MakeFinding
) -> None:
    retrained = replace(model, sha256="f" * 64)
    finding = make_finding(REGION)
    reports = [
        build_report(source, finding, model, revision=0, started_at=started_at),
        build_report(source, finding, model, revision=1, started_at=started_at),
        build_report(source, finding, retrained, revision=0, started_at=started_at),
        build_report(source, NOT_ANALYSED, model, revision=0, started_at=started_at),
    ]
    assert len({report.SOPInstanceUID for report in reports}) == 4
    assert len({report.SeriesInstanceUID for report in reports}) == 4
