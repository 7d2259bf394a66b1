"""How good the scores were, now that the truth is known. Intervals are at 95 %.

``model_export.statistics`` has the same by kept libraries, which the service does not have; a test
holds both equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""The normal distribution's quantile at 0.975."""
_BINS = 10


@dataclass(frozen=True)
class Judged:
    """One case: an image, or a study with its highest score.

    score: malignant probability, 0–1. called: whether the service said malignant. malignant:
    whether pathology says so.
    """

    score: float
    called: bool
    malignant: bool


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.lower:.3f}–{self.upper:.3f})"


@dataclass(frozen=True)
class Figures:
    """benign, malignant: cases by pathology.

    auc: None with fewer than two cases of a class. sensitivity, specificity: None without a case.
    calibration_error: see there; None without a case.
    """

    benign: int
    malignant: int
    auc: Estimate | None
    sensitivity: Estimate | None
    specificity: Estimate | None
    calibration_error: float | None


def figures(cases: Sequence[Judged]) -> Figures:
    """Sensitivity and specificity are those of what the service said, at its threshold then."""
    truth = np.array([case.malignant for case in cases], dtype=bool)
    called = np.array([case.called for case in cases], dtype=bool)
    scores = np.array([case.score for case in cases], dtype=np.float64)
    malignant, benign = int(truth.sum()), int((~truth).sum())
    return Figures(
        benign=benign,
        malignant=malignant,
        auc=auc(truth, scores) if malignant > 1 and benign > 1 else None,
        sensitivity=share(int((called & truth).sum()), malignant) if malignant else None,
        specificity=share(int((~called & ~truth).sum()), benign) if benign else None,
        calibration_error=calibration_error(truth, scores) if len(cases) else None,
    )


def auc(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> Estimate:
    """Area under the ROC curve of ``(n,)`` cases, 0–1, with DeLong's interval, cut to 0–1.

    DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837; from mid-ranks (Sun & Xu, IEEE Signal
    Process Lett 2014;21:1389). Where the classes are wholly apart its width is 0, which says
    nothing of the certainty. Raises ValueError with fewer than two cases of a class.
    """
    v10, v01 = _components(truth, scores)
    area, half = float(v10.mean()), Z * _standard_error(v10, v01)
    return Estimate(area, max(0.0, area - half), min(1.0, area + half))


@dataclass(frozen=True)
class AucDifference:
    """Of two scores of the same cases. difference: second − first, −1 to 1.

    p_value: two-sided, of no difference.
    """

    difference: Estimate
    p_value: float


def auc_difference(
    truth: NDArray[np.bool_], first: NDArray[np.float64], second: NDArray[np.float64]
) -> AucDifference:
    """DeLong's test (see ``auc``) of two scores of the same ``(n,)`` cases.

    Where no pair of cases is ranked otherwise by the two, p is 1. Raises ValueError with fewer than
    two cases of a class.
    """
    (first10, first01), (second10, second01) = (
        _components(truth, scores) for scores in (first, second)
    )
    v10, v01 = second10 - first10, second01 - first01
    difference, error = float(v10.mean()), _standard_error(v10, v01)
    if error > 0:
        p_value = math.erfc(abs(difference) / error / math.sqrt(2))
    else:
        p_value = 1.0 if difference == 0 else 0.0
    half = Z * error
    return AucDifference(Estimate(difference, difference - half, difference + half), p_value)


def _components(
    truth: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """V10 of the malignant ``(m,)`` and V01 of the benign cases ``(n,)``. Raises ValueError."""
    malignant, benign = scores[truth], scores[~truth]
    m, n = malignant.size, benign.size
    if m < 2 or n < 2:
        raise ValueError("DeLong's interval needs two malignant and two benign cases")
    pooled = _mid_ranks(np.concatenate([malignant, benign]))
    v10 = (pooled[:m] - _mid_ranks(malignant)) / n
    v01 = 1 - (pooled[m:] - _mid_ranks(benign)) / m
    return v10, v01


def _standard_error(v10: NDArray[np.float64], v01: NDArray[np.float64]) -> float:
    return math.sqrt(float(v10.var(ddof=1)) / v10.size + float(v01.var(ddof=1)) / v01.size)


def _mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return middle


def share(count: int, total: int) -> Estimate:
    """``count`` of ``total`` (at least 1) with Wilson's interval (J Am Stat Assoc 1927;22:209)."""
    value, squared = count / total, Z * Z
    centre = value + squared / (2 * total)
    half = Z * math.sqrt(value * (1 - value) / total + squared / (4 * total * total))
    whole = 1 + squared / total
    return Estimate(
        value,
        (centre - half) / whole if count else 0.0,
        (centre + half) / whole if count < total else 1.0,
    )


def calibration_error(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Expected calibration error, 0–1 (Naeini, Cooper & Hauskrecht, AAAI 2015).

    By ten bins of equal width: how far the share of malignant cases lies from the mean score, and
    the mean of that weighted by the bins' cases.
    """
    bins = np.searchsorted(np.linspace(0, 1, _BINS + 1)[1:-1], scores)
    observed = np.bincount(bins, weights=truth, minlength=_BINS)
    predicted = np.bincount(bins, weights=scores, minlength=_BINS)
    return float(np.abs(observed - predicted).sum() / scores.size)
