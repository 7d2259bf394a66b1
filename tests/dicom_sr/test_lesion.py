"""A lesion of several views has one fused score in the summary; all else stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, EnhancedSRStorage

from dicom_sr.finding import Box, Decision, ModelIdentity, NotAnalysed
from dicom_sr.fusion import RULE, fuse
from dicom_sr.lesion import FoundBy, Lesion
from dicom_sr.part10 import part10_bytes
from dicom_sr.reference import InstanceReference
from dicom_sr.study_report import ImageResult, Scored, build_study_report
from dicom_sr.validity import problems
from dicom_sr.variant import Variant, as_variant
from tests.dicom_sr.content_tree import groups, items, only

REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"
THRESHOLD = 0.41
PROCEDURE = 'Code (47079000,SCT,"Ultrasonography of breast") not found in context group 100'
LESION = Lesion("place L 20", "10:00", "L", FoundBy.HEADER, ("1.2.3.4.6.1", "1.2.3.4.6.2"))

Result = Callable[..., ImageResult]
Summarise = Callable[..., Dataset]


@pytest.fixture
def result(source: Dataset, model: ModelIdentity) -> Result:
    """``result(number, probability)``: of image ``number``; None: it was not analysed."""

    def make(number: int, probability: float | None, **changed: object) -> ImageResult:
        image = deepcopy(source)
        image.SOPInstanceUID = f"1.2.3.4.6.{number}"
        image.InstanceNumber = number
        image.SeriesNumber = 3
        report = InstanceReference("1.2.3.4.5.2", f"1.3.{number}.1", REPORT_CLASS, f"1.3.{number}")
        if probability is None:
            return ImageResult(image, NotAnalysed("doppler", "It is Doppler."), model, report)
        decision = Decision.MALIGNANT if probability >= THRESHOLD else Decision.BENIGN
        region = Box(20, 10, 220, 130 + number)
        scored = Scored(1, 1, probability, THRESHOLD, decision, region, unlike_training=False)
        return ImageResult(image, replace(scored, **changed), model, report)

    return make


@pytest.fixture
def summarise(started_at: datetime) -> Summarise:
    def make(results: list[ImageResult], *lesions: Lesion, number: int = 0) -> Dataset:
        report = build_study_report(
            results, number=number, with_reports=True, started_at=started_at, lesions=lesions
        )
        assert problems(report, results[0].image, [each.image for each in results[1:]]) == []
        return report

    return make


def percent(group: Dataset) -> float:
    return float(only(group, "111047").MeasuredValueSequence[0].NumericValue)


def comment(report: Dataset) -> str:
    return str(items(only(report, "C0034375"), "121106")[0].TextValue)


def test_a_lesion_stands_first_with_its_fused_score_and_the_images_stay(
    result: Result, summarise: Summarise
) -> None:
    report = summarise([result(1, 0.2), result(2, 0.8), result(3, 0.9)], LESION)
    lesion, *images = groups(report)
    assert only(lesion, "112039").TextValue == "Lesion, left, 10:00"
    assert percent(lesion) == round(100 * fuse([0.2, 0.8]), 2) == 50
    assert [percent(group) for group in images] == [90, 80, 20]
    site = only(lesion, "363698007")
    assert only(site, "272741003").ConceptCodeSequence[0].CodeValue == "7771000"
    assert only(lesion, "111005").ConceptCodeSequence[0].CodeMeaning == "Malignant"
    views = items(only(lesion, "111047"), "121112")
    assert [str(view.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for view in views] == [
        "1.2.3.4.6.1",
        "1.2.3.4.6.2",
    ]


def test_the_rule_its_views_and_who_says_so_stand_in_words(
    result: Result, summarise: Summarise
) -> None:
    report = summarise([result(1, 0.2), result(2, 0.8)], LESION)
    lesion = groups(report)[0]
    assert only(lesion, "121106").TextValue == (
        "Fused from 2 views: mean of logits. Views: image 1 of series 3, 20 %; image 2 of series "
        "3, 80 %. Said to be one lesion by the images' headers. Unverified AI result, for "
        "research use only."
    )
    parameters = [item.TextValue for item in items(lesion, "111002")]
    assert f"lesion_fusion={RULE}" in parameters
    assert "Lesion, left, 10:00: probability of malignancy 50 %, fused from 2 views" in comment(
        report
    )


def test_an_operators_link_is_named_as_such_and_no_side_is_guessed(
    result: Result, summarise: Summarise
) -> None:
    linked = replace(LESION, side=None, found_by=FoundBy.OPERATOR, name="linked by the operator")
    lesion = groups(summarise([result(1, 0.2), result(2, 0.8)], linked))[0]
    assert "ContentSequence" not in only(lesion, "363698007")
    assert "by an operator" in only(lesion, "121106").TextValue
    assert only(lesion, "112039").TextValue == "Lesion, side not stated, linked by the operator"


def test_the_region_is_that_of_the_most_suspicious_view(
    result: Result, summarise: Summarise
) -> None:
    lesion = groups(summarise([result(1, 0.2), result(2, 0.8)], LESION))[0]
    region = only(lesion, "111030")
    selected = region.ContentSequence[0].ReferencedSOPSequence[0]
    assert selected.ReferencedSOPInstanceUID == "1.2.3.4.6.2"
    assert max(region.GraphicData) >= 132


def test_the_tracking_uid_stays_in_the_summaries_that_follow(
    result: Result, summarise: Summarise
) -> None:
    first = groups(summarise([result(1, 0.2), result(2, 0.8)], LESION))[0]
    more = replace(LESION, views=(*LESION.views, "1.2.3.4.6.3"))
    later = summarise([result(1, 0.3), result(2, 0.8), result(3, 0.9)], more, number=1)
    assert only(first, "112040").UID == only(groups(later)[0], "112040").UID
    tracked = [only(group, "112040").UID for group in groups(later)]
    assert len(set(tracked)) == len(tracked)


def test_views_unlike_the_training_images_are_said(result: Result, summarise: Summarise) -> None:
    lesion = groups(summarise([result(1, 0.2, unlike_training=True), result(2, 0.8)], LESION))[0]
    assert "1 of them unlike those the model was trained on" in only(lesion, "121106").TextValue


@pytest.mark.parametrize(
    "second",
    [
        {"probability": None},
        {"probability": 0.8, "threshold": 0.5},
    ],
)
def test_views_that_cannot_be_fused_make_no_section(
    result: Result, summarise: Summarise, second: dict[str, float]
) -> None:
    results = [result(1, 0.2), result(2, second.pop("probability"), **second)]
    alone, with_lesion = summarise(results), summarise(results, LESION)
    assert part10_bytes(with_lesion) == part10_bytes(alone)


def test_scores_of_two_models_are_not_fused(
    result: Result, summarise: Summarise, model: ModelIdentity
) -> None:
    other = replace(model, sha256="f" * 64)
    results = [result(1, 0.2), replace(result(2, 0.8), model=other)]
    assert len(groups(summarise(results, LESION))) == 2


def test_the_most_suspicious_lesion_stands_first(result: Result, summarise: Summarise) -> None:
    other = Lesion("place R 4", "2:00", "R", FoundBy.HEADER, ("1.2.3.4.6.3", "1.2.3.4.6.4"))
    results = [result(1, 0.2), result(2, 0.3), result(3, 0.6), result(4, 0.7)]
    names = [only(group, "112039").TextValue for group in groups(summarise(results, LESION, other))]
    assert names[:2] == ["Lesion, right, 2:00", "Lesion, left, 10:00"]


def test_validators_and_viewers_take_a_summary_with_lesions(
    result: Result,
    summarise: Summarise,
    our_errors: Callable[[Dataset, Dataset], list[str]],
    pixelmed_complaints: Callable[[Dataset], list[str]],
    run_tool: Callable[..., str],
    tmp_path: Path,
) -> None:
    results = [result(1, 0.2), result(2, 0.8)]
    report = summarise(results, LESION)
    for each in (
        report,
        as_variant(report, Variant(ComprehensiveSRStorage)),
        as_variant(report, Variant(EnhancedSRStorage)),
    ):
        assert our_errors(results[0].image, each) == []
    said = pixelmed_complaints(report)
    assert [line.endswith(PROCEDURE) for line in said if line.startswith("Error")] == [True]
    warnings = [line for line in said if line.startswith("Warning")]
    assert all(line.endswith("Content Item not in template") for line in warnings)
    path = tmp_path / "summary.dcm"
    path.write_bytes(part10_bytes(report))
    printed = run_tool("dsrdump", "+Pl", str(path))
    assert [line for line in printed.splitlines() if line.startswith("E:")] == []
    assert "Fused from 2 views: mean of logits" in printed
