"""Table 1 of the paper: do the training patients and the test patients resemble each other?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from model_export.preparation.clinical import ClinicalRow
from model_export.statistics import compare_means, compare_shares
from model_export.tables import Table, p_text

_SMALLEST_GROUP = 5
_OTHER = "other"
_NONE = "–"


@dataclass(frozen=True)
class Patient:
    """A patient of the study with the one lesion that is kept; None or "" is not known."""

    part: str
    label: str
    birads: str
    age: float | None
    diameter_mm: float | None
    side: str
    pathology: str


def patients_of(rows: Iterable[ClinicalRow], part_of: Mapping[str, str]) -> list[Patient]:
    """One for each patient: of several rows (images) the first in the order of files that knows it.

    rows: of the images of the study. part_of: part of the split by patient.
    """
    by_patient: dict[str, list[ClinicalRow]] = {}
    for row in sorted(rows, key=lambda row: (row.file, row.sop_instance_uid)):
        by_patient.setdefault(row.patient, []).append(row)
    return [
        Patient(
            part=part_of[patient],
            label=found[0].label or "",
            birads=found[0].birads,
            age=next((row.age for row in found if row.age is not None), None),
            diameter_mm=next(
                (row.diameter_mm for row in found if row.diameter_mm is not None), None
            ),
            side=_agreed({row.side for row in found} - {""}),
            pathology=next((row.pathology for row in found if row.pathology), ""),
        )
        for patient, found in sorted(by_patient.items())
    ]


def _agreed(sides: set[str]) -> str:
    """The one side, or "" where the rows name none or both."""
    return next(iter(sides)) if len(sides) == 1 else ""


def table_one(patients: Sequence[Patient]) -> Table:
    """Training (with validation) against test patients: t-test for means, χ² for shares."""
    training = [patient for patient in patients if patient.part != "test"]
    test = [patient for patient in patients if patient.part == "test"]
    rows = [
        _means("age, years", [patient.age for patient in training], [p.age for p in test]),
        _means(
            "diameter, mm",
            [patient.diameter_mm for patient in training],
            [patient.diameter_mm for patient in test],
        ),
        *_shares("label", training, test, lambda patient: patient.label),
        *_shares("BI-RADS", training, test, lambda patient: patient.birads.upper()),
        *_shares("side", training, test, lambda patient: patient.side),
        *_shares("pathology", training, test, _pathology_group(patients)),
    ]
    return Table(
        "Table 1. Patients of the training and of the test set",
        (
            "characteristic",
            f"training and validation (n = {len(training)})",
            f"test (n = {len(test)})",
            "statistic",
            "P",
        ),
        tuple(rows),
        notes=(
            "Mean ± standard deviation, Welch's t-test; number (share of those of whom it is "
            "known), Pearson's χ² without correction. One lesion of each patient. Pathology of "
            f"fewer than {_SMALLEST_GROUP} patients counts as {_OTHER}.",
        ),
    )


def _means(
    title: str, first: Sequence[float | None], second: Sequence[float | None]
) -> tuple[str, ...]:
    known = [np.array([value for value in group if value is not None]) for group in (first, second)]
    told = [_mean(values, len(group)) for values, group in zip(known, (first, second), strict=True)]
    try:
        test = compare_means(*known)
    except ValueError:
        return (title, *told, _NONE, _NONE)
    return (title, *told, *_result("t", test.t, test.p_value))


def _mean(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], of: int) -> str:
    if values.size < 2:
        return _NONE
    known = f" (of {values.size})" if values.size < of else ""
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}{known}"


def _shares(
    title: str,
    training: Sequence[Patient],
    test: Sequence[Patient],
    category: Callable[[Patient], str],
) -> list[tuple[str, ...]]:
    """A row for the title with the test, then one for each category; unknown is no category."""
    counts = [Counter(filter(None, map(category, group))) for group in (training, test)]
    categories = sorted(set().union(*counts), key=lambda name: (name == _OTHER, name))
    if not categories:
        return []
    try:
        found = compare_shares(np.array([[c[name] for c in counts] for name in categories]))
        result = _result("χ²", found.chi_square, found.p_value)
    except ValueError:
        result = (_NONE, _NONE)
    rows: list[tuple[str, ...]] = [(title, "", "", *result)]
    for name in categories:
        cells = (_share(group[name], group.total()) for group in counts)
        rows.append((f"{title}: {name}", *cells, "", ""))
    return rows


def _share(part: int, total: int) -> str:
    return f"{part} ({part / total:.1%})" if total else _NONE


def _pathology_group(patients: Sequence[Patient]) -> Callable[[Patient], str]:
    """The pathology in lower case; what few have is "other". None where it is only the label."""
    texts = Counter(patient.pathology.lower() for patient in patients if patient.pathology)
    if texts.keys() <= {"malignant", "benign"}:
        return lambda patient: ""

    def group(patient: Patient) -> str:
        text = patient.pathology.lower()
        return text if not text or texts[text] >= _SMALLEST_GROUP else _OTHER

    return group


def _result(name: str, statistic: float, p_value: float) -> tuple[str, str]:
    if math.isnan(p_value):
        return (_NONE, _NONE)
    return (f"{name} = {statistic:.2f}", p_text(p_value))
