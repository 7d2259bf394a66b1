"""The AUC, DeLong's interval and test: by definition, by published examples, by properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model_export.statistics import (
    auc,
    auc_interval,
    bootstrap_by_patient,
    delong_covariance,
    delong_test,
    threshold_for_sensitivity,
    youden_threshold,
)

# Ovarian cancer with intestinal obstruction, the data of DeLong, DeLong & Clarke-Pearson
# (Biometrics 1988;44:837) without the six incomplete patients, as printed in the SAS/STAT User's
# Guide, PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves":
# albumin, total protein, K-G score, success of surgery.
_OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""


def _ovarian() -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    table = np.array(_OVARIAN.split(), dtype=np.float64).reshape(43, 4)
    scores = {"albumin": table[:, 0], "total protein": table[:, 1], "K-G": -table[:, 2]}
    return table[:, 3].astype(np.int64), scores


def _cohort(seed: int, n: int = 150) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(np.int64)
    return labels, np.round(rng.normal(labels * 1.2, 1.0), 1)


def _psi(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    pairs = scores[labels == 1][:, None] - scores[labels == 0][None]
    return (pairs > 0) + 0.5 * (pairs == 0)


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Labels with two of each class at least, and two scores with many ties."""
    labels = draw(st.permutations([0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), max_size=30))]))
    grade = st.lists(st.integers(-4, 4), min_size=len(labels), max_size=len(labels))
    first, second = (np.array(draw(grade), dtype=np.float64) for _ in range(2))
    return np.array(labels), first, second


@pytest.mark.parametrize(
    ("test", "area", "error", "lower", "upper"),
    [
        ("albumin", 0.7366, 0.0927, 0.5549, 0.9182),
        ("K-G", 0.7258, 0.1028, 0.5243, 0.9273),
        ("total protein", 0.6478, 0.1000, 0.4518, 0.8439),
    ],
)
def test_intervals_of_delongs_own_data_as_sas_prints_them(
    test: str, area: float, error: float, lower: float, upper: float
) -> None:
    labels, scores = _ovarian()
    interval = auc_interval(labels, scores[test])
    assert interval.auc == pytest.approx(area, abs=6e-5)
    assert interval.lower == pytest.approx(lower, abs=6e-5)
    assert interval.upper == pytest.approx(upper, abs=6e-5)
    assert (interval.upper - interval.auc) / 1.959964 == pytest.approx(error, abs=6e-5)


@pytest.mark.parametrize(
    ("test", "difference", "lower", "upper", "p_value"),
    [
        ("albumin", 0.0108, -0.1761, 0.1976, 0.9102),
        ("total protein", -0.0780, -0.2830, 0.1271, 0.4561),
    ],
)
def test_comparisons_of_delongs_own_data_as_sas_prints_them(
    test: str, difference: float, lower: float, upper: float, p_value: float
) -> None:
    labels, scores = _ovarian()
    result = delong_test(labels, scores[test], scores["K-G"])
    assert result.difference == pytest.approx(difference, abs=6e-5)
    assert (result.lower, result.upper) == pytest.approx((lower, upper), abs=6e-5)
    assert result.p_value == pytest.approx(p_value, abs=6e-5)


def test_interval_of_hanley_and_mcneils_ct_readings_as_stata_prints_it() -> None:
    # Radiology 1982;143:29, table I; Stata's manual, roctab: 0.8932 (0.83295–0.95339).
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    labels = np.repeat([0, 1], [sum(normal), sum(abnormal)])
    grades = np.arange(1.0, 6.0)
    scores = np.concatenate([np.repeat(grades, normal), np.repeat(grades, abnormal)])
    interval = auc_interval(labels, scores)
    assert interval.auc == pytest.approx(0.8932, abs=6e-5)
    assert (interval.lower, interval.upper) == pytest.approx((0.83295, 0.95339), abs=6e-6)


@given(cohorts())
def test_auc_counts_pairs_and_halves_ties(cohort: tuple[np.ndarray, ...]) -> None:
    labels, scores, _ = cohort
    assert auc(labels, scores) == pytest.approx(_psi(labels, scores).mean())


@given(cohorts())
def test_delong_variance_equals_its_definition(cohort: tuple[np.ndarray, ...]) -> None:
    labels, first, second = cohort
    psi = [_psi(labels, scores) for scores in (first, second)]
    v10, v01 = [p.mean(1) for p in psi], [p.mean(0) for p in psi]
    expected = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    areas, covariance = delong_covariance(labels, np.stack([first, second]))
    assert areas == pytest.approx([p.mean() for p in psi])
    assert covariance == pytest.approx(expected)


