"""Analysing a reader study: what counts, what is left out, what comes out."""

from __future__ import annotations

import csv
import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model_export.cli.reader_study import WASHOUT_BROKEN, reader_study_app
from model_export.reader_study.birads import Category, read_category
from model_export.reader_study.readings import read_readings
from model_export.reader_study.study import ALL_READERS, ALONE, WITH, WITHOUT, analyse_study
from model_export.statistics import delong_test, obuchowski_rockette

_HEAD = ("case", "truth", "reader", "birads_1", "birads_2", "ai_score", "date_1", "date_2")
_Row = tuple[str, ...]


def _write(path: Path, rows: list[_Row], head: tuple[str, ...] = _HEAD, comma: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=comma)
        writer.writerows([head, *rows])
    return path


def _simulated(readers: int, cases: int = 60, days: int = 20) -> list[_Row]:
    rng = np.random.default_rng(11)
    labels = rng.integers(0, 2, cases)
    case = rng.normal(0, 0.6, cases)
    second_day = date(2026, 1, 5) + timedelta(days=days)
    rows = []
    for reader in range(readers):
        for index in range(cases):
            grades = [
                int(
                    np.digitize(labels[index] * gain + case[index] + rng.normal(), [-0.3, 0.5, 1.4])
                )
                for gain in (1.0, 2.0)
            ]
            first, second = (list(Category)[grade].value for grade in grades)
            truth = ("benign", "malignant")[labels[index]]
            score = f"{1 / (1 + np.exp(-2 * labels[index] + 1 - case[index])):.4f}"
            rows.append(
                (f"C{index:03d}", truth, f"R{reader}", first, second, score, "2026-01-05",
                 second_day.isoformat())
            )  # fmt: skip
    return rows


@pytest.mark.parametrize("text", ["4b", "4B", " 4 b ", "BI-RADS 4B", "birads:4b", "Category 4b"])
def test_categories_are_read_as_people_write_them(text: str) -> None:
    assert read_category(text) is Category.FOUR_B


def test_3_and_4a_are_benign_and_the_grades_rise() -> None:
    assert [c.value for c in Category if c.malignant] == ["4B", "4C"]
    assert [read_category(text).grade for text in ("3", "4A", "4B", "4C")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is missing"),
        ("5", "is BI-RADS 5, outside"),
        ("4", "is BI-RADS 4, outside"),
        ("2", "is BI-RADS 2, outside"),
        ("cyst", "is no BI-RADS category"),
    ],
)
def test_other_answers_have_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_category(text)


def test_lines_that_cannot_be_used_are_counted_by_their_reason(tmp_path: Path) -> None:
    rows = _simulated(1)
    rows[0] = (*rows[0][:3], "5", *rows[0][4:])
    rows[1] = (*rows[1][:4], "", *rows[1][5:])
    rows[2] = (rows[2][0], "unknown", *rows[2][2:])
    rows[3] = ("", *rows[3][1:])
    readings = read_readings(_write(tmp_path / "readings.csv", rows))
    assert len(readings.kept) == 56
    assert readings.lines == 60
    assert readings.reasons() == {
        "reading 1 is BI-RADS 5, outside 3, 4A, 4B, 4C": 1,
        "reading 2 is missing": 1,
        "the truth is not benign/malignant": 1,
        "the case has no name": 1,
    }
    assert [exclusion.line for exclusion in readings.excluded] == [2, 3, 4, 5]


def test_semicolons_and_a_byte_order_mark_are_what_spreadsheets_write(tmp_path: Path) -> None:
    path = _write(tmp_path / "readings.csv", _simulated(1), comma=";")
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert len(read_readings(path).kept) == 60


def test_what_is_ambiguous_is_refused_by_its_line(tmp_path: Path) -> None:
    rows = _simulated(2)
    path = tmp_path / "readings.csv"
    with pytest.raises(ValueError, match="line 122: this reader's case stands in line 2"):
        read_readings(_write(path, [*rows, rows[0]]))
    other = "benign" if rows[0][1] == "malignant" else "malignant"
    with pytest.raises(ValueError, match="lines 2 and 62 give one case another truth"):
        read_readings(_write(path, [(rows[0][0], other, *rows[0][2:]), *rows[1:]]))
    with pytest.raises(ValueError, match="line 2: a value is no date"):
        read_readings(_write(path, [(*rows[0][:6], "5.1.26", rows[0][7]), *rows[1:]]))
    with pytest.raises(ValueError, match="line 2: a value is no score"):
        read_readings(_write(path, [(*rows[0][:5], "87", *rows[0][6:]), *rows[1:]]))
    with pytest.raises(ValueError, match="lacks the columns birads_2"):
        read_readings(_write(path, [("C1", "benign", "3")], ("case", "truth", "birads_1")))


