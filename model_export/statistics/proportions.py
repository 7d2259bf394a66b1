"""Shares with their intervals, and what a threshold makes of the cases."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from model_export.statistics.bootstrap import Interval


@dataclass(frozen=True)
class Proportion:
    """``count`` of ``total``, with Wilson's 95 % interval (J Am Stat Assoc 1927;22:209).

    Of a total of 0 the value is nan and the interval 0–1: nothing is known.
    Raises ValueError if count is not 0–total.
    """

    count: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.total:
            raise ValueError(f"{self.count} of {self.total} is no share")

    @property
    def value(self) -> float:
        return self.count / self.total if self.total else math.nan

    @property
    def lower(self) -> float:
        return self._bounds()[0]

    @property
    def upper(self) -> float:
        return self._bounds()[1]

    @property
    def interval(self) -> Interval:
        """The share and its bounds."""
        return Interval(self.value, self.lower, self.upper)

    def __str__(self) -> str:
        return str(self.interval)

    def _bounds(self) -> tuple[float, float]:
        if not self.total:
            return 0.0, 1.0
        lower, upper = proportion_confint(self.count, self.total, alpha=0.05, method="wilson")
        # Rounding leaves 1e-17 where the bound is exactly 0 or 1.
        return (
            float(lower) if self.count else 0.0,
            float(upper) if self.count < self.total else 1.0,
        )


@dataclass(frozen=True)
class Confusion:
    """Cases by truth and answer: true positives, false positives, false and true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def of(cls, labels: NDArray[np.int64], called: NDArray[np.bool_]) -> Confusion:
        """Count ``(n,)`` answers, True = called malignant; ``labels`` 1 = malignant."""
        malignant = labels == 1
        return cls(
            tp=int((malignant & called).sum()),
            fp=int((~malignant & called).sum()),
            fn=int((malignant & ~called).sum()),
            tn=int((~malignant & ~called).sum()),
        )

    @classmethod
    def at(
        cls, labels: NDArray[np.int64], scores: NDArray[np.float64], threshold: float
    ) -> Confusion:
        """Count with ``score >= threshold`` called malignant."""
        return cls.of(labels, scores >= threshold)

    @property
    def accuracy(self) -> Proportion:
        return Proportion(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def sensitivity(self) -> Proportion:
        return Proportion(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Proportion:
        return Proportion(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> Proportion:
        return Proportion(self.tp, self.tp + self.fp)

    @property
    def f1(self) -> float:
        """2 tp / (2 tp + fp + fn); nan if nothing is malignant and nothing was called so."""
        denominator = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / denominator if denominator else math.nan