@given(cohorts())
def test_auc_does_not_change_under_strictly_increasing_transforms(
    cohort: tuple[np.ndarray, ...],
) -> None:
    labels, scores, _ = cohort
    plain = auc_interval(labels, scores)
    for transform in (np.exp, np.arctan, lambda x: x**3 + 5 * x):
        assert auc_interval(labels, transform(scores)) == plain


@given(cohorts())
def test_auc_is_the_same_with_classes_and_scores_turned_round(
    cohort: tuple[np.ndarray, ...],
) -> None:
    labels, scores, _ = cohort
    assert auc(1 - labels, -scores) == pytest.approx(auc(labels, scores))
    assert auc(labels, -scores) == pytest.approx(1 - auc(labels, scores))


@given(cohorts())
def test_delong_test_is_symmetric(cohort: tuple[np.ndarray, ...]) -> None:
    labels, first, second = cohort
    one, other = delong_test(labels, first, second), delong_test(labels, second, first)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.difference == pytest.approx(-other.difference)
    assert one.lower == pytest.approx(-other.upper)
    assert 0 <= one.p_value <= 1


@given(cohorts())
def test_delong_test_of_a_score_with_itself_has_p_1(cohort: tuple[np.ndarray, ...]) -> None:
    labels, scores, _ = cohort
    result = delong_test(labels, scores, 2 * scores + 1)
    assert (result.difference, result.p_value) == (0.0, 1.0)


def test_delong_test_rejects_a_true_null_about_5_times_in_100() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([1, 0], [60, 90])
    shared = [rng.normal(labels * 1.2, 0.7) for _ in range(600)]
    rejected = [
        delong_test(labels, s + rng.normal(size=150), s + rng.normal(size=150)).p_value < 0.05
        for s in shared
    ]
    assert 0.03 <= np.mean(rejected) <= 0.07


def test_delong_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(3)
    truth = 0.8021  # Φ(1.2 / √2)
    inside = 0
    for _ in range(400):
        labels = np.repeat([1, 0], [60, 90])
        interval = auc_interval(labels, rng.normal(labels * 1.2, 1.0))
        inside += interval.lower <= truth <= interval.upper
    assert 0.92 <= inside / 400 <= 0.98


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000))
def test_delong_interval_is_the_bootstraps_within_error(seed: int) -> None:
    labels, scores = _cohort(seed)
    exact = auc_interval(labels, scores)
    drawn = bootstrap_by_patient(
        np.arange(labels.size), lambda rows: auc(labels[rows], scores[rows]), seed=seed
    )
    width = exact.upper - exact.lower
    assert drawn.value == pytest.approx(exact.auc)
    assert drawn.lower == pytest.approx(exact.lower, abs=0.12 * width)
    assert drawn.upper == pytest.approx(exact.upper, abs=0.12 * width)


def test_interval_is_wider_when_a_patients_images_repeat_one_another() -> None:
    labels, scores = (np.repeat(each, 3) for each in _cohort(7))

    def statistic(rows: NDArray[np.int64]) -> float:
        return auc(labels[rows], scores[rows])

    by_image = bootstrap_by_patient(np.arange(labels.size), statistic, rounds=500)
    by_patient = bootstrap_by_patient(np.arange(labels.size) // 3, statistic, rounds=500)
    ratio = (by_patient.upper - by_patient.lower) / (by_image.upper - by_image.lower)
    assert ratio == pytest.approx(np.sqrt(3), rel=0.2)


def test_bootstrap_of_too_few_patients_is_refused() -> None:
    labels = np.array([1, 0])
    with pytest.raises(ValueError, match="too few patients"):
        bootstrap_by_patient(["a", "b"], lambda rows: auc(labels[rows], np.ones(rows.size)))


def test_one_class_alone_has_no_auc() -> None:
    with pytest.raises(ValueError, match="malignant and benign"):
        auc(np.ones(4, dtype=np.int64), np.arange(4.0))


def test_youden_threshold_lies_between_separable_classes() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.9])
    assert youden_threshold(labels, scores) == pytest.approx(0.5)


@given(cohorts(), st.floats(0.01, 1.0))
def test_threshold_for_sensitivity_is_the_highest_that_reaches_it(
    cohort: tuple[np.ndarray, ...], least: float
) -> None:
    labels, scores, _ = cohort
    malignant = scores[labels == 1]
    threshold = threshold_for_sensitivity(labels, scores, least)
    assert (malignant >= threshold).mean() >= least - 1e-9
    assert (malignant > threshold).mean() < least


@pytest.mark.parametrize("least", [0.0, 1.1])
def test_no_such_sensitivity(least: float) -> None:
    with pytest.raises(ValueError, match="sensitivity lies"):
        threshold_for_sensitivity(np.array([0, 1]), np.array([0.1, 0.9]), least)
