"""Two groups side by side, as in a table of baseline characteristics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ttest_ind


@dataclass(frozen=True)
class MeansTest:
    """Means and standard deviations (n − 1) of two groups, and Welch's t with its P."""

    first_mean: float
    first_sd: float
    second_mean: float
    second_sd: float
    t: float
    p_value: float


@dataclass(frozen=True)
class SharesTest:
    """Pearson's χ² with its degrees of freedom and P."""

    chi_square: float
    degrees: int
    p_value: float


def compare_means(first: NDArray[np.float64], second: NDArray[np.float64]) -> MeansTest:
    """Two-sided t-test of ``(n,)`` and ``(m,)`` by Welch, which needs no equal variances.

    Raises ValueError with fewer than two values in a group.
    """
    if min(first.size, second.size) < 2:
        raise ValueError("a t-test needs two values in each group")
    result = ttest_ind(first, second, equal_var=False)
    return MeansTest(
        float(first.mean()),
        float(first.std(ddof=1)),
        float(second.mean()),
        float(second.std(ddof=1)),
        float(result.statistic),
        float(result.pvalue),
    )


def compare_shares(table: NDArray[np.int64]) -> SharesTest:
    """χ² of a ``(categories, groups)`` table of counts, without continuity correction.

    Empty rows and columns are left out. Raises ValueError if fewer than two of each remain.
    """
    filled = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(filled.shape) < 2:
        raise ValueError("a χ² test needs two categories and two groups that are not empty")
    result = chi2_contingency(filled, correction=False)
    return SharesTest(float(result.statistic), int(result.dof), float(result.pvalue))
