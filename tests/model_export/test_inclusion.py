"""The paper's rules of inclusion, and a flow whose numbers add up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_export.preparation.clinical import ClinicalRow
from model_export.preparation.flow import STAGES, Count, count, flow
from model_export.preparation.inclusion import (
    BIRADS,
    Assessed,
    clinical_reason,
    exclude_duplicates,
    exclude_other_lesions,
)

ROW = ClinicalRow(
    line=2,
    file="a",
    sop_instance_uid="",
    patient="P1",
    lesion="L1",
    birads="4a",
    label="benign",
    pathology="benign",
    age=None,
    diameter_mm=None,
    side="",
    device="",
    frame=None,
    split="",
)


def image(
    file: str,
    patient: str = "P1",
    lesion: str = "L1",
    birads: str = "4a",
    diameter: float | None = None,
    digest: bytes | None = None,
) -> Assessed:
    row = replace(ROW, patient=patient, lesion=lesion, birads=birads, diameter_mm=diameter)
    return Assessed(file, row, digest=digest)


def reasons(images: list[Assessed]) -> dict[str, str | None]:
    return {image.file: image.reason for image in images}


@pytest.mark.parametrize("birads", BIRADS)
def test_the_papers_categories_are_included(birads: str) -> None:
    assert clinical_reason([replace(ROW, birads=birads)], BIRADS) is None


@pytest.mark.parametrize("birads", ["0", "1", "2", "4", "5", "6"])
def test_other_categories_are_not(birads: str) -> None:
    assert clinical_reason([replace(ROW, birads=birads)], BIRADS) == "birads-not-included"


def test_what_the_table_does_not_say() -> None:
    assert clinical_reason([], BIRADS) == "no-clinical-row"
    assert clinical_reason([ROW, ROW], BIRADS) == "several-clinical-rows"
    assert clinical_reason([replace(ROW, birads="")], BIRADS) == "no-birads"
    assert clinical_reason([replace(ROW, label=None)], BIRADS) == "no-definite-pathology"


def test_the_lesion_with_the_highest_category_stays_with_all_its_images() -> None:
    images = [
        image("a", lesion="L1", birads="4a", diameter=40),
        image("b", lesion="L2", birads="4b", diameter=5),
        image("c", lesion="L2", birads="4b", diameter=5),
        image("d", patient="P2", lesion="L1", birads="3"),
    ]
    assert reasons(exclude_other_lesions(images)) == {
        "a": "other-lesion",
        "b": None,
        "c": None,
        "d": None,
    }


def test_at_equal_category_the_larger_then_the_first_by_name() -> None:
    larger = [image("a", lesion="L1", diameter=9), image("b", lesion="L2", diameter=11)]
    assert reasons(exclude_other_lesions(larger)) == {"a": "other-lesion", "b": None}
    unknown = [image("a", lesion="L1"), image("b", lesion="L2", diameter=1)]
    assert reasons(exclude_other_lesions(unknown)) == {"a": "other-lesion", "b": None}
    equal = [image("a", lesion="L2", diameter=9), image("b", lesion="L1", diameter=9)]
    assert reasons(exclude_other_lesions(equal)) == {"a": "other-lesion", "b": None}
    assert reasons(exclude_other_lesions(equal[::-1])) == {"a": "other-lesion", "b": None}


def test_a_lesion_that_is_out_does_not_count() -> None:
    gone = replace(image("a", lesion="L1", birads="5"), reason="birads-not-included")
    found = exclude_other_lesions([gone, image("b", lesion="L2", birads="3")])
    assert reasons(found) == {"a": "birads-not-included", "b": None}


def test_the_same_pixels_twice() -> None:
    images = [
        image("b", digest=b"1"),
        image("a", digest=b"1"),
        image("c", digest=b"2"),
        image("d", patient="P2", digest=b"2"),
        image("e", digest=b"3"),
    ]
    assert reasons(exclude_duplicates(images)) == {
        "a": None,
        "b": "duplicate-picture",
        "c": "picture-of-two-patients",
        "d": "picture-of-two-patients",
        "e": None,
    }


CODES = [code for stage in STAGES for code in stage.reasons] + ["too-small", "no-content"]


@st.composite
def assessments(draw: st.DrawFn) -> list[Assessed]:
    images = []
    for number in range(draw(st.integers(0, 40))):
        reason = draw(st.none() | st.sampled_from(CODES))
        patient, lesion = draw(st.sampled_from("ABCDEF")), draw(st.sampled_from("12"))
        known = reason not in ("no-clinical-row", "several-clinical-rows")
        row = replace(ROW, patient=patient, lesion=lesion) if known else None
        images.append(Assessed(str(number), row, reason))
    return images


@given(images=assessments())
@settings(max_examples=200, deadline=None)
def test_the_flow_adds_up(images: list[Assessed]) -> None:
    left = [image for image in images if image.reason is None]
    part_of = {patient: ("train", "validation", "test")[ord(patient) % 3] for patient in "ABCDEF"}
    told = flow(images, part_of)
    assert told.found == count(images)
    before = told.found
    for step in told.exclusions:
        assert before - step.excluded == step.remaining
        assert min(step.excluded.images, step.excluded.lesions, step.excluded.patients) >= 0
        assert step.excluded.images == sum(image.reason == step.reason for image in images)
        before = step.remaining
    assert before == told.included == count(left)
    parts = told.parts.values()
    assert told.included == Count(
        sum(part.images for part in parts),
        sum(part.lesions for part in parts),
        sum(part.patients for part in parts),
    )


def test_the_table_shows_every_number() -> None:
    images = [
        Assessed("a", ROW),
        Assessed("b", replace(ROW, patient="P2"), "too-small"),
        Assessed("c", None, "no-clinical-row"),
    ]
    table = flow(images, {"P1": "train"}).table(["note"])
    assert [row[1:] for row in table.rows] == [
        ("", "", "", "", "3", "2", "2"),
        ("no-clinical-row", "1", "0", "0", "2", "2", "2"),
        ("too-small", "1", "1", "1", "1", "1", "1"),
        ("", "", "", "", "1", "1", "1"),
        ("", "", "", "", "1", "1", "1"),
        ("", "", "", "", "0", "0", "0"),
        ("", "", "", "", "0", "0", "0"),
    ]
    assert "not analysable, too small" in table.markdown()
