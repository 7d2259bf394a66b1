"""The study's figures: Table 3, the paired tests, and the AUC of the BI-RADS readings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.reader_study.readings import Reading, Readings
from model_export.reader_study.washout import Washout, check_washout
from model_export.statistics import (
    AucInterval,
    Confusion,
    DeLongTest,
    Interval,
    McNemarTest,
    Proportion,
    ReadersTest,
    auc_interval,
    bootstrap_by_patient,
    delong_test,
    mcnemar,
    obuchowski_rockette,
)

WITHOUT, WITH, ALONE = "without AI", "with AI", "AI alone"
ALL_READERS = "all readers"
_ROUNDS = 2000


@dataclass(frozen=True)
class Row:
    """One row of Table 3: one reading of one reader, of all readers, or the model alone.

    The intervals of a single reader and of the model are Wilson's, F1's is a bootstrap; those of
    all readers together are a bootstrap over cases, as readings of one case are not independent.
    auc: of the ordinal reading or of the model's score; None with fewer than two cases of a class.
    binary_auc: of the answer benign or malignant, (sensitivity + specificity) / 2.
    """

    reading: str
    reader: str
    confusion: Confusion
    accuracy: Interval
    sensitivity: Interval
    specificity: Interval
    precision: Interval
    f1: Interval
    auc: AucInterval | None
    binary_auc: AucInterval | None


@dataclass(frozen=True)
class ReaderComparison:
    """With against without the model, for one reader.

    sensitivity, specificity: McNemar on malignant and on benign cases; ``only_first`` are right
    only without, ``only_second`` only with the model. auc: DeLong, with − without.
    """

    reader: str
    sensitivity: McNemarTest
    specificity: McNemarTest
    auc: DeLongTest | None


@dataclass(frozen=True)
class Study:
    """threshold: of the model alone, None if it was not asked for.

    readers_test: Obuchowski–Rockette, with − without, on the ``common_cases`` that every reader
    read; None with one reader.
    """

    readings: Readings
    rows: tuple[Row, ...]
    comparisons: tuple[ReaderComparison, ...]
    readers_test: ReadersTest | None
    common_cases: int
    washout: Washout
    threshold: float | None


@dataclass(frozen=True)
class Arrays:
    """Readings of one or more readers: ``(n,)`` each.

    cases: names. labels: 1 malignant. grades: ``(2, n)``, 0–3, without and with the model.
    called: ``(2, n)``, True where the answer is malignant.
    """

    cases: NDArray[np.str_]
    labels: NDArray[np.int64]
    grades: NDArray[np.float64]
    called: NDArray[np.bool_]


def arrays(readings: Sequence[Reading]) -> Arrays:
    """Of readings, in their order."""
    pairs = [(reading.first, reading.second) for reading in readings]
    return Arrays(
        cases=np.array([reading.case for reading in readings]),
        labels=np.array([reading.label for reading in readings], dtype=np.int64),
        grades=np.array([[c.grade for c in pair] for pair in pairs], dtype=np.float64).T,
        called=np.array([[c.malignant for c in pair] for pair in pairs], dtype=np.bool_).T,
    )


def model_scores(
    readings: Sequence[Reading],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and the model's scores, ``(n,)`` each, of the cases that have a score."""
    by_case = {r.case: (r.label, r.ai_score) for r in readings if r.ai_score is not None}
    return (
        np.array([label for label, _ in by_case.values()], dtype=np.int64),
        np.array([score for _, score in by_case.values()], dtype=np.float64),
    )


def analyse_study(
    readings: Readings, washout_days: int, threshold: float | None = None, seed: int = 0
) -> Study:
    """threshold: 0–1, from which on the model alone calls malignant. seed: of the bootstrap.

    Raises ValueError if nothing is left to analyse, or a threshold is given and no case has a
    score.
    """
    if not readings.kept:
        raise ValueError(f"none of the {readings.lines} lines can be used: {readings.reasons()}")
    by_reader = {
        name: arrays([r for r in readings.kept if r.reader == name]) for name in readings.readers
    }
    rows = [
        _row(reading, name, data, index, seed)
        for name, data in by_reader.items()
        for index, reading in enumerate((WITHOUT, WITH))
    ]
    test, common = _readers_test(by_reader)
    if len(by_reader) > 1:
        pooled = arrays(readings.kept)
        means = (None, None) if test is None else (test.second, test.first)
        rows += [
            _pooled_row(reading, pooled, index, means[index], seed)
            for index, reading in enumerate((WITHOUT, WITH))
        ]
    if threshold is not None:
        rows.append(_model_row(readings.kept, threshold, seed))
    return Study(
        readings=readings,
        rows=tuple(rows),
        comparisons=tuple(_compared(name, data) for name, data in by_reader.items()),
        readers_test=test,
        common_cases=common,
        washout=check_washout(readings.kept, washout_days),
        threshold=threshold,
    )


