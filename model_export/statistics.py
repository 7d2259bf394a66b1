"""ROC statistics: AUC with DeLong's confidence interval, and the operating point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata


@dataclass(frozen=True)
class AucInterval:
    """Area under the ROC curve with its 95 % confidence interval."""

    auc: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.auc:.3f} ({self.lower:.3f}–{self.upper:.3f})"


def auc(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """Mann–Whitney AUC; ``labels`` 1 = malignant. Raises ValueError if a class is missing."""
    positives = int(labels.sum())
    negatives = labels.size - positives
    if positives == 0 or negatives == 0:
        raise ValueError("the AUC needs malignant and benign cases")
    ranks = rankdata(scores)
    return float(
        (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / positives / negatives
    )


def auc_interval(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> AucInterval:
    """AUC with the 95 % interval of DeLong, DeLong & Clarke-Pearson (Biometrics 1988;44:837).

    Structural components by mid-ranks (Sun & Xu, IEEE Signal Process Lett 2014;21:1389).
    The normal interval is cut to 0–1. Raises ValueError with fewer than two cases of a class.
    """
    malignant, benign = scores[labels == 1], scores[labels == 0]
    m, n = malignant.size, benign.size
    if m < 2 or n < 2:
        raise ValueError("DeLong's interval needs two malignant and two benign cases")
    pooled = rankdata(np.concatenate([malignant, benign]))
    v10 = (pooled[:m] - rankdata(malignant)) / n
    v01 = 1 - (pooled[m:] - rankdata(benign)) / m
    area = float(v10.mean())
    half = float(norm.ppf(0.975) * np.sqrt(v10.var(ddof=1) / m + v01.var(ddof=1) / n))
    return AucInterval(area, max(0.0, area - half), min(1.0, area + half))


def youden_threshold(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float:
    """The score at which sensitivity + specificity − 1 is greatest (``score >= t`` is malignant).

    Lies half-way between the two neighbouring scores, so that it does not hang on one case.
    """
    order = np.unique(scores)
    sensitivity = np.array([(scores[labels == 1] >= t).mean() for t in order])
    specificity = np.array([(scores[labels == 0] < t).mean() for t in order])
    best = int(np.argmax(sensitivity + specificity))
    return float(order[best] if best == 0 else (order[best] + order[best - 1]) / 2)
