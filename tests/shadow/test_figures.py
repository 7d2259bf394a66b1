"""Agreement of two models: equal to what kept libraries say of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from statsmodels.stats.inter_rater import cohens_kappa

from model_export import statistics
from service.shadow.figures import Both, agreement, kappa
from service.truth.figures import auc_difference

scores = st.integers(0, 1000).map(lambda n: n / 1000)
cases = st.lists(st.tuples(st.booleans(), scores, scores), min_size=4, max_size=60).filter(
    lambda some: 2 <= sum(malignant for malignant, *_ in some) <= len(some) - 2
)
tables = st.tuples(*[st.integers(0, 60)] * 4)


@given(cases)
def test_the_difference_of_two_aucs_is_that_of_the_model_maker(some) -> None:
    truth, first, second = (np.array(column) for column in zip(*some, strict=True))
    ours = auc_difference(truth, first, second)
    theirs = statistics.delong_test(truth.astype(np.int64), second, first)
    found = (ours.difference.value, ours.difference.lower, ours.difference.upper, ours.p_value)
    expected = (theirs.difference, theirs.lower, theirs.upper, theirs.p_value)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # statsmodels divides by 0
@given(tables.filter(lambda table: sum(table) > 0))
def test_kappa_is_that_of_statsmodels(table: tuple[int, int, int, int]) -> None:
    both, only_first, only_second, neither = table
    ours = kappa(*table)
    if both == sum(table) or neither == sum(table):
        assert ours is None
        return
    assert ours is not None
    theirs = cohens_kappa([[both, only_first], [only_second, neither]])
    assert ours.value == pytest.approx(theirs.kappa, abs=1e-9)
    half = 1.959963984540054 * np.sqrt(max(theirs.var_kappa, 0))
    assert ours.lower == pytest.approx(max(-1, theirs.kappa - half), abs=1e-6)
    assert ours.upper == pytest.approx(min(1, theirs.kappa + half), abs=1e-6)


def test_kappa_by_hand() -> None:
    found = kappa(20, 5, 10, 15)
    assert found is not None
    assert found.value == pytest.approx((0.7 - 0.5) / (1 - 0.5))


@given(st.lists(st.tuples(scores, scores), min_size=2, max_size=60))
def test_correlation_is_that_of_scipy_and_the_limits_are_those_of_bland_and_altman(some) -> None:
    active, shadow = (np.array(column) for column in zip(*some, strict=True))
    found = agreement([Both(a, s, False, False) for a, s in some])
    if np.ptp(active) and np.ptp(shadow):
        assert found.correlation == pytest.approx(pearsonr(active, shadow).statistic, abs=1e-9)
    else:
        assert found.correlation is None
    deviation = np.std(shadow - active, ddof=1)
    assert found.mean_difference == pytest.approx(np.mean(shadow - active), abs=1e-12)
    limits = (found.mean_difference - 1.96 * deviation, found.mean_difference + 1.96 * deviation)
    assert (found.lower, found.upper) == pytest.approx(limits, abs=1e-12)


def test_the_table_of_decisions_by_hand() -> None:
    yes, no = True, False
    found = agreement(
        [
            Both(0.9, 0.8, yes, yes),
            Both(0.6, 0.3, yes, no),
            Both(0.1, 0.7, no, yes),
            Both(0.2, 0.1, no, no),
            Both(0.3, 0.2, no, no),
        ]
    )
    assert (found.both_malignant, found.only_active, found.only_shadow, found.both_benign) == (
        *(1, 1),
        *(1, 2),
    )
    assert found.same == 3
    assert found.few


def test_of_one_image_there_is_no_spread() -> None:
    found = agreement([Both(0.5, 0.75, True, True)])
    assert (found.mean_difference, found.deviation, found.lower, found.kappa) == (
        *(0.25, None),
        *(None, None),
    )
    with pytest.raises(ValueError, match="no image"):
        agreement([])
