"""The study as tables for the terminal, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from model_export.figures import save_figure
from model_export.json_values import plain
from model_export.reader_study.figure import study_figure
from model_export.reader_study.study import ALL_READERS, ALONE, WITH, WITHOUT, Study
from model_export.statistics import AucInterval, Interval, McNemarTest, ReadersTest
from model_export.tables import Table, markdown_page, p_text, signed_text

_FIGURES = ("accuracy", "sensitivity", "specificity", "precision", "f1", "auc", "binary_auc")
_FIGURE_TITLES = (
    *("TP / FP / FN / TN", "Accuracy", "Sensitivity", "Specificity", "Precision", "F1"),
    *("AUC (BI-RADS)", "AUC (answer)"),
)
_RULE = "BI-RADS 3 and 4A count as benign, 4B and 4C as malignant; intervals are at 95 %."


def study_tables(study: Study) -> list[Table]:
    """Table 3, the paired comparisons, what was left out, and broken washouts."""
    tables = [_table_3(study), _comparisons(study)]
    if study.readings.excluded:
        tables.append(_exclusions(study))
    if study.washout.breaches:
        tables.append(_breaches(study))
    return tables


def introduction(study: Study) -> list[str]:
    """What was read, by whom, and whether the washout was kept."""
    readings = study.readings
    cases = {reading.case: reading.label for reading in readings.kept}
    malignant = sum(cases.values())
    return [
        f"{len(cases)} cases ({malignant} malignant, {len(cases) - malignant} benign), "
        f"{len(readings.kept)} pairs of readings by {len(readings.readers)} "
        + ("reader" if len(readings.readers) == 1 else "readers"),
        f"{len(readings.excluded)} of {readings.lines} lines left out",
        study.washout.sentence,
        _RULE,
    ]


def write_study(study: Study, out: Path) -> None:
    """Write study.md, table3.csv, exclusions.csv, study.json, roc.png and roc.svg."""
    out.mkdir(parents=True, exist_ok=True)
    page = markdown_page("Reader study", introduction(study), study_tables(study))
    page += "\n![ROC of the BI-RADS readings](roc.png)\n"
    (out / "study.md").write_text(page, encoding="utf-8")
    (out / "table3.csv").write_text(_table_3_csv(study), encoding="utf-8")
    (out / "exclusions.csv").write_text(_exclusions_csv(study), encoding="utf-8")
    (out / "study.json").write_text(
        json.dumps(study_json(study), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        encoding="utf-8",
    )
    save_figure(study_figure(study), out / "roc")


def study_json(study: Study) -> dict[str, Any]:
    """All figures as plain values; null where one is not defined."""
    told: dict[str, Any] = plain(
        {
            "lines": study.readings.lines,
            "excluded": study.readings.reasons(),
            "readers": list(study.readings.readers),
            "threshold": study.threshold,
            "table_3": [asdict(row) for row in study.rows],
            "comparisons": [asdict(comparison) for comparison in study.comparisons],
            "obuchowski_rockette": study.readers_test and asdict(study.readers_test),
            "common_cases": study.common_cases,
            "washout": {
                "least_days": study.washout.least,
                "kept": study.washout.kept,
                "broken": len(study.washout.breaches),
                "unknown": study.washout.unknown,
                "shortest_days": study.washout.shortest,
            },
        }
    )
    return told


def _table_3(study: Study) -> Table:
    """A reader's figures side by side; the model alone stands beside the first block."""
    notes = [
        "AUC (BI-RADS): of the ordinal reading 3 < 4A < 4B < 4C, by DeLong; of the model alone: of "
        "its score. AUC (answer): of benign or malignant, (sensitivity + specificity) / 2.",
    ]
    blocks = {row.reader: row.reader for row in study.rows if row.reading != ALONE}
    if len(study.readings.readers) > 1:
        blocks = {ALL_READERS: ALL_READERS, **blocks}
        notes.append(
            "All readers: over all readings, intervals by a bootstrap over cases with these "
            "readers; AUC (BI-RADS): their mean, by Obuchowski–Rockette, on the "
            f"{study.common_cases} cases that all have read."
        )
    columns: tuple[str, ...] = (WITHOUT, WITH)
    if study.threshold is not None:
        columns += (ALONE,)
        notes.append(f"AI alone calls malignant from a score of {study.threshold:g} on.")
    rows: list[tuple[str, ...]] = []
    for reader in blocks:
        told = [_column(study, column, reader, first=not rows) for column in columns]
        rows += [(reader, *cells) for cells in zip(_FIGURE_TITLES, *told, strict=True)]
    head = ("Reader", "Figure", *columns)
    return Table("Table 3: the readings", head, tuple(rows), notes=tuple(notes))


