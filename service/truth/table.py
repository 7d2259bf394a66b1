"""A table of diagnoses, as a hospital's pathology exports it: CSV to ``Truth``."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TypeVar

from service.journal.truth_records import Diagnosis, Source, Subject, Truth

STUDY_COLUMN, IMAGE_COLUMN = "study_instance_uid", "sop_instance_uid"
_NEEDED = ("diagnosis", "date", "source")
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_LONGEST_UID = 64

_Kind = TypeVar("_Kind", Diagnosis, Source)


class TableError(Exception):
    """The file is no such table; the text says why, and repeats nothing of its rows."""


class BadValue(ValueError):
    """A value that cannot be taken; the text names its column, not the value."""


@dataclass(frozen=True)
class TableRow:
    """line: in the file, from 1. Either what it says, or why it cannot be taken."""

    line: int
    truth: Truth | None
    reason: str = ""


def read_table(path: Path, teller: str, today: date) -> Iterator[TableRow]:
    """Columns study_instance_uid or sop_instance_uid, diagnosis, date, source; others are left
    alone. UTF-8, separated by commas or semicolons. An empty row is no row.

    Where both UIDs are given, the diagnosis is the image's. Raises TableError; OSError.
    """
    with path.open(newline="", encoding="utf-8-sig") as stream:
        try:
            first = stream.readline()
            stream.seek(0)
            comma = "," if first.count(",") >= first.count(";") else ";"
            reader = csv.DictReader(stream, delimiter=comma)
            _require_columns([name.strip() for name in reader.fieldnames or ()])
            for values in reader:
                given = {
                    str(name).strip(): value.strip()
                    for name, value in values.items()
                    if isinstance(value, str)
                }
                if any(given.values()):
                    yield _row(reader.line_num, given, teller, today)
        except UnicodeDecodeError:
            raise TableError("it is not UTF-8") from None
        except csv.Error:
            raise TableError(f"line {reader.line_num + 1} cannot be read as CSV") from None


def _require_columns(names: list[str]) -> None:
    absent = [name for name in _NEEDED if name not in names]
    if STUDY_COLUMN not in names and IMAGE_COLUMN not in names:
        absent.insert(0, f"{STUDY_COLUMN} or {IMAGE_COLUMN}")
    if absent:
        raise TableError(f"its first line lacks {', '.join(absent)}")


def _row(line: int, values: Mapping[str, str], teller: str, today: date) -> TableRow:
    try:
        image_uid = values.get(IMAGE_COLUMN, "")
        truth = Truth(
            subject=Subject.IMAGE if image_uid else Subject.STUDY,
            uid=a_uid(image_uid or values.get(STUDY_COLUMN, "")),
            diagnosis=_one_of(Diagnosis, "diagnosis", values.get("diagnosis", "")),
            dated=a_day(values.get("date", ""), today),
            source=_one_of(Source, "source", values.get("source", "")),
            teller=teller,
        )
    except BadValue as error:
        return TableRow(line, None, str(error))
    return TableRow(line, truth)


def a_uid(text: str) -> str:
    """Raises BadValue."""
    if not text:
        raise BadValue("it has no UID")
    if len(text) > _LONGEST_UID or not _UID.fullmatch(text):
        raise BadValue("the UID is none")
    return text


def a_day(text: str, today: date) -> date:
    """``2026-03-09`` or ``20260309``; of tomorrow at most, for clocks differ. Raises BadValue."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise BadValue("the date is none: write 2026-03-09") from None
    if day > today + timedelta(days=1):
        raise BadValue("the date is still to come")
    return day


def _one_of(kind: type[_Kind], column: str, text: str) -> _Kind:
    try:
        return kind(text.lower())
    except ValueError:
        raise BadValue(f"{column} is none of {', '.join(kind)}") from None