def _row(reading: str, reader: str, data: Arrays, index: int, seed: int) -> Row:
    called = data.called[index]
    return _wilson_row(reading, reader, data.labels, called, data.grades[index], seed)


def _model_row(readings: Sequence[Reading], threshold: float, seed: int) -> Row:
    labels, scores = model_scores(readings)
    if not labels.size:
        raise ValueError("a threshold was given, but no case has an ai_score")
    return _wilson_row(ALONE, "", labels, scores >= threshold, scores, seed)


def _wilson_row(
    reading: str,
    reader: str,
    labels: NDArray[np.int64],
    called: NDArray[np.bool_],
    scores: NDArray[np.float64],
    seed: int,
) -> Row:
    table = Confusion.of(labels, called)
    return Row(
        reading,
        reader,
        table,
        accuracy=table.accuracy.interval,
        sensitivity=table.sensitivity.interval,
        specificity=table.specificity.interval,
        precision=table.precision.interval,
        f1=_bootstrap(np.arange(labels.size), labels, called, "f1", seed),
        auc=_auc(labels, scores),
        binary_auc=_auc(labels, called.astype(np.float64)),
    )


def _pooled_row(reading: str, data: Arrays, index: int, mean: AucInterval | None, seed: int) -> Row:
    called = data.called[index]
    figures = {
        name: _bootstrap(data.cases, data.labels, called, name, seed)
        for name in ("accuracy", "sensitivity", "specificity", "precision", "f1", "binary_auc")
    }
    binary = figures.pop("binary_auc")
    return Row(
        reading,
        ALL_READERS,
        Confusion.of(data.labels, called),
        auc=mean,
        binary_auc=AucInterval(binary.value, binary.lower, binary.upper),
        **figures,
    )


def _bootstrap(
    cases: NDArray[np.generic],
    labels: NDArray[np.int64],
    called: NDArray[np.bool_],
    name: str,
    seed: int,
) -> Interval:
    def statistic(rows: NDArray[np.int64]) -> float:
        table = Confusion.of(labels[rows], called[rows])
        if name == "binary_auc":
            return (table.sensitivity.value + table.specificity.value) / 2
        figure = getattr(table, name)
        return float(figure.value if isinstance(figure, Proportion) else figure)

    try:
        return bootstrap_by_patient(cases, statistic, _ROUNDS, seed)
    except ValueError:
        return Interval(statistic(np.arange(labels.size)), math.nan, math.nan)


def _compared(reader: str, data: Arrays) -> ReaderComparison:
    malignant = data.labels == 1
    without, with_ai = data.called
    comparable = min(malignant.sum(), (~malignant).sum()) >= 2
    return ReaderComparison(
        reader,
        sensitivity=mcnemar(without[malignant], with_ai[malignant]),
        specificity=mcnemar(~without[~malignant], ~with_ai[~malignant]),
        auc=delong_test(data.labels, data.grades[1], data.grades[0]) if comparable else None,
    )


def _readers_test(by_reader: dict[str, Arrays]) -> tuple[ReadersTest | None, int]:
    """With − without on the cases that all readers read, and how many those are."""
    parts = list(by_reader.values())
    common = sorted(set.intersection(*(set(part.cases.tolist()) for part in parts)))
    if len(parts) < 2 or not common:
        return None, len(common)
    rows = []
    for part in parts:
        place = {case: index for index, case in enumerate(part.cases.tolist())}
        rows.append(np.array([place[case] for case in common]))
    labels = parts[0].labels[rows[0]]
    if min(labels.sum(), labels.size - labels.sum()) < 2:
        return None, len(common)
    grades = np.array([part.grades[:, row] for part, row in zip(parts, rows, strict=True)])
    return obuchowski_rockette(labels, grades[:, 1], grades[:, 0]), len(common)


def _auc(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> AucInterval | None:
    try:
        return auc_interval(labels, scores)
    except ValueError:
        return None
