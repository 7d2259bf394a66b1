"""The AUC's interval and the comparison of two, by DeLong, DeLong & Clarke-Pearson.

Biometrics 1988;44:837–845. With ψ(x, y) = 1, ½ or 0 as the malignant score x is above, equal to or
below the benign score y, the structural components are the means of ψ over the other class,
``V10[i] = mean_j ψ(x_i, y_j)`` and ``V01[j] = mean_i ψ(x_i, y_j)``; their covariances S10 and S01
(with n − 1) give ``var(AUC) = S10 / m + S01 / n``. The components are computed from mid-ranks
(Sun & Xu, IEEE Signal Process Lett 2014;21:1389).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

_Z = float(norm.ppf(0.975))


@dataclass(frozen=True)
class AucInterval:
    """Area under the ROC curve with its 95 % confidence interval."""

    auc: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.auc:.3f} ({self.lower:.3f}–{self.upper:.3f})"


@dataclass(frozen=True)
class DeLongTest:
    """Two AUCs on the same cases.

    difference: first − second, with its 95 % interval. p_value: two-sided, of no difference.
    """

    first: AucInterval
    second: AucInterval
    difference: float
    lower: float
    upper: float
    p_value: float


def structural_components(
    labels: NDArray[np.int64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """V10 of the malignant ``(m,)`` and V01 of the benign cases ``(n,)``.

    Raises ValueError with fewer than two cases of a class, or scores of another length.
    """
    if labels.shape != scores.shape:
        raise ValueError(f"{labels.size} labels do not fit {scores.size} scores")
    malignant, benign = scores[labels == 1], scores[labels == 0]
    m, n = malignant.size, benign.size
    if m < 2 or n < 2:
        raise ValueError("DeLong's interval needs two malignant and two benign cases")
    pooled = rankdata(np.concatenate([malignant, benign]))
    v10 = (pooled[:m] - rankdata(malignant)) / n
    v01 = 1 - (pooled[m:] - rankdata(benign)) / m
    return v10, v01


def delong_covariance(
    labels: NDArray[np.int64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUCs ``(k,)`` and their covariance ``(k, k)`` for ``scores`` ``(k, n)`` of the same cases."""
    components = [structural_components(labels, row) for row in scores]
    v10 = np.array([first for first, _ in components])
    v01 = np.array([second for _, second in components])
    s10, s01 = np.atleast_2d(np.cov(v10)), np.atleast_2d(np.cov(v01))
    return v10.mean(axis=1), s10 / v10.shape[1] + s01 / v01.shape[1]


def auc_interval(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> AucInterval:
    """AUC with DeLong's 95 % interval, normal on the AUC's own scale and cut to 0–1.

    Where the classes are wholly apart its width is 0, which says nothing of the certainty.
    Raises ValueError with fewer than two cases of a class.
    """
    v10, v01 = structural_components(labels, scores)
    area = float(v10.mean())
    half = _Z * _standard_error(v10, v01)
    return AucInterval(area, max(0.0, area - half), min(1.0, area + half))


def delong_test(
    labels: NDArray[np.int64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> DeLongTest:
    """Compare two scores of the same cases; ``(n,)`` each.

    Where no case pair is ranked otherwise by the two, p is 1. Raises ValueError with fewer than
    two cases of a class.
    """
    (first10, first01), (second10, second01) = (
        structural_components(labels, scores) for scores in (first, second)
    )
    v10, v01 = first10 - second10, first01 - second01
    difference, error = float(v10.mean()), _standard_error(v10, v01)
    if error > 0:
        p_value = float(2 * norm.sf(abs(difference) / error))
    else:
        p_value = 1.0 if difference == 0 else 0.0
    half = _Z * error
    return DeLongTest(
        auc_interval(labels, first),
        auc_interval(labels, second),
        difference,
        difference - half,
        difference + half,
        p_value,
    )


def _standard_error(v10: NDArray[np.float64], v01: NDArray[np.float64]) -> float:
    return float(np.sqrt(v10.var(ddof=1) / v10.size + v01.var(ddof=1) / v01.size))
