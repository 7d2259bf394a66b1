"""Do the scores drift? Those of each scanner model against the model package's reference."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

_MOST = 50
_UNNAMED, _OTHERS = "unnamed", "others"


class ScannerModels:
    """Names for labels: as many as dashboards can show."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, scanner_model: str | None) -> str:
        if scanner_model is None:
            return _UNNAMED
        if scanner_model not in self._known and len(self._known) >= _MOST:
            return _OTHERS
        self._known.add(scanner_model)
        return scanner_model


def binned(values: Iterable[float], edges: Sequence[float]) -> list[int]:
    """How many values lie in each bin; edges: inner bounds, ascending."""
    counts = Counter(bisect_right(edges, value) for value in values)
    return [counts[number] for number in range(len(edges) + 1)]


def population_stability_index(reference: Sequence[int], found: Sequence[int]) -> float:
    """PSI = Σ (f - r) ln(f / r) over bins, r and f the shares of reference and found.

    Half an image is added to each bin, so that an empty one leaves it finite. 0: as in the
    reference; by a rule of thumb from credit scoring (Siddiqi 2006), above 0.25 it has moved.
    Of n images chance alone makes it about (bins - 1) / n.
    """
    if len(reference) != len(found):
        raise ValueError("the bins are not the same")
    return sum(
        (f - r) * math.log(f / r) for r, f in zip(_shares(reference), _shares(found), strict=True)
    )


def _shares(counts: Sequence[int]) -> list[float]:
    whole = sum(counts) + len(counts) / 2
    return [(count + 0.5) / whole for count in counts]
