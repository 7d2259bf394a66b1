"""The filled answer sheets of both sessions, put together by the key for the analysis."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model_export.reader_study.birads import read_category
from model_export.reader_study.readings import COLUMNS, read_date, read_table
from model_export.reader_study.worklists import (
    ANSWER_COLUMNS,
    KEY_COLUMNS,
    KEY_FILE,
    SESSIONS,
)


@dataclass(frozen=True)
class Answer:
    """As the reader wrote it; ``date`` in ISO form or empty."""

    birads: str
    date: str


@dataclass(frozen=True)
class Problem:
    """What is wrong with an answer: where it stands, and what to do about it.

    fatal: it cannot be told which reading is meant; the others leave a gap, which the analysis
    excludes and counts.
    """

    sheet: str
    line: int | None
    text: str
    fatal: bool = False

    def __str__(self) -> str:
        place = self.sheet if self.line is None else f"{self.sheet}, line {self.line}"
        return f"{place}: {self.text}"


@dataclass(frozen=True)
class Collected:
    """rows: of ``readings.COLUMNS``, one a reader and case. problems: in the sheets' order."""

    rows: tuple[tuple[str, ...], ...]
    problems: tuple[Problem, ...]


def collect_answers(folder: Path) -> Collected:
    """Read ``key.csv`` and each session's ``answers*.csv`` of a work lists' folder.

    Raises FileNotFoundError without the key or a session's sheets, ValueError if a column is
    missing.
    """
    key = [cells for _, cells in read_table(folder / KEY_FILE, KEY_COLUMNS)]
    problems: list[Problem] = []
    answers: list[dict[tuple[str, str], Answer]] = []
    for number, session in enumerate(SESSIONS, 1):
        known = {cells[f"session_{number}"] for cells in key}
        answers.append(_read_session(folder, session, known, problems))
    readers = sorted({reader for session in answers for reader, _ in session})
    if not readers:
        problems.append(Problem(str(folder), None, "no answers yet", fatal=True))
    rows = []
    for reader in readers:
        for cells in key:
            rows.append(_row(reader, cells, answers, problems))
    return Collected(tuple(rows), tuple(problems))


def write_readings(collected: Collected, out: Path) -> None:
    """The CSV that ``analyse`` reads."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(collected.rows)


def _read_session(
    folder: Path, session: str, known: set[str], problems: list[Problem]
) -> dict[tuple[str, str], Answer]:
    """Answers by reader and case number; a line that nobody has begun is passed over."""
    sheets = sorted((folder / session).glob("answers*.csv"))
    if not sheets:
        raise FileNotFoundError(f"{folder / session} has no answers*.csv")
    answers: dict[tuple[str, str], Answer] = {}
    for sheet in sheets:
        name = f"{session}/{sheet.name}"
        for line, cells in read_table(sheet, ANSWER_COLUMNS):
            if not cells["birads"] and not cells["date"]:
                continue
            case, reader = cells["case"], cells["reader"]
            if case not in known:
                text = f"the session has no case {case!r}"
            elif not reader:
                text = f"{case}: the reader's code is missing"
            elif (reader, case) in answers:
                text = f"{case}: this reader has answered it twice"
            else:
                answers[reader, case] = _answer(name, line, cells, problems)
                continue
            problems.append(Problem(name, line, text, fatal=True))
    return answers


def _answer(sheet: str, line: int, cells: Mapping[str, str], problems: list[Problem]) -> Answer:
    category, day = "", ""
    try:
        category = read_category(cells["birads"]).value
    except ValueError as error:
        # It goes on as it was written: the analysis leaves it out and counts it by its reason.
        category = cells["birads"]
        problems.append(Problem(sheet, line, f"{cells['case']}: the answer {error}"))
    try:
        read = read_date(cells["date"])
        day = read.isoformat() if read else ""
        if read is None:
            problems.append(Problem(sheet, line, f"{cells['case']}: the date is missing"))
    except ValueError as error:
        problems.append(Problem(sheet, line, f"{cells['case']}: the date {error}"))
    return Answer(category, day)


def _row(
    reader: str,
    cells: Mapping[str, str],
    answers: list[dict[tuple[str, str], Answer]],
    problems: list[Problem],
) -> tuple[str, ...]:
    given = []
    for number, session in enumerate(SESSIONS, 1):
        case = cells[f"session_{number}"]
        answer = answers[number - 1].get((reader, case))
        if answer is None:
            problems.append(Problem(session, None, f"{case}: no answer of reader {reader}"))
            answer = Answer("", "")
        given.append(answer)
    first, second = given
    return (
        cells["case"],
        cells["truth"],
        reader,
        first.birads,
        second.birads,
        cells["ai_score"],
        first.date,
        second.date,
    )
