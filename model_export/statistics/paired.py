"""Two answers on the same cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar as _mcnemar


@dataclass(frozen=True)
class McNemarTest:
    """only_first, only_second: cases that only this one has right. p_value: exact, two-sided."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first_correct: NDArray[np.bool_], second_correct: NDArray[np.bool_]) -> McNemarTest:
    """McNemar's exact (binomial) test of ``(n,)`` paired answers, True = right.

    For sensitivity give the malignant cases only, for specificity the benign. Raises ValueError
    if the two differ in length.
    """
    if first_correct.shape != second_correct.shape:
        raise ValueError("paired answers are of the same cases")
    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((~first_correct & second_correct).sum())
    if only_first + only_second == 0:
        return McNemarTest(0, 0, 1.0)
    # The concordant cases do not enter the test.
    table = [[0, only_first], [only_second, 0]]
    return McNemarTest(only_first, only_second, float(_mcnemar(table, exact=True).pvalue))
