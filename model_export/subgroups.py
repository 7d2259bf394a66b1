"""The figures of parts of the images: by scanner, BI-RADS category, size of the lesion …"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from model_export.evaluation import Scored
from model_export.statistics import AucInterval, Confusion, Proportion, auc_interval

FEWEST = 10
"""Of a class, below which a figure of a subgroup says nothing."""

SIZE = "size"
_DIAMETERS = ((10.0, "≤ 10 mm"), (20.0, "> 10–20 mm"), (math.inf, "> 20 mm"))
"""The limits of T1a–b, T1c and T2 (UICC TNM, 8th edition)."""


@dataclass(frozen=True)
class Subgroup:
    """column, name: such as ``device`` and ``GE Logiq 7``. A figure that would say nothing is a
    text with the reason instead."""

    column: str
    name: str
    images: int
    patients: int
    malignant: int
    auc: AucInterval | str
    sensitivity: Proportion | str
    specificity: Proportion | str


def subgroups(scored: Scored, column: str, threshold: float) -> list[Subgroup]:
    """One for each value of a manifest's column, in the order of the values; ``size`` is special.

    ``size`` is ``diameter_mm`` in three classes, or, where no image has one, the lesion's share
    of the image's area in thirds of these images. Empty if the images have no such column.
    """
    names = _size_names(scored) if column == SIZE else _value_names(scored, column)
    groups = []
    for name in sorted(set(names), key=lambda named: (named.rank, named.text)):
        rows = np.array([row for row, other in enumerate(names) if other == name])
        groups.append(_subgroup(scored.part(rows), column, name.text, threshold))
    return groups


@dataclass(frozen=True)
class _Name:
    """text: of a subgroup. rank: it stands before those of higher rank."""

    text: str
    rank: int = 0


_NOT_GIVEN = _Name("not given", rank=9)


def _subgroup(part: Scored, column: str, name: str, threshold: float) -> Subgroup:
    confusion = Confusion.at(part.labels, part.scores, threshold)
    malignant, benign = confusion.sensitivity.total, confusion.specificity.total
    return Subgroup(
        column,
        name,
        images=len(part.images),
        patients=len(set(part.patients)),
        malignant=malignant,
        auc=_or_reason(malignant, benign, lambda: auc_interval(part.labels, part.scores)),
        sensitivity=_share(confusion.sensitivity, "malignant"),
        specificity=_share(confusion.specificity, "benign"),
    )


def _or_reason(malignant: int, benign: int, figure: Callable[[], AucInterval]) -> AucInterval | str:
    if not malignant:
        return "benign only"
    if not benign:
        return "malignant only"
    if min(malignant, benign) < FEWEST:
        return f"too few ({malignant} malignant, {benign} benign)"
    return figure()


def _share(share: Proportion, which: str) -> Proportion | str:
    if not share.total:
        return f"none {which}"
    return share if share.total >= FEWEST else f"too few ({share.total})"


def _value_names(scored: Scored, column: str) -> list[_Name]:
    values = [image.columns.get(column, "").strip() for image in scored.images]
    return [_Name(value) if value else _NOT_GIVEN for value in values] if any(values) else []


def _size_names(scored: Scored) -> list[_Name]:
    diameters = [_number(image.columns.get("diameter_mm", "")) for image in scored.images]
    if not all(math.isnan(diameter) for diameter in diameters):
        return [_diameter_name(diameter) for diameter in diameters]
    known = scored.lesion_share[~np.isnan(scored.lesion_share)]
    if not known.size:
        return []
    first, second = np.quantile(known, [1 / 3, 2 / 3])
    return [_third_name(share, first, second) for share in scored.lesion_share]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _diameter_name(diameter: float) -> _Name:
    for rank, (limit, text) in enumerate(_DIAMETERS):
        if diameter <= limit:
            return _Name(text, rank)
    return _NOT_GIVEN


def _third_name(share: float, first: float, second: float) -> _Name:
    if math.isnan(share):
        return _NOT_GIVEN
    if share <= first:
        return _Name(f"≤ {first:.1%} of the image")
    if share <= second:
        return _Name(f"> {first:.1%}–{second:.1%} of the image", 1)
    return _Name(f"> {second:.1%} of the image", 2)
