"""Live figures: equal to those of the model maker's libraries, and what they are of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_export import statistics
from service.journal.truth_records import Diagnosis, JudgedImage, Source
from service.truth.cases import By, grouped, image_cases, study_cases
from service.truth.figures import Estimate, Judged, auc, calibration_error, figures, share

cases = st.lists(
    st.tuples(st.booleans(), st.integers(0, 1000).map(lambda n: n / 1000)), min_size=4, max_size=80
)
IMAGE = JudgedImage(
    key="k",
    study_instance_uid="1.2",
    model_version="7",
    scanner_model="A",
    received_at=datetime(2026, 3, 31, 23, 59, tzinfo=UTC),
    probability_malignant=0.4,
    malignant=False,
    frame=1,
    region=(0, 0, 10, 10),
    of_image=None,
    of_study=Diagnosis.BENIGN,
    source=Source.BIOPSY,
)


def arrays(given_cases: list[tuple[bool, float]]):
    truth = np.array([malignant for malignant, _ in given_cases])
    return truth, np.array([score for _, score in given_cases])


@given(cases.filter(lambda some: 2 <= sum(malignant for malignant, _ in some) <= len(some) - 2))
def test_auc_and_delongs_interval_are_those_of_the_model_maker(some) -> None:
    truth, scores = arrays(some)
    ours, theirs = auc(truth, scores), statistics.auc_interval(truth.astype(np.int64), scores)
    assert (ours.value, ours.lower, ours.upper) == pytest.approx(
        (theirs.auc, theirs.lower, theirs.upper), abs=1e-12
    )


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_is_that_of_the_model_maker(pair: tuple[int, int]) -> None:
    ours, theirs = share(*pair), statistics.Proportion(*pair)
    assert (ours.value, ours.lower, ours.upper) == pytest.approx(
        (theirs.value, theirs.lower, theirs.upper), abs=1e-12
    )


@given(cases)
def test_the_calibration_error_is_that_of_the_model_maker(some) -> None:
    truth, scores = arrays(some)
    theirs = statistics.expected_calibration_error(truth.astype(np.int64), scores)
    assert calibration_error(truth, scores) == pytest.approx(theirs, abs=1e-12)


def test_the_calibration_error_stays_small_by_chance_alone() -> None:
    """Of 100 cases of a model that is calibrated; the alert begins at 0.2."""
    generator = np.random.default_rng(1)
    found = []
    for _ in range(1000):
        scores = generator.random(100)
        found.append(calibration_error(generator.random(100) < scores, scores))
    assert np.quantile(found, 0.99) < 0.2


def test_figures_of_an_example_by_hand() -> None:
    found = figures(
        [
            Judged(0.9, True, True),
            Judged(0.6, True, True),
            Judged(0.2, False, True),
            Judged(0.7, True, False),
            Judged(0.1, False, False),
        ]
    )
    assert (found.malignant, found.benign) == (3, 2)
    assert found.auc is not None
    assert found.auc.value == pytest.approx(4 / 6)
    assert found.sensitivity == share(2, 3)
    assert found.specificity == share(1, 2)


def test_of_nothing_nothing_is_said() -> None:
    nothing = figures([])
    assert (nothing.auc, nothing.sensitivity, nothing.specificity) == (None, None, None)
    assert nothing.calibration_error is None
    one_class = figures([Judged(0.9, True, True)] * 3)
    assert one_class.auc is None
    assert one_class.specificity is None
    assert isinstance(one_class.sensitivity, Estimate)


def test_a_study_has_its_highest_score_and_its_own_diagnosis() -> None:
    low = replace(IMAGE, of_image=Diagnosis.MALIGNANT)
    high = replace(IMAGE, key="h", probability_malignant=0.8, malignant=True)
    assert study_cases([low, high]) == [Judged(0.8, True, False)]
    assert image_cases([low, high]) == [Judged(0.4, False, True), Judged(0.8, True, False)]


def test_without_a_diagnosis_of_its_own_a_study_is_as_bad_as_its_worst_image() -> None:
    cyst = replace(IMAGE, of_study=None, of_image=Diagnosis.BENIGN)
    tumour = replace(cyst, of_image=Diagnosis.MALIGNANT)
    assert study_cases([cyst, tumour]) == [Judged(0.4, False, True)]
    alone = replace(cyst, study_instance_uid=None)
    assert len(study_cases([alone, replace(alone, key="other")])) == 2


def test_groups_are_by_model_and_scanner_or_month() -> None:
    images = [
        IMAGE,
        replace(IMAGE, scanner_model=None),
        replace(IMAGE, model_version="8", received_at=datetime(2026, 4, 1, tzinfo=UTC)),
    ]
    assert list(grouped(images, By.MODEL)) == [("7", ""), ("8", "")]
    assert list(grouped(images, By.SCANNER)) == [("7", "A"), ("7", "unnamed"), ("8", "A")]
    assert list(grouped(images, By.MONTH)) == [("7", "2026-03"), ("8", "2026-04")]
