"""Figures on images that a model has seen are refused, or say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from model_export.dataset import read_manifest, select
from model_export.prediction import load_predictor
from model_export.provenance import (
    TRAINING_MARK,
    UNKNOWN_MARK,
    VALIDATION_MARK,
    Standing,
    digests_of,
    refuse_training_images,
    standing,
)


@pytest.fixture(scope="module")
def found(
    study_data: Path, make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Standing]:
    """``found(where, …)``: how the images of a condition stand to a new run."""
    folder = read_manifest(study_data)
    digests = digests_of(folder)

    def ask(where: str | None, **lists: str | None) -> Standing:
        predictor = load_predictor(make_run(tmp_path_factory.mktemp("run"), **lists))
        return standing(predictor, select(folder, where), folder, digests)

    return ask


def test_new_images_have_no_mark(found: Callable[..., Standing]) -> None:
    test = found("split=test")
    assert test == Standing(12, 0, 0)
    assert test.mark() == ""
    refuse_training_images("model", test, "")


def test_training_images_are_counted_in_the_refusal(found: Callable[..., Standing]) -> None:
    mixed = found("split=train,test")
    assert mixed == Standing(20, 8, 0)
    with pytest.raises(ValueError, match=r"trained on 8 of these 20 images.*Do something else"):
        refuse_training_images("model", mixed, "Do something else")


def test_the_other_view_of_a_trained_patient_is_a_training_image(
    found: Callable[..., Standing], study_data: Path
) -> None:
    """The model lists one view alone; its patient's other view is as good as seen."""
    first, second = read_manifest(study_data)[:2]
    assert first.patient == second.patient
    assert found(f"file={second.file}", training=f"file={first.file}") == Standing(1, 1, 0)
    assert found("split=test", training=f"file={first.file}") == Standing(12, 0, 0)


def test_validation_images_say_that_the_threshold_was_fixed_on_them(
    found: Callable[..., Standing],
) -> None:
    assert found("split=validation").mark() == VALIDATION_MARK
    assert found("split=validation,test").mark() == f"4 of 16 are {VALIDATION_MARK}"


def test_a_model_without_a_list_says_that_it_could_not_be_checked(
    found: Callable[..., Standing],
) -> None:
    old = found("split=train", training=None, validation=None)
    assert old == Standing(8, None, 0)
    assert old.mark() == UNKNOWN_MARK
    refuse_training_images("model", old, "")


@pytest.mark.parametrize(
    ("seen", "mark"),
    [
        (Standing(8, 8, 0), TRAINING_MARK),
        (Standing(20, 8, 0), f"{TRAINING_MARK} (8 of 20)"),
        (Standing(20, None, 0), TRAINING_MARK),
    ],
)
def test_who_asks_for_training_images_gets_them_marked(seen: Standing, mark: str) -> None:
    assert seen.mark(training_set=True) == mark


def test_a_file_that_is_missing_is_no_obstacle_to_judging_others(study_data: Path) -> None:
    folder = read_manifest(study_data)
    gone = [*folder, folder[0].__class__("x.jpg", study_data / "x.jpg", None, 1, "p")]
    assert digests_of(gone) == digests_of(folder)
