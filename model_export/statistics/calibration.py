"""How well scores serve as probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss


@dataclass(frozen=True)
class ReliabilityCurve:
    """By bin of equal width, empty ones left out: ``(k,)`` each.

    predicted: mean score, 0–1. observed: share of malignant cases, 0–1. count: cases.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    count: NDArray[np.int64]


def brier(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """Mean squared distance of the score, 0–1, from the truth (Brier, Mon Weather Rev 1950;78:1).

    Raises ValueError for scores outside 0–1.
    """
    return float(brier_score_loss(labels, scores, pos_label=1))


def reliability_curve(
    labels: NDArray[np.int64], scores: NDArray[np.float64], bins: int = 10
) -> ReliabilityCurve:
    """The calibration plot's points. Raises ValueError for scores outside 0–1."""
    observed, predicted = calibration_curve(labels, scores, pos_label=1, n_bins=bins)
    inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
    count = np.bincount(np.searchsorted(inner_edges, scores), minlength=bins)
    return ReliabilityCurve(predicted, observed, count[count > 0])


def expected_calibration_error(
    labels: NDArray[np.int64], scores: NDArray[np.float64], bins: int = 10
) -> float:
    """Mean of |observed − predicted| over bins of equal width, weighted by their cases.

    Naeini, Cooper & Hauskrecht (AAAI 2015). Raises ValueError for scores outside 0–1.
    """
    curve = reliability_curve(labels, scores, bins)
    gaps = np.abs(curve.observed - curve.predicted)
    return float((gaps * curve.count).sum() / curve.count.sum())
