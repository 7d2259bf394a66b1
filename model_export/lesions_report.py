"""What ``lesions`` tells: tables for the terminal and for files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from model_export.calibration import OperatingPoint
from model_export.json_values import plain
from model_export.lesions import Figure, PerLesion
from model_export.statistics import Interval
from model_export.tables import Table, markdown_page, signed_text

REPORT, REPORT_JSON = "lesions.md", "lesions.json"
_TOO_FEW = "too few patients"
_NOTE = (
    "In brackets 95 % intervals from a bootstrap by patient. Images and lesions are judged at the "
    "same threshold, which was fixed per image."
)


@dataclass(frozen=True)
class LesionsReport:
    """model, images: in words. column: of the manifest, names lesions. mark: see ``Standing.mark``.

    all_lesions, several: of all lesions, and of those with several views alone; a rule each.
    """

    model: str
    images: str
    column: str
    mark: str
    point: OperatingPoint
    all_lesions: tuple[PerLesion, ...]
    several: tuple[PerLesion, ...]


def tables(report: LesionsReport) -> list[Table]:
    """All lesions, then those of which there are several views."""
    title = f"{report.model} on {report.images}, per lesion ({report.column})"
    found = [_table(title, report, report.all_lesions)]
    if report.several:
        found.append(_table(f"{title}, several views alone", report, report.several))
    return found


def write_report(report: LesionsReport, folder: Path) -> None:
    """Write lesions.md and lesions.json."""
    folder.mkdir(parents=True, exist_ok=True)
    point = report.point
    introduction = [
        f"Model: {report.model}",
        f"Images: {report.images}; lesions by {report.column}",
        f"Operating point `{point.name}`: malignant from {point.threshold:.4f} on ({point.rule})",
        *([f"**{report.mark}**"] if report.mark else []),
    ]
    page = markdown_page(f"{report.model} per lesion", introduction, tables(report))
    (folder / REPORT).write_text(page, encoding="utf-8")
    (folder / REPORT_JSON).write_text(as_json(report), encoding="utf-8")


def as_json(report: LesionsReport) -> str:
    content = plain(asdict(report)) | {"mark": report.mark or None}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _table(title: str, report: LesionsReport, judged: Sequence[PerLesion]) -> Table:
    rows: list[tuple[str, ...]] = []
    for each in judged:
        at = f"at `{report.point.name}` ({report.point.threshold:.4f})"
        rows += [
            (
                str(each.rule),
                "number (malignant)",
                f"{each.images} ({each.malignant_images})",
                f"{each.lesions} ({each.malignant_lesions})",
                f"{each.several_views} of several views",
            ),
            _row(each, "AUC", each.auc),
            _row(each, f"sensitivity {at}", each.sensitivity),
            _row(each, f"specificity {at}", each.specificity),
        ]
    columns = ("rule", "figure", "per image", "per lesion", "lesion less image")
    return Table(title, columns, tuple(rows), report.mark, (_NOTE,))


def _row(each: PerLesion, name: str, figure: Figure) -> tuple[str, ...]:
    difference = figure.difference
    return (
        str(each.rule),
        name,
        _value(figure.per_image),
        _value(figure.per_lesion),
        _TOO_FEW
        if difference is None
        else signed_text(difference.value, difference.lower, difference.upper),
    )


def _value(interval: Interval | None) -> str:
    return _TOO_FEW if interval is None else str(interval)
