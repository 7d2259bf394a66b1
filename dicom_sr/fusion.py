"""One score for a lesion of which there are several views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

_LEAST = 1e-6  # a probability of exactly 0 or 1 has no logit


class FusionRule(StrEnum):
    """How the scores of a lesion's views become one; the value is the rule in words."""

    MEAN_OF_PROBABILITIES = "mean of probabilities"
    MEAN_OF_LOGITS = "mean of logits"
    MAXIMUM = "maximum"


RULE = FusionRule.MEAN_OF_LOGITS
"""Chosen on validation images alone: docs/decisions/0028."""


def fuse(probabilities: Sequence[float], rule: FusionRule = RULE) -> float:
    """The malignant probability of a lesion, from those of its views.

    probabilities: one for each view, 0–1, at least one; their order does not matter.
    Returns a probability 0–1 that lies between the lowest and the highest of them.
    Raises ValueError without a view, or for what is no probability.
    """
    if not probabilities:
        raise ValueError("a lesion without a view has no score")
    if not all(0 <= each <= 1 for each in probabilities):
        raise ValueError("a probability lies between 0 and 1")
    lowest, highest = min(probabilities), max(probabilities)
    if rule is FusionRule.MAXIMUM or lowest == highest:
        return highest
    if rule is FusionRule.MEAN_OF_PROBABILITIES:
        fused = math.fsum(probabilities) / len(probabilities)
    else:
        mean = math.fsum(_logit(each) for each in probabilities) / len(probabilities)
        fused = 1 / (1 + math.exp(-mean))
    return min(max(fused, lowest), highest)


def _logit(probability: float) -> float:
    inside = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(inside / (1 - inside))
