"""The paper's Table 3 out of our own analysis (Mao et al., Chin J Clin Res 2026;39(4):547).

The paper gives counts of each reading, not which case was right in which; accuracy, sensitivity,
specificity, precision, F1 and AUC do not depend on that. The pairing here is ours: as few changed
answers as the counts allow. ``docs/paper.md`` tells what we found in the paper.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model_export.cli.reader_study import reader_study_app
from model_export.reader_study.readings import read_readings
from model_export.reader_study.study import WITH, WITHOUT, Row, Study, analyse_study
from model_export.statistics import Confusion, mcnemar

_MALIGNANT, _BENIGN = 146, 148
_RIGHT_MALIGNANT = {WITHOUT: 118, WITH: 124}
_RIGHT_BENIGN = {WITHOUT: 57, WITH: 142}


@pytest.fixture(scope="module")
def readings_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """294 cases: 4B for an answer malignant, 4A for benign, the first k of a class right."""
    path = tmp_path_factory.mktemp("paper") / "readings.csv"
    rows = []
    for truth, total, right, answers in (
        ("malignant", _MALIGNANT, _RIGHT_MALIGNANT, ("4B", "4A")),
        ("benign", _BENIGN, _RIGHT_BENIGN, ("4A", "4B")),
    ):
        for index in range(total):
            pair = (answers[index >= right[reading]] for reading in (WITHOUT, WITH))
            rows.append((f"{truth[0]}{index}", truth, *pair))
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("case", "truth", "birads_1", "birads_2"), *rows])
    return path


@pytest.fixture(scope="module")
def study(readings_csv: Path) -> Study:
    return analyse_study(read_readings(readings_csv), washout_days=14)


def _row(study: Study, reading: str) -> Row:
    return next(row for row in study.rows if row.reading == reading)


def test_the_counts_are_of_294_cases(study: Study) -> None:
    assert _row(study, WITHOUT).confusion == Confusion(tp=118, fp=91, fn=28, tn=57)
    assert _row(study, WITH).confusion == Confusion(tp=124, fp=6, fn=22, tn=142)
    assert _row(study, WITH).confusion.accuracy.total == 294


@pytest.mark.parametrize(
    ("reading", "auc", "accuracy", "sensitivity", "specificity"),
    [(WITHOUT, 0.597, 0.595, 0.808, 0.385), (WITH, 0.904, 0.905, 0.849, 0.959)],
)
def test_the_abstracts_figures_follow_from_the_counts(
    study: Study, reading: str, auc: float, accuracy: float, sensitivity: float, specificity: float
) -> None:
    row = _row(study, reading)
    assert round(row.accuracy.value, 3) == accuracy
    assert round(row.sensitivity.value, 3) == sensitivity
    assert round(row.specificity.value, 3) == specificity
    assert row.binary_auc is not None
    assert round(row.binary_auc.auc, 3) == auc


def test_the_papers_auc_is_that_of_the_answer_not_of_the_category(study: Study) -> None:
    for reading in (WITHOUT, WITH):
        row = _row(study, reading)
        assert row.binary_auc is not None
        mean = (row.sensitivity.value + row.specificity.value) / 2
        assert row.binary_auc.auc == pytest.approx(mean)


@pytest.mark.parametrize(
    ("reading", "precision", "f1"),
    [(WITHOUT, 118 / 209, 236 / 355), (WITH, 124 / 130, 248 / 276)],
)
def test_precision_and_f1_follow_from_the_counts(
    study: Study, reading: str, precision: float, f1: float
) -> None:
    row = _row(study, reading)
    assert row.precision.value == pytest.approx(precision)
    assert row.f1.value == pytest.approx(f1)
    assert row.f1.lower < f1 < row.f1.upper


def test_with_this_pairing_only_gains_are_discordant(study: Study) -> None:
    compared = study.comparisons[0]
    assert (compared.sensitivity.only_first, compared.sensitivity.only_second) == (0, 6)
    assert (compared.specificity.only_first, compared.specificity.only_second) == (0, 85)
    assert compared.sensitivity.p_value == pytest.approx(2 * 0.5**6)


def test_the_command_prints_them(readings_csv: Path, tmp_path: Path) -> None:
    arguments = ["analyse", str(readings_csv), "--out", str(tmp_path)]
    result = CliRunner().invoke(reader_study_app, arguments)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "118 / 91 / 28 / 57 | 124 / 6 / 22 / 142" in page
    assert "0.595 (0.538–0.650) | 0.905 (0.866–0.933)" in page


@pytest.mark.parametrize(("lost", "p_value"), [(0, 0.031), (22, 0.480)])
def test_the_gain_in_sensitivity_can_be_significant_or_not_by_the_pairing(
    lost: int, p_value: float
) -> None:
    # 118 → 124 of 146: from 0 lost and 6 gained to 22 lost (all that are wrong with AI), 28 gained.
    without = np.concatenate([np.ones(118, dtype=bool), np.zeros(28, dtype=bool)])
    with_ai = np.concatenate([np.arange(118) >= lost, np.arange(28) < lost + 6])
    assert with_ai.sum() == 124
    assert mcnemar(without, with_ai).p_value == pytest.approx(p_value, abs=6e-4)


def test_the_gain_in_specificity_is_significant_with_every_pairing() -> None:
    for lost in range(7):
        without = np.concatenate([np.ones(57, dtype=bool), np.zeros(91, dtype=bool)])
        with_ai = np.concatenate([np.arange(57) >= lost, np.arange(91) < lost + 85])
        assert with_ai.sum() == 142
        assert mcnemar(without, with_ai).p_value < 0.001


def _splits(images: int, sensitivity: float, specificity: float, **others: float) -> set[Confusion]:
    """All tables of so many images which round to the printed figures, three decimals."""
    fitting = set()
    for malignant in range(1, images):
        benign = images - malignant
        for tp in _counts(sensitivity, malignant):
            for tn in _counts(specificity, benign):
                table = Confusion(tp, benign - tn, malignant - tp, tn)
                told = {"accuracy": table.accuracy.value, "precision": table.precision.value}
                told["f1"] = table.f1
                if all(round(told[name], 3) == value for name, value in others.items()):
                    fitting.add(table)
    return fitting


def _counts(share: float, total: int) -> list[int]:
    near = range(max(0, int(share * total) - 1), min(total, int(share * total) + 2) + 1)
    return [count for count in near if round(count / total, 3) == share]


def test_the_models_training_row_allows_one_table_only() -> None:
    fitting = _splits(294, 0.863, 0.865, accuracy=0.864, precision=0.863, f1=0.863)
    assert fitting == {Confusion(tp=126, fp=20, fn=20, tn=128)}


def test_the_readers_figures_are_those_of_the_294_training_images() -> None:
    without = _splits(294, 0.808, 0.385, accuracy=0.595)
    with_ai = _splits(294, 0.849, 0.959, accuracy=0.905)
    assert without == {Confusion(tp=118, fp=91, fn=28, tn=57)}
    assert with_ai == {Confusion(tp=124, fp=6, fn=22, tn=142)}


def test_no_126_test_images_can_give_the_readers_figures() -> None:
    assert not _splits(126, 0.808, 0.385, accuracy=0.595)
    assert not _splits(126, 0.849, 0.959, accuracy=0.905)


def _hanley_mcneil_error(auc: float, malignant: int, benign: int) -> float:
    """Standard error of an AUC without its data (Hanley & McNeil, Radiology 1982;143:29, eq. 2)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (malignant - 1) * (q1 - auc**2) + (benign - 1) * (q2 - auc**2)
    return math.sqrt(variance / malignant / benign)


@pytest.mark.parametrize(
    ("auc", "lower", "upper", "images"), [(0.937, 0.911, 0.962, 294), (0.891, 0.833, 0.948, 126)]
)
def test_the_width_of_the_printed_intervals_fits_the_sets_sizes(
    auc: float, lower: float, upper: float, images: int
) -> None:
    printed = (upper - lower) / 2 / 1.959964
    errors = {n: _hanley_mcneil_error(auc, n // 2, n - n // 2) for n in (126, 294)}
    nearest = min(errors, key=lambda n: abs(np.log(errors[n] / printed)))
    assert nearest == images
    assert errors[images] == pytest.approx(printed, rel=0.15)
