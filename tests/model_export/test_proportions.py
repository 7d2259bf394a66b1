"""Shares, tables of four, paired answers, calibration, groups."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from model_export.statistics import (
    Confusion,
    Proportion,
    brier,
    compare_means,
    compare_shares,
    expected_calibration_error,
    mcnemar,
    reliability_curve,
)

counts = st.integers(0, 200)


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_bounds_solve_the_score_equation(count: int, more: int) -> None:
    share = Proportion(count, count + more)
    z = norm.ppf(0.975)
    assert 0 <= share.lower <= share.value <= share.upper <= 1
    for bound in (share.lower, share.upper):
        squared = z**2 * bound * (1 - bound) / share.total
        assert (share.value - bound) ** 2 == pytest.approx(squared, abs=1e-9)


def test_wilson_interval_of_newcombes_example() -> None:
    # Newcombe, Stat Med 1998;17:857, table I: 81 of 263, method 3.
    share = Proportion(81, 263)
    assert (share.lower, share.upper) == pytest.approx((0.2553, 0.3662), abs=6e-5)


def test_nothing_is_known_of_an_empty_share() -> None:
    share = Proportion(0, 0)
    assert math.isnan(share.value)
    assert (share.lower, share.upper) == (0, 1)


def test_more_than_all_is_no_share() -> None:
    with pytest.raises(ValueError, match="no share"):
        Proportion(3, 2)


@given(counts, counts, counts, counts)
def test_confusion_identities(tp: int, fp: int, fn: int, tn: int) -> None:
    table = Confusion(tp, fp, fn, tn)
    assert table.sensitivity.total + table.specificity.total == table.accuracy.total
    assert table.sensitivity.count + table.specificity.count == table.accuracy.count
    assert table.precision.count == table.sensitivity.count
    turned = Confusion(tp=tn, fp=fn, fn=fp, tn=tp)
    assert turned.sensitivity == table.specificity
    if tp:
        precision, recall = table.precision.value, table.sensitivity.value
        assert table.f1 == pytest.approx(2 * precision * recall / (precision + recall))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=1), st.integers(0, 11))
def test_confusion_at_a_threshold_counts_scores_from_it_on(
    cases: list[tuple[int, int]], threshold: int
) -> None:
    labels, scores = np.array(cases).T
    table = Confusion.at(labels, scores.astype(np.float64), float(threshold))
    assert table.tp == sum(label == 1 and score >= threshold for label, score in cases)
    assert table.fp == sum(label == 0 and score >= threshold for label, score in cases)
    assert table.accuracy.total == len(cases)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(first: int, second: int) -> None:
    one = np.array([True] * first + [False] * second + [True, False])
    other = np.array([False] * first + [True] * second + [True, False])
    result = mcnemar(one, other)
    n, fewer = first + second, min(first, second)
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    assert (result.only_first, result.only_second) == (first, second)
    assert result.p_value == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(other, one).p_value == pytest.approx(result.p_value)


def test_mcnemar_needs_pairs() -> None:
    with pytest.raises(ValueError, match="same cases"):
        mcnemar(np.array([True]), np.array([True, False]))


def test_calibration_error_by_hand() -> None:
    labels = np.array([0, 1, 1, 1, 0, 1])
    scores = np.array([0.05, 0.05, 0.55, 0.55, 0.55, 0.95])
    curve = reliability_curve(labels, scores)
    assert curve.count.tolist() == [2, 3, 1]
    expected = (2 * abs(0.5 - 0.05) + 3 * abs(2 / 3 - 0.55) + 1 * abs(1 - 0.95)) / 6
    assert expected_calibration_error(labels, scores) == pytest.approx(expected)
    assert brier(labels, scores) == pytest.approx(((scores - labels) ** 2).mean())


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
def test_every_case_lies_in_one_bin(cases: list[tuple[int, float]]) -> None:
    labels, scores = np.array([c[0] for c in cases]), np.array([c[1] for c in cases])
    curve = reliability_curve(labels, scores)
    assert curve.count.sum() == len(cases)
    assert curve.predicted @ curve.count == pytest.approx(scores.sum(), abs=1e-6)
    assert curve.observed @ curve.count == pytest.approx(labels.sum(), abs=1e-6)
    assert 0 <= expected_calibration_error(labels, scores) <= 1


def test_means_of_students_sleep_data() -> None:
    # Student, Biometrika 1908;6:1; R's t.test(extra ~ group, data = sleep): Welch.
    first = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    second = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    result = compare_means(first, second)
    assert (result.first_mean, result.second_mean) == pytest.approx((0.75, 2.33))
    assert (result.t, result.p_value) == pytest.approx((-1.8608, 0.07939), abs=6e-5)


def test_shares_by_hand() -> None:
    result = compare_shares(np.array([[10, 20], [30, 40], [0, 0]]))
    expected = 100 * (10 * 40 - 20 * 30) ** 2 / (30 * 70 * 40 * 60)
    assert (result.chi_square, result.degrees) == (pytest.approx(expected), 1)


@pytest.mark.parametrize("table", [[[3, 4]], [[3, 0], [5, 0]]])
def test_one_group_cannot_be_compared(table: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="two categories"):
        compare_shares(np.array(table))
