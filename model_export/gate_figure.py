"""The gate's report on disk: the distances as a picture, the figures as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from model_export.figures import distance_figure, save_figure
from model_export.verification import GateReport


def write_gate_report(report: GateReport, folder: Path) -> None:
    """Write ``gate.json`` and ``gate.png``/``gate.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "auc": asdict(report.auc),
        "limit": report.limit,
        "inliers": report.inliers.size,
        "inliers_flagged": report.inliers_flagged.count,
        "outliers": report.outliers.size,
        "outliers_flagged": report.outliers_flagged.count,
        "outliers_left_out": report.left_out,
        "outlier_distances": np.round(np.sort(report.outliers), 4).tolist(),
    }
    (folder / "gate.json").write_text(json.dumps(content, indent=2) + "\n")
    figure = distance_figure(
        {
            f"images it is for ({report.inliers.size})": report.inliers,
            f"others ({report.outliers.size})": report.outliers,
        },
        report.limit,
        f"Distance to the training images: AUC {report.auc}",
    )
    save_figure(figure, folder / "gate")
