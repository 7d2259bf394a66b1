"""Intervals where a patient has several images, which are not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_UNDEFINED = 0.1


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.lower:.3f}–{self.upper:.3f})"


def bootstrap_by_patient(
    patients: Sequence[str] | NDArray[np.generic],
    statistic: Callable[[NDArray[np.int64]], float],
    rounds: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile interval, with whole patients drawn with replacement (Efron & Tibshirani 1993).

    patients: of each row. statistic: of row indices ``(k,)``, which repeat. A draw in which the
    statistic is undefined (ValueError or nan, such as an AUC of one class) is left out.
    Raises ValueError if that happens in more than a tenth of the draws.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    by_owner = np.argsort(owner, kind="stable")
    rows = np.split(by_owner, np.cumsum(np.bincount(owner))[:-1])
    value = statistic(np.arange(owner.size))
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(rounds):
        chosen = random.integers(names.size, size=names.size)
        try:
            drawn.append(statistic(np.concatenate([rows[patient] for patient in chosen])))
        except ValueError:
            continue
    defined = np.array([figure for figure in drawn if np.isfinite(figure)])
    if defined.size < (1 - _MOST_UNDEFINED) * rounds:
        raise ValueError(f"too few patients to bootstrap: {names.size}")
    lower, upper = np.percentile(defined, [2.5, 97.5])
    return Interval(float(value), float(lower), float(upper))
