"""The summary of a study leads from the most suspicious image to all others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_sr.finding import Box, Decision, ModelIdentity, NotAnalysed
from dicom_sr.identity import device_uid
from dicom_sr.part10 import part10_bytes
from dicom_sr.reference import InstanceReference
from dicom_sr.study_report import ImageResult, Scored, build_study_report
from dicom_sr.validity import problems
from tests.dicom_sr.content_tree import groups, items, only

REGION = Box(20, 10, 220, 130)
NOT_ANALYSED = NotAnalysed("colour-doppler", "The region is coloured.")
REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"

MakeResult = Callable[..., ImageResult]
Summarise = Callable[..., Dataset]


@pytest.fixture
def make_result(source: Dataset, model: ModelIdentity) -> MakeResult:
    """``make_result(number, probability)``: image ``number`` of series 3; None: not analysed."""

    def make(
        number: int,
        probability: float | None,
        *,
        reason: NotAnalysed = NOT_ANALYSED,
        by: ModelIdentity = model,
        frame: int = 1,
        unlike_training: bool = False,
        **header: object,
    ) -> ImageResult:
        image = deepcopy(source)
        image.SOPInstanceUID = f"1.2.3.4.6.{number}"
        image.InstanceNumber = number
        image.SeriesNumber = 3
        for keyword, value in header.items():
            setattr(image, keyword, value)
        report = InstanceReference("1.2.3.4.5.2", f"1.3.{number}.1", REPORT_CLASS, f"1.3.{number}")
        if probability is None:
            return ImageResult(image, reason, by, report)
        decision = Decision.MALIGNANT if probability >= 0.41 else Decision.BENIGN
        scored = Scored(frame, 1, probability, 0.41, decision, REGION, unlike_training)
        return ImageResult(image, scored, by, report)

    return make


@pytest.fixture
def summarise(started_at: datetime) -> Summarise:
    def make(results: Sequence[ImageResult], **changed: object) -> Dataset:
        arguments: dict[str, object] = {"number": 0, "with_reports": True, "started_at": started_at}
        report = build_study_report(results, **(arguments | changed))  # type: ignore[arg-type]
        assert problems(report, results[0].image, [each.image for each in results[1:]]) == []
        return report

    return make


def labels(report: Dataset) -> list[str]:
    return [only(group, "112039").TextValue for group in groups(report)]


def referenced(item: Dataset) -> str:
    return str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def comments(report: Dataset) -> list[str]:
    return [item.TextValue for item in items(only(report, "C0034375"), "121106")]


def evidence(report: Dataset) -> list[str]:
    return [
        str(instance.ReferencedSOPInstanceUID)
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]


def test_header_is_that_of_the_first_image_and_of_a_summary(
    make_result: MakeResult, summarise: Summarise
) -> None:
    results = [make_result(1, 0.2, StudyID="S-9"), make_result(2, 0.7)]
    report = summarise(results)
    assert report.SOPClassUID == REPORT_CLASS
    assert report.SeriesNumber == 9006
    assert report.SeriesDescription == "AI breast ultrasound study summary, unverified"
    assert report.StudyInstanceUID == "1.2.3.4.5.2"
    assert report.StudyID == "S-9"
    assert (report.CompletionFlag, report.PreliminaryFlag) == ("COMPLETE", "PRELIMINARY")
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_the_most_suspicious_image_stands_first(
    make_result: MakeResult, summarise: Summarise
) -> None:
    report = summarise([make_result(1, 0.2), make_result(2, 0.9), make_result(3, 0.5)])
    assert labels(report) == ["Image 2 of series 3", "Image 3 of series 3", "Image 1 of series 3"]
    percent = [
        float(only(group, "111047").MeasuredValueSequence[0].NumericValue)
        for group in groups(report)
    ]
    assert percent == [90, 50, 20]


def test_what_its_own_threshold_calls_malignant_comes_before_a_higher_benign_score(
    make_result: MakeResult, summarise: Summarise, model: ModelIdentity
) -> None:
    strict = replace(model, name="Strict", sha256="f" * 64)
    benign = make_result(1, 0.6, by=strict)
    score = replace(benign.result, threshold=0.8, decision=Decision.BENIGN)
    report = summarise([replace(benign, result=score), make_result(2, 0.5)])
    assert labels(report) == ["Image 2 of series 3", "Image 1 of series 3"]


def test_equal_scores_are_in_order_of_side_and_acquisition(
    make_result: MakeResult, summarise: Summarise
) -> None:
    report = summarise(
        [
            make_result(5, 0.5),
            make_result(4, 0.5, Laterality="L"),
            make_result(3, 0.5, Laterality="R"),
            make_result(2, 0.5, Laterality="R", SeriesNumber=9),
        ]
    )
    assert labels(report) == [
        "Image 3 of series 3",
        "Image 2 of series 9",
        "Image 4 of series 3",
        "Image 5 of series 3",
    ]


def test_a_group_tells_score_decision_algorithm_and_region(
    make_result: MakeResult, summarise: Summarise, model: ModelIdentity
) -> None:
    (group,) = groups(summarise([make_result(1, 0.7321, Laterality="L")]))
    assert group.ContentTemplateSequence[0].TemplateIdentifier == "1410"
    values = {
        code: float(only(group, code).MeasuredValueSequence[0].NumericValue)
        for code in ("111047", "SR001", "SR002")
    }
    assert values == {"111047": 73.21, "SR001": 26.79, "SR002": 41.0}
    assert only(group, "111005").ConceptCodeSequence[0].CodeMeaning == "Malignant"
    assert only(group, "111001").TextValue == model.name
    assert f"model_sha256={model.sha256}" in [item.TextValue for item in items(group, "111002")]
    region = only(group, "111030")
    assert list(region.GraphicData) == [20, 10, 220, 10, 220, 130, 20, 130, 20, 10]
    assert referenced(region.ContentSequence[0]) == "1.2.3.4.6.1"
    side = only(only(group, "363698007"), "272741003")
    assert side.ConceptCodeSequence[0].CodeMeaning == "Left"


def test_laterality_is_not_guessed(make_result: MakeResult, summarise: Summarise) -> None:
    (group,) = groups(summarise([make_result(1, 0.7)]))
    assert "ContentSequence" not in only(group, "363698007")


def test_each_image_s_own_report_is_referred_to(
    make_result: MakeResult, summarise: Summarise
) -> None:
    results = [make_result(1, 0.7), make_result(2, None), make_result(3, 0.2)]
    report = summarise(results)
    assert [referenced(only(group, "126000")) for group in groups(report)] == ["1.3.1", "1.3.3"]
    assert only(groups(report)[0], "126000").ValueType == "COMPOSITE"
    reason = items(only(report, "C0034375"), "121106")[1]
    assert [referenced(item) for item in reason.ContentSequence] == ["1.2.3.4.6.2", "1.3.2"]
    assert {"1.3.1", "1.3.2", "1.3.3"} < set(evidence(report))


def test_or_it_stands_alone(make_result: MakeResult, summarise: Summarise) -> None:
    results = [make_result(1, 0.7), make_result(2, None)]
    alone = summarise(results, with_reports=False)
    assert evidence(alone) == ["1.2.3.4.6.1", "1.2.3.4.6.2"]
    assert items(groups(alone)[0], "126000") == []
    assert alone.SOPInstanceUID != summarise(results).SOPInstanceUID


def test_an_image_without_a_report_is_told_all_the_same(
    make_result: MakeResult, summarise: Summarise
) -> None:
    report = summarise([replace(make_result(1, 0.7), report=None), make_result(2, 0.6)])
    assert [len(items(group, "126000")) for group in groups(report)] == [0, 1]


def test_library_and_evidence_hold_every_image_once(
    make_result: MakeResult, summarise: Summarise, model: ModelIdentity
) -> None:
    other = replace(model, name="Other", sha256="e" * 64)
    results = [
        make_result(2, 0.7, SeriesInstanceUID="1.2.3.4.5.8", SeriesNumber=1),
        make_result(1, 0.2),
        make_result(1, 0.4, by=other),
        make_result(3, None),
    ]
    report = summarise(results, with_reports=False)
    images = ["1.2.3.4.6.2", "1.2.3.4.6.1", "1.2.3.4.6.3"]
    library = only(only(report, "111028"), "126200")
    assert [referenced(item) for item in library.ContentSequence] == images
    assert sorted(evidence(report)) == sorted(images)
    assert len(groups(report)) == 3


def test_several_models_have_a_part_in_it(
    make_result: MakeResult, summarise: Summarise, model: ModelIdentity
) -> None:
    other = ModelIdentity("Other", "3", "e" * 64)
    report = summarise([make_result(1, 0.7, by=other), make_result(2, 0.5)])
    algorithms = report.ContributingEquipmentSequence[1:]
    assert [item.DeviceUID for item in algorithms] == [
        device_uid(model.sha256),
        device_uid(other.sha256),
    ]
    assert [only(group, "111001").TextValue for group in groups(report)] == ["Other", model.name]
    assert only(report, "121013").TextValue == f"{model.name}, Other"


def test_a_cine_is_referred_to_by_its_frame(make_result: MakeResult, summarise: Summarise) -> None:
    cine = make_result(1, 0.7, frame=12, SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1")
    report = summarise([cine])
    assert labels(report) == ["Image 1 of series 3, frame 12"]
    image = only(groups(report)[0], "111030").ContentSequence[0]
    assert image.ReferencedSOPSequence[0].ReferencedFrameNumber == 12


def test_images_that_were_not_analysed_stand_with_their_reason(
    make_result: MakeResult, summarise: Summarise
) -> None:
    small = NotAnalysed("too-small", "The image is too small.")
    report = summarise(
        [
            make_result(1, 0.2),
            make_result(2, None),
            make_result(3, None, reason=small),
            make_result(4, None),
        ]
    )
    assert comments(report)[1:] == [
        "Not analysed: image 2 of series 3; image 4 of series 3. "
        "The region is coloured (reason: colour-doppler).",
        "Not analysed: image 3 of series 3. The image is too small (reason: too-small).",
    ]


@pytest.mark.parametrize(
    ("probabilities", "summary"),
    [
        ([0.2, 0.3], "111241"),
        ([0.2, 0.5], "111242"),
        ([0.2, None], "111243"),
        ([0.5, None], "111244"),
        ([None, None], "111245"),
    ],
)
def test_the_study_in_one_code(
    make_result: MakeResult,
    summarise: Summarise,
    probabilities: list[float | None],
    summary: str,
) -> None:
    results = [make_result(number, each) for number, each in enumerate(probabilities, 1)]
    report = summarise(results)
    coded = only(only(report, "C0034375"), "111017").ConceptCodeSequence[0]
    assert (coded.CodeValue, coded.CodingSchemeDesignator) == (summary, "DCM")
    assert len(items(report, "126010")) == (summary != "111245")


def test_the_study_in_one_line(make_result: MakeResult, summarise: Summarise) -> None:
    results = [
        make_result(1, 0.2, Laterality="L"),
        make_result(2, 0.9, Laterality="R", unlike_training=True),
        make_result(3, 0.5, Laterality="R"),
        make_result(4, None, Laterality="L"),
        make_result(5, None),
    ]
    assert comments(summarise(results))[0] == (
        "5 images, 3 analysed. Most suspicious: image 2 of series 3, probability of malignancy "
        "90 %, threshold 41 %: malignant. Right: 2 of 2 called malignant, highest 90 %; "
        "left: 0 of 1 called malignant, highest 20 %; side not stated: 1 image, none analysed. "
        "1 image unlike those the model was trained on: such a score means little. "
        "Unverified AI result, for research use only."
    )
    assert comments(summarise(results[3:]))[0] == (
        "2 images, none analysed. Unverified AI result, for research use only."
    )
    nameless = make_result(1, 0.5)
    del nameless.image.SeriesNumber
    assert comments(summarise([nameless]))[0].startswith(
        "1 image, 1 analysed. Most suspicious: image 1, probability of malignancy 50 %"
    )


def test_the_same_results_give_the_same_bytes_in_any_order(
    make_result: MakeResult, summarise: Summarise
) -> None:
    results = [make_result(n, p) for n, p in ((1, 0.5), (2, 0.5), (3, None), (4, 0.7))]
    others = results[:1] + results[:0:-1]
    assert part10_bytes(summarise(results)) == part10_bytes(summarise(others))


def test_a_late_image_makes_a_new_summary_that_replaces_the_old_one(
    make_result: MakeResult, summarise: Summarise
) -> None:
    results = [make_result(1, 0.5)]
    first = summarise(results)
    assert "PredecessorDocumentsSequence" not in first
    second = summarise([*results, make_result(2, 0.7)], number=1)
    assert second.SOPInstanceUID != first.SOPInstanceUID
    assert second.SeriesInstanceUID != first.SeriesInstanceUID
    series = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert referenced(series) == first.SOPInstanceUID
    old, new = groups(first)[0], groups(second)[1]
    assert only(old, "112040").UID == only(new, "112040").UID, "the same region is tracked"


def test_the_caller_may_name_what_is_replaced(
    make_result: MakeResult, summarise: Summarise
) -> None:
    old = InstanceReference("1.2.3.4.5.2", "1.8", REPORT_CLASS, "1.9")
    report = summarise([make_result(1, 0.5)], number=2, predecessor=old)
    series = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert (series.SeriesInstanceUID, referenced(series)) == ("1.8", "1.9")


@pytest.mark.parametrize("study", ["1.2.3.4.5.9", None], ids=["of two studies", "of nothing"])
def test_what_is_no_single_study_is_refused(
    make_result: MakeResult, summarise: Summarise, study: str | None
) -> None:
    results = [make_result(1, 0.5), make_result(2, 0.5, StudyInstanceUID=study)] if study else []
    with pytest.raises(ValueError, match="one study"):
        summarise(results)


@pytest.fixture
def mixed_study(make_result: MakeResult, model: ModelIdentity) -> list[ImageResult]:
    """Two models, two series, both sides, a cine, an image that was not analysed."""
    other = replace(model, name="Other", sha256="e" * 64)
    return [
        make_result(1, 0.2, Laterality="L"),
        make_result(2, 0.9, Laterality="R", SeriesNumber=4, SeriesInstanceUID="1.2.3.4.5.8"),
        make_result(3, 0.4, frame=2, SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1"),
        make_result(4, 0.6, by=other, ImageLaterality="B"),
        make_result(5, None),
    ]


@pytest.mark.parametrize("with_reports", [True, False])
def test_dciodvfy_and_dsrdump_accept_it(
    mixed_study: list[ImageResult],
    summarise: Summarise,
    iod_errors: Callable[[bytes], list[str]],
    run_tool: Callable[..., str],
    tmp_path: Path,
    with_reports: bool,
) -> None:
    content = part10_bytes(summarise(mixed_study, with_reports=with_reports, number=1))
    assert iod_errors(content) == []
    path = tmp_path / "summary.dcm"
    path.write_bytes(content)
    printed = run_tool("dsrdump", "+Pl", str(path))
    assert [line for line in printed.splitlines() if line.startswith("E:")] == []
    assert "Most suspicious: image 2 of series 4" in printed
    assert printed.count("COMPOSITE") == (5 if with_reports else 0)


def test_pixelmed_finds_no_error_but_the_code_of_the_procedure(
    mixed_study: list[ImageResult],
    summarise: Summarise,
    pixelmed_complaints: Callable[[Dataset], list[str]],
) -> None:
    complaints = pixelmed_complaints(summarise(mixed_study))
    (error,) = (line for line in complaints if line.startswith("Error"))
    # Context group 100 is extensible.
    assert error.endswith(
        'Code (47079000,SCT,"Ultrasonography of breast") not found in context group 100'
    )


def test_200_images_take_seconds_at_most(make_result: MakeResult, started_at: datetime) -> None:
    results = [
        make_result(number, None if number % 5 == 0 else number / 200) for number in range(1, 201)
    ]
    began = time.process_time()
    report = build_study_report(results, number=0, with_reports=True, started_at=started_at)
    content = part10_bytes(report)
    found = problems(report, results[0].image, [each.image for each in results[1:]])
    assert time.process_time() - began < 5, "1.3 s when it was measured"
    assert found == []
    assert len(groups(report)) == 160
    assert len(content) < 1_000_000
