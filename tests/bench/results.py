"""What the result objects of one image cost: CPU time from the finding to the files' bytes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from rich.progress import track

from dicom_sr.finding import Box, Finding, ModelIdentity
from dicom_sr.overlay import draw_overlay
from dicom_sr.part10 import part10_bytes
from dicom_sr.report import build_report
from dicom_sr.secondary_capture import build_secondary_capture
from dicom_sr.validity import problems
from tests.bench.figure import Figure

SIZES = ((640, 480), (1024, 768))
MODEL = ModelIdentity("bench", "1", "0123456789abcdef" * 4, ("input=1024x1024 luminance",))


def measure(_scratch: Path, *, quick: bool) -> list[Figure]:
    """SR and SC together, and the check that they pass before they leave, for two image sizes."""
    rounds = 5 if quick else 50
    return [figure for width, height in SIZES for figure in _measure_size(width, height, rounds)]


def _measure_size(width: int, height: int, rounds: int) -> list[Figure]:
    source, frame = _source(width, height), np.full((height, width, 3), 60, np.uint8)
    box = Box(width // 20, height // 20, width - width // 20, height - height // 20)
    finding = Finding(1, 1, box, "ultrasound region", 0.73, 0.27, 0.41, _cam(box))
    about = {"revision": 0, "started_at": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)}
    overlay = draw_overlay(frame, finding, MODEL)
    report = build_report(source, finding, MODEL, **about)
    capture = build_secondary_capture(source, overlay, finding, MODEL, **about)
    stages: dict[str, Callable[[], object]] = {
        "SR": lambda: build_report(source, finding, MODEL, **about),
        "its bytes": lambda: part10_bytes(report),
        "overlay": lambda: draw_overlay(frame, finding, MODEL),
        "SC": lambda: build_secondary_capture(source, overlay, finding, MODEL, **about),
        "SC's bytes": lambda: part10_bytes(capture),
        "SR's check": lambda: problems(report, source),
        "SC's check": lambda: problems(capture, source),
    }
    spent: dict[str, list[float]] = {name: [] for name in stages}
    for _ in track(range(rounds), description=f"results at {width}x{height}"):
        for name, stage in stages.items():
            began = time.process_time()
            stage()
            spent[name].append(1000 * (time.process_time() - began))
    median = {name: statistics.median(times) for name, times in spent.items()}
    parts = list(stages)[:5]
    # Round by round, for the sum of medians is no median.
    sums = [sum(round_) for round_ in zip(*(spent[name] for name in parts), strict=True)]
    detail = ", ".join(f"{name} {median[name]:.1f}" for name in parts)
    detail += f"; least {min(sums):.1f} of {rounds} rounds"
    size = f"{width}x{height}"
    load = os.getloadavg()[0]
    whole = f"SR and SC of one image, {size}"
    checks = [
        Figure(f"check of the {kind}, {size}", median[f"{kind}'s check"], "ms CPU", goal, load=load)
        for kind, goal in (("SR", "≤ 5"), ("SC", "≤ 3"))
    ]
    figure = Figure(whole, statistics.median(sums), "ms CPU", "≤ 25", load=load, detail=detail)
    return [figure, *checks]


def _source(width: int, height: int) -> Dataset:
    header = Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.6.1"
    header.SOPInstanceUID, header.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    header.StudyInstanceUID = "1.2.3.3"
    header.PatientName, header.PatientID = "Doe^Jane", "P-17"
    header.Manufacturer = "Maker"
    header.Columns, header.Rows = width, height
    return header


def _cam(box: Box) -> NDArray[np.float32]:
    """Two hot spots on a warm ground, ``(box.height, box.width)``, so that no pixel is left out."""
    rows = np.linspace(0, 1, box.height)[:, None]
    columns = np.linspace(0, 1, box.width)[None, :]
    cam = 0.15 * rows * columns
    for row, column, height in ((0.45, 0.6, 1.0), (0.7, 0.2, 0.6)):
        distance = ((rows - row) / 0.2) ** 2 + ((columns - column) / 0.15) ** 2
        cam = cam + height * np.exp(-distance)
    return (cam / cam.max()).astype(np.float32)
