"""Which images are one lesion: one place, planes at right angles; others stand alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_sr.lesion import FoundBy, Lesion
from service.journal.records import LesionLink
from service.summary.annotation import Annotation, parse_annotation
from service.summary.attribution import View, lesions_of, read_view


def view(number: int, text: str, tracking_uid: str | None = None) -> View:
    return View(f"key{number}", f"1.{number}", tracking_uid, parse_annotation(text))


def found(*texts: str) -> list[tuple[str, ...]]:
    lesions = lesions_of([view(number, text) for number, text in enumerate(texts, 1)], [])
    return [lesion.views for lesion in lesions]


def test_orthogonal_views_of_one_place_are_one_lesion() -> None:
    (lesion,) = lesions_of(
        [view(1, "L 10 o'clock 3 cm FN RAD"), view(2, "LT BREAST 10:00 3CMFN ARAD")], []
    )
    assert lesion == Lesion(
        "place L 20 30 None",
        "10:00, 3 cm from the nipple",
        "L",
        FoundBy.HEADER,
        ("1.1", "1.2"),
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("L 10:00 RAD", "R 10:00 ARAD"),
        ("L 10:00 RAD", "L 10:30 ARAD"),
        ("L 10:00 RAD", "L 10:00 RAD"),
        ("L 10:00 RAD", "L 10:00 TRANS"),
        ("L 10:00 RAD", "L 10:00"),
        ("L 10:00", "L 10:00"),
        ("L 10:00 3 CM FN RAD", "L 10:00 5 CM FN ARAD"),
        ("L 10:00 LESION 1 RAD", "L 10:00 LESION 2 ARAD"),
        ("LEFT RAD", "LEFT ARAD"),
        ("LEFT AXILLA L 10:00 TRANS", "LEFT AXILLA L 10:00 LONG"),
        ("L 10:00 R 10:00 RAD", "L 10:00 ARAD"),
        ("10 o'clock RAD", "10 o'clock ARAD"),
        ("", ""),
    ],
)
def test_nothing_is_guessed(first: str, second: str) -> None:
    assert found(first, second) == []


def test_several_views_of_one_plane_belong_to_the_lesion_too() -> None:
    assert found("L 2:00 TRANS", "L 2:00 TRANS", "L 2:00 LONG") == [("1.1", "1.2", "1.3")]


def test_a_distance_left_unsaid_is_that_of_the_others_only_where_they_agree() -> None:
    assert found("L 2:00 3 CM FN TRANS", "L 2:00 LONG") == [("1.1", "1.2")]
    apart = ("L 2:00 3 CM FN TRANS", "L 2:00 3 CM FN LONG", "L 2:00 6 CM FN LONG", "L 2:00 TRANS")
    assert found(*apart) == [("1.1", "1.2")]


def test_an_operators_link_comes_before_the_header() -> None:
    views = [view(1, "L 10:00 RAD"), view(2, "L 10:00 ARAD"), view(3, "")]
    link = LesionLink("ab" * 16, "L", ("key1", "key3"))
    (lesion,) = lesions_of(views, [link])
    assert (lesion.views, lesion.side) == (("1.1", "1.3"), "L")
    assert lesion.found_by is FoundBy.OPERATOR


def test_a_side_that_link_and_header_tell_differently_is_not_told() -> None:
    views = [view(1, "L 10:00 RAD"), view(2, "")]
    (lesion,) = lesions_of(views, [LesionLink("ab", "R", ("key1", "key2"))])
    assert lesion.side is None


def test_a_link_of_which_one_image_is_left_is_no_lesion() -> None:
    assert lesions_of([view(1, "")], [LesionLink("ab", "R", ("key1", "key2"))]) == []


def test_images_with_one_tracking_uid_are_one_lesion() -> None:
    views = [view(1, "L 1:00", "1.9"), view(2, "", "1.9"), view(3, "", "1.8")]
    (lesion,) = lesions_of(views, [])
    assert (lesion.views, lesion.side) == (("1.1", "1.2"), "L")
    assert lesions_of([view(1, "LEFT", "1.9"), view(2, "RIGHT", "1.9")], []) == []


TEXTS = ["", "L 3:00 RAD", "L 3:00 ARAD", "L 3:00 2 CM FN ARAD", "R 3:00 RAD", "R 3:00 #1 ARAD"]


@given(st.lists(st.sampled_from(TEXTS), max_size=8), st.randoms())
def test_no_image_is_in_two_lesions_and_the_order_does_not_matter(texts, random) -> None:
    views = [view(number, text) for number, text in enumerate(texts)]
    lesions = lesions_of(views, [])
    uids = [uid for lesion in lesions for uid in lesion.views]
    assert len(uids) == len(set(uids))
    assert all(len(lesion.views) > 1 for lesion in lesions)
    assert lesions_of(random.sample(views, len(views)), []) == lesions


def header(**values: object) -> Dataset:
    made = Dataset()
    made.SOPInstanceUID = "1.1"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def coded(meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeMeaning = meaning
    return [item]


def test_the_header_is_read_where_scanners_write_it() -> None:
    context = Dataset()
    context.TextValue = "ARAD"
    said = read_view(
        "key",
        header(
            ImageLaterality="L",
            ImageComments="10 o'clock",
            SeriesDescription="3 cm FN",
            AcquisitionContextSequence=[context],
        ),
    ).annotation
    assert said == parse_annotation("L 10 o'clock 3 cm FN ARAD")
    said = read_view("key", header(ViewCodeSequence=coded("Longitudinal"), Laterality="R"))
    assert said.annotation == parse_annotation("RIGHT LONG")


def test_a_side_against_the_annotation_is_contradictory() -> None:
    assert read_view("k", header(ImageLaterality="L", ImageComments="RT 2:00")).annotation == (
        Annotation(None, 4, contradictory=True)
    )
