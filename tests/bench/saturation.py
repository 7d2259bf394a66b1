"""A worker that never waits for images: how near it comes to bare ONNX Runtime."""

from __future__ import annotations

import os
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from model_export.export import export_onnx
from model_export.network import Classifier
from model_export.package import write_manifest
from service.analysis.analyser import Analyser, Analysis
from service.analysis.inference import INPUT, make_session, outputs_of
from service.analysis.model_package import MODEL_FILE, file_sha256, load_model_package
from service.config import REFERENCE_MODEL, AnalysisSettings
from service.journal.records import ImageState
from tests.bench.figure import Figure, Peer
from tests.bench.scans import Scans

_STARTED = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """With the reference model, and with one of the paper's input size."""
    scans = Scans()
    files = [scans.save(scratch / f"{number}.dcm") for number in range(4 if quick else 16)]
    figures = [_measure_model(REFERENCE_MODEL, files, 2 if quick else 8)]
    if not quick:
        figures.append(_measure_model(_package(scratch / "package", 1024), files[:4], 6))
    return figures


def _measure_model(model: Path, files: list[Path], rounds: int) -> Figure:
    """All files through the analyser, then as many bare runs, round by round."""
    load = os.getloadavg()[0]
    settings = AnalysisSettings(model=model)
    package = load_model_package(model)
    size = package.manifest.preprocessing.size
    noise = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    bare, outputs = make_session(package, settings), list(outputs_of(package))
    ours: list[float] = []
    theirs: list[float] = []
    stages: Counter[str] = Counter()
    with (
        closing(Analyser(settings)) as analyser,
        ThreadPoolExecutor(settings.concurrency) as threads,
    ):

        def analyse(path: Path) -> Analysis:
            return analyser.analyse(path, revision=0, started_at=_STARTED)

        for number in track(range(rounds + 1), description=f"saturated worker, {size} px"):
            began = time.perf_counter()
            done = list(threads.map(analyse, files))
            between = time.perf_counter()
            for _ in files:
                bare.run(outputs, {INPUT: noise})
            ended = time.perf_counter()
            if any(analysis.outcome.state is not ImageState.ANALYSED for analysis in done):
                raise RuntimeError("an image was not analysed")
            if number:  # the first round warms up
                ours.append(len(files) / (between - began))
                theirs.append(len(files) / (ended - between))
                for analysis in done:
                    stages.update(analysis.outcome.stage_seconds)
    peer = statistics.median(theirs)
    # Round by round, for what disturbs the machine disturbs neighbours alike.
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    images = rounds * len(files)
    spent = ", ".join(f"{name} {1000 * value / images:.0f}" for name, value in stages.items())
    return Figure(
        f"saturated worker, {size} px, {settings.concurrency} at a time",
        ratio * peer,
        "images/s",
        "≥ 0.97",
        Peer("bare ONNX Runtime", peer),
        load,
        f"{images} images; ms each by stage, waiting included: {spent}",
    )


def _package(folder: Path, size: int) -> Path:
    """The reference network for another input; its weights are random, which takes as long."""
    torch.manual_seed(0)
    folder.mkdir()
    export_onnx(Classifier().eval(), size, folder / MODEL_FILE)
    manifest = load_model_package(REFERENCE_MODEL).manifest
    changes = {
        "sha256": file_sha256(folder / MODEL_FILE),
        "preprocessing": manifest.preprocessing.model_copy(update={"size": size}),
        "out_of_distribution": None,
    }
    write_manifest(folder, manifest.model_copy(update=changes))
    return folder
