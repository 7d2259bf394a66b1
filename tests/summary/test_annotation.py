"""Annotations as examiners type them; what is not understood is left unsaid."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.summary.annotation import (
    Annotation,
    Orientation,
    are_orthogonal,
    clock_in_words,
    parse_annotation,
    together,
)

RAD, ARAD = Orientation.RADIAL, Orientation.ANTIRADIAL
TRANS, LONG = Orientation.TRANSVERSE, Orientation.LONGITUDINAL


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("L 10 o'clock 3 cm FN", Annotation("L", 20, 30)),
        ("L 10 O’CLOCK 3CM FN RAD", Annotation("L", 20, 30, None, RAD)),
        ("RT BREAST 2:00 RAD", Annotation("R", 4, None, None, RAD)),
        ("RT BREAST 2:00 ARAD", Annotation("R", 4, None, None, ARAD)),
        ("RIGHT BREAST 12:30 anti-radial", Annotation("R", 25, None, None, ARAD)),
        ("LT BREAST 3:00 N 4CMFN TRANS", Annotation("L", 6, 40, None, TRANS)),
        ("left breast, 6 oclock, 25 mm from the nipple, SAG", Annotation("L", 12, 25, None, LONG)),
        ("R BREAST 11:00 FN 5 CM LONG MASS 2", Annotation("R", 22, 50, "2", LONG)),
        ("LEFT_BREAST_9:00_TR", Annotation("L", 18, None, None, TRANS)),
        ("Mamma links 10 Uhr", Annotation(None, 20)),
        ("左乳10点", Annotation("L", 20)),
        ("左乳１０点半 距乳头3cm 横切", Annotation("L", 21, 30, None, TRANS)),
        ("右乳外上2点钟 纵切 结节1", Annotation("R", 4, None, "1", LONG)),
        ("R12:00", Annotation("R", 24)),
        ("LEFT AXILLA", Annotation("L", elsewhere=True)),
    ],
)
def test_what_is_said(text: str, said: Annotation) -> None:
    assert parse_annotation(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10:30",
        "2024-01-03 10:30 LEFT",
        "LEFT 10:30:00",
        "LEFT BREAST AT 10:30",
        "LEFT 10:30 PM",
        "LEFT BREAST L12-5 TRANSDUCER",
        "L 14 o'clock",
        "L 0点",
        "LEFT 1.2 X 0.8 CM",
        "LEFT 10:45",
        "L 10-11 o'clock",
        "左乳10至11点",
        "L 10 o'clock and 2 o'clock",
    ],
)
def test_what_is_no_position_on_the_clock_face(text: str) -> None:
    assert parse_annotation(text).clock is None


@pytest.mark.parametrize(
    "text", ["LEFT AND RIGHT 3:00", "L 10 o'clock 2 o'clock", "左右乳", "L 3:00 2 CM FN 4 CM FN"]
)
def test_what_is_said_in_two_ways_is_contradictory(text: str) -> None:
    assert parse_annotation(text).contradictory


def test_a_picture_of_both_planes_is_of_neither() -> None:
    assert parse_annotation("RT BREAST 2:00 RAD / ARAD").orientation is None


def test_letters_that_stand_for_something_else_are_no_side() -> None:
    for text in ("TR", "RAD", "LONG", "L", "R", "COLOR", "DR LEE", "LOGIQ L"):
        assert parse_annotation(text).side is None


def test_texts_about_one_image_complete_one_another() -> None:
    said = together([parse_annotation("LEFT BREAST"), parse_annotation("10 o'clock RAD")])
    assert said == Annotation("L", 20, None, None, RAD)
    other = together([parse_annotation("LEFT BREAST"), parse_annotation("RT 10:00")])
    assert other.contradictory
    assert other.side is None


SIDE_WORDS = {"L": ("L", "LT", "LEFT", "Left breast", "左乳"), "R": ("R", "rt", "RIGHT", "右乳")}
ORIENTATION_WORDS = {
    RAD: ("RAD", "radial"),
    ARAD: ("ARAD", "anti-radial", "Antiradial"),
    TRANS: ("TRANS", "transverse", "横切"),
    LONG: ("LONG", "SAG", "纵切"),
    None: ("",),
}


@given(
    st.sampled_from([(side, word) for side, words in SIDE_WORDS.items() for word in words]),
    st.integers(2, 25),
    st.sampled_from(["{}", "{} O'CLOCK", "{}点"]),
    st.one_of(st.none(), st.integers(1, 12)),
    st.sampled_from([(each, word) for each, words in ORIENTATION_WORDS.items() for word in words]),
)
def test_every_form_made_of_these_words_is_read(side, clock, form, centimetres, orientation):
    if form == "{}点":
        position = f"{clock // 2}点" + ("半" if clock % 2 else "")
    else:
        position = form.format(clock_in_words(clock))
    parts = [side[1], position]
    parts += [] if centimetres is None else [f"{centimetres} cm FN"]
    said = parse_annotation(" ".join([*parts, orientation[1]]))
    nipple = None if centimetres is None else 10 * centimetres
    assert said == Annotation(side[0], clock, nipple, None, orientation[0])


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    said = parse_annotation(text)
    assert said.clock is None or 2 <= said.clock <= 25
    assert said.side in (None, "L", "R")


@pytest.mark.parametrize("piece", ["1点", "L ", "1-", "1 ", "RAD", "L:::::", "距离乳头"])
def test_a_text_without_end_takes_no_time(piece: str) -> None:
    began = time.perf_counter()
    parse_annotation(piece * 1_000_000)
    assert time.perf_counter() - began < 1


@given(st.sets(st.sampled_from(Orientation)))
def test_only_radial_with_antiradial_and_transverse_with_longitudinal_are_orthogonal(planes):
    assert are_orthogonal(planes) == ({RAD, ARAD} <= planes or {TRANS, LONG} <= planes)
