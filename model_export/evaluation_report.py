"""What ``evaluate`` tells: tables for the terminal and for files, and two figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model_export.calibration import OperatingPoint
from model_export.evaluation import ByPatient, Evaluation, Scored
from model_export.figures import RocLine, calibration_figure, roc_figure, save_figure
from model_export.json_values import plain
from model_export.network import CLASSES
from model_export.statistics import AucInterval, Interval
from model_export.subgroups import FEWEST, Subgroup
from model_export.tables import Table, markdown_page

REPORT, REPORT_JSON, SCORES = "report.md", "report.json", "scores.csv"


@dataclass(frozen=True)
class EvaluationReport:
    """model, images: in words. mark: see :meth:`model_export.provenance.Standing.mark`."""

    model: str
    images: str
    mark: str
    point: OperatingPoint
    evaluation: Evaluation
    by_patient: ByPatient | None
    subgroups: tuple[Subgroup, ...]

    @property
    def title(self) -> str:
        return f"{self.model} on {self.images}"


def tables(report: EvaluationReport) -> list[Table]:
    """The figures, then the subgroups."""
    found = [_figures(report)]
    columns = list(dict.fromkeys(group.column for group in report.subgroups))
    for column in columns:
        groups = [group for group in report.subgroups if group.column == column]
        found.append(_subgroups(report, column, groups))
    return found


def write_report(report: EvaluationReport, scored: Scored, folder: Path) -> None:
    """Write report.md, report.json, scores.csv, and roc and calibration as PNG and SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    point, e = report.point, report.evaluation
    introduction = [
        f"Model: {report.model}",
        f"Images: {report.images}: {e.images} of {e.patients} patients, {e.malignant} malignant",
        f"Operating point `{point.name}`: malignant from {point.threshold:.4f} on ({point.rule})",
        *([f"**{report.mark}**"] if report.mark else []),
    ]
    page = markdown_page(f"Evaluation of {report.model}", introduction, tables(report))
    page += "\n![ROC curve](roc.png)\n\n![Calibration plot](calibration.png)\n"
    (folder / REPORT).write_text(page, encoding="utf-8")
    (folder / REPORT_JSON).write_text(_json(report), encoding="utf-8")
    rows = zip(scored.images, scored.labels, scored.scores, strict=True)
    scores = Table(
        "Scores",
        ("file", "label", "score"),
        tuple((i.file, CLASSES[label], f"{s:.6f}") for i, label, s in rows),
        report.mark,
    )
    (folder / SCORES).write_text(scores.csv(), encoding="utf-8")
    title = f"{report.title}: {report.mark}" if report.mark else report.title
    operating = (1 - e.specificity.value, e.sensitivity.value)
    line = RocLine(report.model, e.auc, scored.labels, scored.scores, operating)
    save_figure(roc_figure([line], title), folder / "roc")
    calibration = calibration_figure(scored.labels, scored.scores, title)
    save_figure(calibration, folder / "calibration")


def _figures(report: EvaluationReport) -> Table:
    e, by_patient = report.evaluation, report.by_patient or ByPatient(None, None)
    at = f"at `{e.operating_point}` ({e.threshold:.4f})"
    rows = [
        ("images (malignant)", f"{e.images} ({e.malignant})", ""),
        ("patients", str(e.patients), ""),
        ("AUC", str(e.auc), _patient(e.auc_by_patient)),
        (f"sensitivity {at}", str(e.sensitivity), _patient(by_patient.sensitivity)),
        (f"specificity {at}", str(e.specificity), _patient(by_patient.specificity)),
        (f"accuracy {at}", str(e.accuracy), ""),
        (f"precision {at}", str(e.precision or "nothing was called malignant"), ""),
        (f"F1 {at}", f"{e.f1:.3f}", ""),
        ("Brier score", f"{e.brier:.3f}", ""),
        ("expected calibration error", f"{e.calibration_error:.3f}", ""),
    ]
    notes = [
        "In brackets 95 % intervals: DeLong's for the AUC, Wilson's for shares, both as if images "
        "were independent."
    ]
    if e.pointing_hits is not None and e.energy_inside is not None and e.lesion_share is not None:
        rows += [
            ("heatmap's maximum inside the lesion", f"{e.pointing_hits:.3f}", ""),
            ("heatmap's energy inside the lesion", f"{e.energy_inside:.3f}", ""),
            ("share of the image that the lesion covers", f"{e.lesion_share:.3f}", ""),
        ]
        notes.append(f"The heatmap (Grad-CAM of the decision) was judged on {e.masked} masks.")
    columns: tuple[str, ...] = ("figure", "value (95 % CI)", "bootstrap by patient")
    if report.by_patient is None:
        columns = columns[:2]
        return Table(
            report.title, columns, tuple(row[:2] for row in rows), report.mark, tuple(notes)
        )
    notes.append("Patients have several images: the interval by patient is the one to quote.")
    return Table(report.title, columns, tuple(rows), report.mark, tuple(notes))


def _patient(interval: Interval | AucInterval | None) -> str:
    return "too few patients" if interval is None else f"{interval.lower:.3f}–{interval.upper:.3f}"


def _subgroups(report: EvaluationReport, column: str, groups: Sequence[Subgroup]) -> Table:
    rows = tuple(
        (
            group.name,
            f"{group.images} ({group.malignant})",
            str(group.patients),
            str(group.auc),
            str(group.sensitivity),
            str(group.specificity),
        )
        for group in groups
    )
    columns = (column, "images (malignant)", "patients", "AUC", "sensitivity", "specificity")
    note = (
        f"Figures need {FEWEST} images of the class; the more subgroups, the more differ by chance."
    )
    return Table(f"{report.title}, by {column}", columns, rows, report.mark, (note,))


def _json(report: EvaluationReport) -> str:
    content = {
        "model": report.model,
        "images": report.images,
        "mark": report.mark or None,
        "operating_point": plain(asdict(report.point)),
        "evaluation": plain(asdict(report.evaluation)),
        "by_patient": _by_patient(report),
        "subgroups": [_group(group) for group in report.subgroups],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _by_patient(report: EvaluationReport) -> Any:
    if report.by_patient is None:
        return None
    area = report.evaluation.auc_by_patient
    auc = None if area is None else Interval(area.auc, area.lower, area.upper)
    return plain({"auc": auc and asdict(auc), **asdict(report.by_patient)})


def _group(group: Subgroup) -> Any:
    figures = {
        name: asdict(figure) if isinstance(figure, AucInterval) else plain(figure)
        for name, figure in vars(group).items()
    }
    return plain(figures)