def _column(study: Study, reading: str, reader: str, first: bool) -> list[str]:
    """One block of a column: the counts, then the figures; empty where there is no such row."""
    wanted = "" if reading == ALONE and first else reader
    for row in study.rows:
        if (row.reading, row.reader) == (reading, wanted):
            table = row.confusion
            counts = f"{table.tp} / {table.fp} / {table.fn} / {table.tn}"
            return [counts, *(_told(getattr(row, name)) for name in _FIGURES)]
    return [""] * len(_FIGURE_TITLES)


def _comparisons(study: Study) -> Table:
    rows: list[tuple[str, ...]] = []
    for comparison in study.comparisons:
        name, auc = comparison.reader, comparison.auc
        rows.append((name, "sensitivity", *_mcnemar(comparison.sensitivity)))
        rows.append((name, "specificity", *_mcnemar(comparison.specificity)))
        if auc is not None:
            gain = signed_text(auc.difference, auc.lower, auc.upper)
            rows.append((name, "AUC (BI-RADS)", gain, p_text(auc.p_value), "DeLong"))
    if study.readers_test is not None:
        rows += _several_readers(study.readers_test)
    notes = [
        "McNemar's test is exact and of one reader: several readers of one case do not fit it."
    ]
    if study.readers_test is not None and study.readers_test.readers < 4:
        notes.append(
            "With so few readers the test for random readers has little power; the one for fixed "
            "readers speaks of these readers only."
        )
    return Table(
        "With AI against without",
        ("Reader", "Of", "With − without", "P", "Test"),
        tuple(rows),
        notes=tuple(notes),
    )


def _several_readers(test: ReadersTest) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for title, contrast in (
        ("random readers and cases", test.random_readers),
        ("fixed readers, random cases", test.fixed_readers),
    ):
        freedom = "normal" if math.isinf(contrast.degrees) else f"ddf = {contrast.degrees:.1f}"
        rows.append(
            (
                f"{test.readers} readers",
                f"mean AUC (BI-RADS), {title}",
                signed_text(contrast.difference, contrast.lower, contrast.upper),
                p_text(contrast.p_value),
                f"Obuchowski–Rockette, {freedom}",
            )
        )
    return rows


def _mcnemar(test: McNemarTest) -> tuple[str, str, str]:
    gained = f"{test.only_second} cases gained, {test.only_first} lost"
    return gained, p_text(test.p_value), "McNemar, exact"


def _exclusions(study: Study) -> Table:
    reasons = study.readings.reasons()
    return Table(
        f"Left out: {len(study.readings.excluded)} of {study.readings.lines} lines",
        ("Reason", "Lines"),
        tuple((reason, str(count)) for reason, count in reasons.items()),
        notes=("Each line is named in exclusions.csv.",),
    )


def _breaches(study: Study) -> Table:
    return Table(
        f"Washout of {study.washout.least} days broken",
        ("Line", "Case", "Reader", "Days"),
        tuple(
            (str(reading.line), reading.case, reading.reader, str(reading.days))
            for reading in study.washout.breaches
        ),
        notes=("These readings are in the figures above all the same.",),
    )


def _table_3_csv(study: Study) -> str:
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    bounds = [f"{name}{end}" for name in _FIGURES for end in ("", "_lower", "_upper")]
    writer.writerow(["reading", "reader", "tp", "fp", "fn", "tn", *bounds])
    for row in study.rows:
        cells: list[object] = [row.reading, row.reader]
        cells += [row.confusion.tp, row.confusion.fp, row.confusion.fn, row.confusion.tn]
        for name in _FIGURES:
            cells += _bounds(getattr(row, name))
        writer.writerow(cells)
    return stream.getvalue()


def _bounds(figure: Interval | AucInterval | None) -> list[str]:
    if figure is None:
        return ["", "", ""]
    value = figure.auc if isinstance(figure, AucInterval) else figure.value
    return [f"{x:.6f}" if math.isfinite(x) else "" for x in (value, figure.lower, figure.upper)]


def _exclusions_csv(study: Study) -> str:
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["line", "case", "reader", "reason"])
    writer.writerows((e.line, e.case, e.reader, e.reason) for e in study.readings.excluded)
    return stream.getvalue()


def _told(figure: Interval | AucInterval | None) -> str:
    value, lower, upper = _bounds(figure)
    if not value:
        return "–"
    told = f"{float(value):.3f}"
    return f"{told} ({float(lower):.3f}–{float(upper):.3f})" if lower and upper else told
