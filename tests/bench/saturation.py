"""A worker that never waits for images: how near it comes to bare ONNX Runtime."""

from __future__ import annotations

import os
import resource
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
from service.journal.records import ImageState
from service.sections import REFERENCE_MODEL, AnalysisSettings
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
    cpu: Counter[str] = Counter()
    with (
        closing(Analyser(settings)) as analyser,
        ThreadPoolExecutor(settings.concurrency) as threads,
    ):

        def analyse(path: Path) -> Analysis:
            return analyser.analyse(path, revision=0, started_at=_STARTED)

        for number in track(range(rounds + 1), description=f"saturated worker, {size} px"):
            began, cpu_began = time.perf_counter(), _cpu_seconds()
            done = list(threads.map(analyse, files))
            between, cpu_between = time.perf_counter(), _cpu_seconds()
            for _ in files:
                bare.run(outputs, {INPUT: noise})
            ended, cpu_ended = time.perf_counter(), _cpu_seconds()
            if any(analysis.outcome.state is not ImageState.ANALYSED for analysis in done):
                raise RuntimeError("an image was not analysed")
            if number:  # the first round warms up
                ours.append(len(files) / (between - began))
                theirs.append(len(files) / (ended - between))
                cpu["ours"] += cpu_between - cpu_began
                cpu["theirs"] += cpu_ended - cpu_between
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
        f"{images} images; ms each by stage, waiting included: {spent}; CPU ms each, without the"
        f" decoder's process: {1000 * cpu['ours'] / images:.0f}, bare"
        f" {1000 * cpu['theirs'] / images:.0f}, so no more than"
        f" {cpu['theirs'] / cpu['ours']:.2f} where all cores are busy",
    )


def _cpu_seconds() -> float:
    """Of this process and of its ended children, which are the checks of objects."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
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
