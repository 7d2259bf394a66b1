"""The tables of ``docs/conformance.md``, and what the code says in their place."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydicom.charset import python_encoding

from dicom_sr.finding import NotAnalysed
from dicom_sr.report import build_report

from .created_objects import REPORT, created_objects, model

STATEMENT = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"

Row = dict[str, str]

_CAPTION = re.compile(r"\*\*Table (\S+) .*\*\*")
_SEPARATOR = re.compile(r"[|:\- ]+")


@cache
def tables() -> dict[str, list[Row]]:
    """Each table by its number, such as ``7-3``; code marks are taken off the cells."""
    found: dict[str, list[Row]] = {}
    number, columns = "", []
    for line in STATEMENT.read_text("utf-8").splitlines():
        if caption := _CAPTION.fullmatch(line):
            number, columns = caption[1], []
            assert number not in found, f"there are two tables {number}"
            found[number] = []
        elif line.startswith("|") and number:
            cells = [cell.strip().replace("`", "") for cell in line[1:-1].split("|")]
            if not columns:
                columns = cells
            elif not _SEPARATOR.fullmatch(line):
                assert len(cells) == len(columns), f"table {number}: {line}"
                found[number].append(dict(zip(columns, cells, strict=True)))
        elif line.strip():
            number = ""
    return found


def column(number: str, name: str) -> list[str]:
    return [row[name] for row in tables()[number]]


def setting_rows(settings: type[BaseModel], prefix: str = "") -> list[tuple[str, str, str]]:
    """Name, default and range of each key of a section, in the order of the code."""
    schema = settings.model_json_schema()
    rows = []
    for name, described in schema["properties"].items():
        field = settings.model_fields[name]
        default = "required" if field.is_required() else _shown(described.get("default"))
        rows.append((prefix + name, default, _range(described, schema.get("$defs", {}))))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    if value in (None, {}, ""):
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def _range(described: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a key may be, where the schema narrows it."""
    for inner in ("items", "propertyNames"):
        if inner in described:
            described = described[inner]
    if "$ref" in described:
        described = definitions[described["$ref"].rpartition("/")[2]]
    if "enum" in described:
        return ", ".join(described["enum"])
    if "exclusiveMinimum" in described:
        return f"> {described['exclusiveMinimum']:g}"
    if "maximum" in described:
        return f"{described['minimum']}–{described['maximum']}"
    if "minimum" in described:
        return f"≥ {described['minimum']}"
    if "maxLength" in described:
        return f"{described.get('minLength', 0)}–{described['maxLength']} characters"
    return "true, false" if described.get("type") == "boolean" else ""


def character_set_rows() -> list[tuple[str, str]]:
    """What an image may declare, and what its results then declare."""
    single = [term for term in python_encoding if term and not term.startswith("ISO 2022")]
    extensions = [term for term in python_encoding if term.startswith("ISO 2022 IR")]
    extended = [f"ISO 2022 IR 6\\{term}" for term in extensions if term != "ISO 2022 IR 6"]
    declared = ["", *single, *extended, "any other"]
    return [(each or "none", _character_set_of_result(each) or "none") for each in declared]


def _character_set_of_result(declared: str) -> str:
    source = deepcopy(created_objects()[REPORT][0].source)
    source.SpecificCharacterSet = declared.split("\\")
    report = build_report(
        source,
        NotAnalysed("doppler", "It shows Doppler."),
        model(0),
        revision=0,
        started_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    return str(report.get("SpecificCharacterSet", ""))
