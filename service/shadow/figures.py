"""How two models that scored the same images agree. Intervals are at 95 %.

The service has neither scipy nor statsmodels; a test holds these figures equal to theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.truth.figures import Estimate, Z

FEW = 30
"""Below so many images an interval that rests on the normal distribution means little."""
_LIMITS = 1.96


@dataclass(frozen=True)
class Both:
    """One image. active, shadow: malignant probability, 0–1, and whether it was called so."""

    active: float
    shadow: float
    active_malignant: bool
    shadow_malignant: bool


@dataclass(frozen=True)
class Agreement:
    """mean_difference: of shadow − active, and its standard deviation.

    lower, upper: limits of agreement, between which 95 % of the differences lie if they are
        normal (Bland & Altman, Lancet 1986;327:307). None with fewer than two images.
    correlation: Pearson's; None with fewer than two images, or where one score is always the same.
    both_malignant, only_active, only_shadow, both_benign: images by what was decided.
    kappa: Cohen's, of the decisions; None where it is not defined.
    """

    images: int
    mean_difference: float
    deviation: float | None
    lower: float | None
    upper: float | None
    correlation: float | None
    both_malignant: int
    only_active: int
    only_shadow: int
    both_benign: int
    kappa: Estimate | None

    @property
    def same(self) -> int:
        """Images with the same decision."""
        return self.both_malignant + self.both_benign

    @property
    def few(self) -> bool:
        return self.images < FEW


def agreement(images: Sequence[Both]) -> Agreement:
    """Raises ValueError without an image."""
    if not images:
        raise ValueError("there is no image")
    active = np.array([each.active for each in images])
    shadow = np.array([each.shadow for each in images])
    difference = shadow - active
    mean = float(difference.mean())
    deviation = float(difference.std(ddof=1)) if len(images) > 1 else None
    half = None if deviation is None else _LIMITS * deviation
    decided = [(each.active_malignant, each.shadow_malignant) for each in images]
    table = tuple(
        decided.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))
    )
    return Agreement(
        images=len(images),
        mean_difference=mean,
        deviation=deviation,
        lower=None if half is None else mean - half,
        upper=None if half is None else mean + half,
        correlation=_correlation(active, shadow),
        both_malignant=table[0],
        only_active=table[1],
        only_shadow=table[2],
        both_benign=table[3],
        kappa=kappa(*table),
    )


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if first.size < 2 or not (np.ptp(first) and np.ptp(second)):
        return None
    return float(np.corrcoef(first, second)[0, 1])


def kappa(both: int, only_first: int, only_second: int, neither: int) -> Estimate | None:
    """Cohen's kappa of two raters who say yes or no, −1 to 1; None where both always say the same.

    Its standard error is that of Fleiss, Cohen & Everitt (Psychol Bull 1969;72:323), cut to −1
    to 1.
    """
    table = np.array([[both, only_first], [only_second, neither]], dtype=np.float64)
    shares = table / table.sum() if table.sum() else table
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    seen, chance = float(np.trace(shares)), float(rows @ columns)
    if not table.sum() or chance >= 1:
        return None
    value = (seen - chance) / (1 - chance)
    diagonal = np.diag(shares) @ (1 - (rows + columns) * (1 - value)) ** 2
    weights = (columns[:, None] + rows[None, :]) ** 2
    others = (1 - value) ** 2 * float((shares * weights).sum() - np.diag(shares) @ np.diag(weights))
    variance = float(diagonal) + others - (value - chance * (1 - value)) ** 2
    half = Z * math.sqrt(max(variance, 0.0) / table.sum()) / (1 - chance)
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half))
