"""The ROC curve: its area, and the operating points that are chosen on it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

_ROUNDING = 1e-9


def auc(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """Mann–Whitney AUC, ties counted by half; ``labels`` ``(n,)``, 1 = malignant.

    Raises ValueError if a class is missing.
    """
    positives = int(labels.sum())
    negatives = labels.size - positives
    if positives == 0 or negatives == 0:
        raise ValueError("the AUC needs malignant and benign cases")
    ranks = rankdata(scores)
    return float(
        (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / positives / negatives
    )


def youden_threshold(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """The score at which sensitivity + specificity − 1 is greatest (``score >= t`` is malignant).

    Lies half-way between the two neighbouring scores, so that it does not hang on one case.
    """
    order = np.unique(scores)
    sensitivity = np.array([(scores[labels == 1] >= t).mean() for t in order])
    specificity = np.array([(scores[labels == 0] < t).mean() for t in order])
    best = int(np.argmax(sensitivity + specificity))
    return float(order[best] if best == 0 else (order[best] + order[best - 1]) / 2)


def threshold_for_sensitivity(
    labels: NDArray[np.int64], scores: NDArray[np.float64], least: float
) -> float:
    """The highest threshold t at which ``score >= t`` finds at least ``least`` of the malignant.

    least: a share, above 0 and up to 1. Raises ValueError outside of that, or without a malignant
    case.
    """
    malignant = np.sort(scores[labels == 1])[::-1]
    if not 0 < least <= 1:
        raise ValueError(f"a sensitivity lies above 0 and up to 1, not at {least}")
    if malignant.size == 0:
        raise ValueError("a threshold for a sensitivity needs malignant cases")
    needed = max(1, math.ceil(least * malignant.size - _ROUNDING))
    return float(malignant[needed - 1])
