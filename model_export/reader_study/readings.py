"""The readings' CSV: what is in it, and what has to be left out."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from io import StringIO
from pathlib import Path

from model_export.dataset import LABELS
from model_export.reader_study.birads import Category, read_category

COLUMNS = ("case", "truth", "reader", "birads_1", "birads_2", "ai_score", "date_1", "date_2")
NEEDED = ("case", "truth", "birads_1", "birads_2")
_ONLY_READER = "reader"
_TRUTHS = {**LABELS, **{str(label): label for label in LABELS.values()}}


@dataclass(frozen=True)
class Reading:
    """One reader's two readings of one case.

    line: in the file, the head is 1. label: 1 malignant, 0 benign. first, second: without and with
    the model. ai_score: 0–1, None if not given. dates: of both, None where not known.
    """

    line: int
    case: str
    label: int
    reader: str
    first: Category
    second: Category
    ai_score: float | None
    dates: tuple[date | None, date | None]

    @property
    def days(self) -> int | None:
        """Between the two readings, whichever came first."""
        first, second = self.dates
        return None if first is None or second is None else abs((second - first).days)


@dataclass(frozen=True)
class Exclusion:
    """A line that is left out of everything, and why."""

    line: int
    case: str
    reader: str
    reason: str


@dataclass(frozen=True)
class Readings:
    """lines: of the file without its head, ``kept`` and ``excluded`` together."""

    kept: tuple[Reading, ...]
    excluded: tuple[Exclusion, ...]

    @property
    def lines(self) -> int:
        return len(self.kept) + len(self.excluded)

    @property
    def readers(self) -> tuple[str, ...]:
        return tuple(sorted({reading.reader for reading in self.kept}))

    def reasons(self) -> dict[str, int]:
        """How many lines each reason leaves out, the most frequent first."""
        return dict(Counter(exclusion.reason for exclusion in self.excluded).most_common())


def read_table(path: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells, stripped, of a CSV that commas or semicolons divide.

    Empty lines are passed over. Raises ValueError if a needed column is missing or the text is
    not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8: save it as CSV UTF-8") from None
    head = text.partition("\n")[0]
    delimiter = ";" if head.count(";") > head.count(",") else ","
    reader = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter)
    absent = [name for name in needed if name not in (reader.fieldnames or ())]
    if absent:
        raise ValueError(f"{path} lacks the columns {', '.join(absent)}")
    rows = []
    for row in reader:
        cells = {name: (row[name] or "").strip() for name in reader.fieldnames or () if name}
        if any(cells.values()):
            rows.append((reader.line_num, cells))
    return rows


def read_date(text: str) -> date | None:
    """``2026-03-05`` or ``2026/3/5``; None if empty. Raises ValueError for other forms."""
    if not text:
        return None
    found = re.fullmatch(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})", text)
    if found is None:
        raise ValueError("is no date such as 2026-03-05")
    year, month, day = (int(part) for part in found.groups())
    try:
        return date(year, month, day)
    except ValueError:
        raise ValueError("is no day of the calendar") from None


def read_readings(path: Path) -> Readings:
    """Read ``COLUMNS``; those beyond ``NEEDED`` may be missing.

    A line whose truth or whose BI-RADS categories cannot be used is excluded with its reason: both
    its readings, as the comparison is paired. Raises ValueError for what makes the file ambiguous:
    a reader's case twice, a case with two truths or two scores, a date or score that cannot be
    read. Messages name lines, never cases.
    """
    kept: list[Reading] = []
    excluded: list[Exclusion] = []
    seen: dict[tuple[str, str], int] = {}
    for line, cells in read_table(path, NEEDED):
        case, reader = cells["case"], cells.get("reader", "") or _ONLY_READER
        if case and (case, reader) in seen:
            raise ValueError(
                f"{path}, line {line}: this reader's case stands in line {seen[case, reader]} too"
            )
        seen[case, reader] = line
        try:
            kept.append(_reading(path, line, cells, case, reader))
        except _Unusable as unusable:
            excluded.append(Exclusion(line, case, reader, str(unusable)))
    _refuse_contradictions(path, kept)
    return Readings(tuple(kept), tuple(excluded))


class _Unusable(Exception):
    """A value that leaves its line out; the text is the reason."""


def _reading(path: Path, line: int, cells: dict[str, str], case: str, reader: str) -> Reading:
    try:
        dates = (read_date(cells.get("date_1", "")), read_date(cells.get("date_2", "")))
        score = read_score(cells.get("ai_score", ""))
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: a value {error}") from None
    if not case:
        raise _Unusable("the case has no name")
    truth = cells["truth"].lower()
    if truth not in _TRUTHS:
        raise _Unusable(
            "the truth is missing" if not truth else "the truth is not benign/malignant"
        )
    categories = []
    for number in (1, 2):
        try:
            categories.append(read_category(cells[f"birads_{number}"]))
        except ValueError as error:
            raise _Unusable(f"reading {number} {error}") from None
    return Reading(line, case, _TRUTHS[truth], reader, categories[0], categories[1], score, dates)


def read_score(text: str) -> float | None:
    """0–1; None if empty. Raises ValueError for all else."""
    if not text:
        return None
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise ValueError("is no score between 0 and 1")
    return score


def _refuse_contradictions(path: Path, readings: list[Reading]) -> None:
    first: dict[str, Reading] = {}
    for reading in readings:
        known = first.setdefault(reading.case, reading)
        if known.label != reading.label or known.ai_score != reading.ai_score:
            what = "truth" if known.label != reading.label else "ai_score"
            raise ValueError(
                f"{path}: lines {known.line} and {reading.line} give one case another {what}"
            )