def test_one_reader_is_compared_by_delong_and_mcnemar(tmp_path: Path) -> None:
    readings = read_readings(_write(tmp_path / "readings.csv", _simulated(1)))
    study = analyse_study(readings, 14)
    labels = np.array([reading.label for reading in readings.kept])
    first, second = (
        np.array([getattr(reading, name).grade for reading in readings.kept], dtype=np.float64)
        for name in ("first", "second")
    )
    assert study.readers_test is None
    assert study.comparisons[0].auc == delong_test(labels, second, first)
    gained = ((first < 2) & (second >= 2) & (labels == 1)).sum()
    assert study.comparisons[0].sensitivity.only_second == gained
    assert [row.reading for row in study.rows] == [WITHOUT, WITH]


def test_several_readers_are_compared_by_obuchowski_rockette(tmp_path: Path) -> None:
    rows = _simulated(3)
    rows[60] = (*rows[60][:3], "5", *rows[60][4:])
    readings = read_readings(_write(tmp_path / "readings.csv", rows))
    study = analyse_study(readings, 14, threshold=0.5)
    assert study.common_cases == 59
    common = [r for r in readings.kept if r.case != "C000"]
    grid = np.array([[r.first.grade, r.second.grade] for r in common], dtype=np.float64)
    grades = grid.reshape(3, 59, 2)
    labels = np.array([r.label for r in common[:59]])
    assert study.readers_test == obuchowski_rockette(labels, grades[..., 1], grades[..., 0])
    assert study.readers_test is not None
    assert study.readers_test.random_readers.difference > 0

    pooled = {row.reading: row for row in study.rows if row.reader == ALL_READERS}
    single = [row for row in study.rows if row.reading == WITH and row.reader.startswith("R")]
    assert pooled[WITH].confusion.tp == sum(row.confusion.tp for row in single)
    assert pooled[WITH].auc == study.readers_test.first
    assert pooled[WITHOUT].auc == study.readers_test.second
    alone = [row for row in study.rows if row.reading == ALONE]
    assert [row.confusion.accuracy.total for row in alone] == [60]


def test_pooled_intervals_know_that_readings_of_a_case_belong_together(tmp_path: Path) -> None:
    # Three readers who answer alike are one: the interval must not shrink by √3.
    alone = _simulated(1)
    alike = [(*row[:2], reader, *row[3:]) for reader in ("A", "B", "C") for row in alone]
    one = analyse_study(read_readings(_write(tmp_path / "one.csv", alone)), 14).rows[0]
    three = analyse_study(read_readings(_write(tmp_path / "three.csv", alike)), 14).rows[-2]
    assert (three.reading, three.reader) == (WITHOUT, ALL_READERS)
    width_of_one = one.accuracy.upper - one.accuracy.lower
    width_of_three = three.accuracy.upper - three.accuracy.lower
    assert width_of_three == pytest.approx(width_of_one, rel=0.15)


def test_a_threshold_without_scores_is_refused(tmp_path: Path) -> None:
    rows = [(*row[:5], "", *row[6:]) for row in _simulated(1)]
    readings = read_readings(_write(tmp_path / "readings.csv", rows))
    with pytest.raises(ValueError, match="no case has an ai_score"):
        analyse_study(readings, 14, threshold=0.5)


def test_analyse_writes_tables_figure_and_summary(tmp_path: Path) -> None:
    path = _write(tmp_path / "readings.csv", _simulated(2))
    out = tmp_path / "out"
    arguments = ["analyse", str(path), "--out", str(out), "--threshold", "0.5"]
    result = CliRunner().invoke(reader_study_app, arguments)
    assert result.exit_code == 0, result.output
    assert "Table 3" in result.output
    assert "kept in 120 of 120" in result.output
    assert {file.name for file in out.iterdir()} == {
        *("study.md", "table3.csv", "exclusions.csv", "study.json", "roc.png", "roc.svg")
    }
    page = (out / "study.md").read_text(encoding="utf-8")
    assert "Obuchowski–Rockette" in page
    assert "McNemar, exact" in page
    told = json.loads((out / "study.json").read_text(encoding="utf-8"))
    table = list(csv.DictReader((out / "table3.csv").open(encoding="utf-8")))
    assert len(table) == len(told["table_3"]) == 7
    sensitivity = told["table_3"][0]["sensitivity"]["value"]
    assert float(table[0]["sensitivity"]) == pytest.approx(sensitivity, abs=1e-6)


def test_a_broken_washout_is_listed_and_has_an_exit_code(tmp_path: Path) -> None:
    rows = _simulated(1)
    rows[4] = (*rows[4][:7], "2026-01-18")
    rows[5] = (*rows[5][:7], "2026-01-19")
    rows[6] = (*rows[6][:6], "", "")
    path = _write(tmp_path / "readings.csv", rows)
    arguments = ["analyse", str(path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(reader_study_app, arguments)
    assert result.exit_code == WASHOUT_BROKEN
    assert "kept in 58 of 60 readings, BROKEN in 1, unknown in 1" in result.output
    page = (tmp_path / "out" / "study.md").read_text(encoding="utf-8")
    assert "| 6 | C004 | R0 | 13 |" in page
    relaxed = CliRunner().invoke(reader_study_app, [*arguments, "--washout-days", "13"])
    assert relaxed.exit_code == 0
