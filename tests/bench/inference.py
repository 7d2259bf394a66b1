"""What a score with its heatmap costs: against the machine's sgemm, the score alone, and others.

The whole worker under load is in ``saturation.py``.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.utils import Extractor
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from rich.progress import track

from model_export.export import export_onnx
from model_export.network import MALIGNANT, Classifier
from service.analysis.onnx_runtime import ort
from tests.bench import saturation
from tests.bench.figure import Figure, Peer
from tests.bench.flops import flops

_EDGE = 4096
"""Of the square matrices of the sgemm: large enough that memory does not hold it up."""


@dataclass(frozen=True)
class _Size:
    """edge: of the input in pixels. rounds: each measures every way once.
    passes: of the short ways in a round, so that a round is longer than a scheduler's slice."""

    edge: int
    rounds: int
    passes: int


def measure(scratch: Path, *, quick: bool) -> list[Figure]:
    """The network by itself at the paper's size and at ImageNet's, then the saturated worker."""
    sizes = (_Size(224, 3, 2),) if quick else (_Size(1024, 9, 1), _Size(224, 15, 8))
    figures = [figure for size in sizes for figure in _measure_size(scratch, size)]
    return figures + saturation.measure(scratch, quick=quick)


def _measure_size(scratch: Path, size: _Size) -> list[Figure]:
    """All ways in turn, round by round, so that a noisy machine is noisy to all of them.

    The weights are random: they do not change the time.
    """
    load = os.getloadavg()[0]
    torch.manual_seed(0)
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    model = Classifier().eval()
    whole, score_only = scratch / "cam.onnx", scratch / "score.onnx"
    export_onnx(model, size.edge, whole)
    extracted = Extractor(onnx.load(whole)).extract_model(["image"], ["probabilities"])
    onnx.save(extracted, score_only)
    one_pass, alone = _session(whole, threads), _session(score_only, threads)
    shape = (1, 3, size.edge, size.edge)
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    tensor, matrix = torch.from_numpy(image), torch.randn(_EDGE, _EDGE)
    with GradCAM(model=model, target_layers=[model.backbone.net.layer4[-1]]) as grad_cam:
        target = [ClassifierOutputTarget(MALIGNANT)]
        ways: dict[str, tuple[int, Callable[[], object]]] = {
            "one pass": (size.passes, lambda: one_pass.run(None, {"image": image})),
            "sgemm": (1, lambda: torch.mm(matrix, matrix)),
            "score only": (size.passes, lambda: alone.run(None, {"image": image})),
            "pytorch-grad-cam": (1, lambda: grad_cam(input_tensor=tensor, targets=target)),
        }
        seconds = _in_turn(ways, size.rounds, f"CAM at {size.edge} px")

    def ratio(a: str, b: str) -> float:
        # Round by round, for what disturbs the machine disturbs neighbours alike.
        pairs = zip(seconds[a], seconds[b], strict=True)
        return statistics.median(x / y for x, y in pairs)

    work = flops(onnx.load(whole)) / 1e9
    ceiling = statistics.median(2 * _EDGE**3 / 1e9 / value for value in seconds["sgemm"])
    ours = ceiling * work / (2 * _EDGE**3 / 1e9) * ratio("sgemm", "one pass")
    median = {name: statistics.median(values) for name, values in seconds.items()}
    detail = ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in median.items())
    at = f"{size.edge} px"
    return [
        Figure(
            f"score and CAM in one pass, {at}",
            ours,
            "GFLOP/s",
            "≥ 0.95",
            Peer(f"sgemm of {_EDGE}³, {threads} threads", ceiling),
            load,
            f"{work:.1f} GFLOP an image; {detail}",
        ),
        Figure(
            f"CAM and score ÷ score only, {at}",
            ratio("one pass", "score only"),
            "×",
            "≤ 1.03",
            load=load,
            detail=detail,
        ),
        Figure(
            f"pytorch-grad-cam ÷ ours, {at}",
            ratio("pytorch-grad-cam", "one pass"),
            "×",
            "≥ 3",
            load=load,
            detail=detail,
        ),
    ]


def _in_turn(
    ways: dict[str, tuple[int, Callable[[], object]]], rounds: int, title: str
) -> dict[str, list[float]]:
    """Seconds of one pass of each way, by round; the first, untimed round warms up."""
    for _, way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in track(range(rounds), description=title):
        for name, (passes, way) in ways.items():
            began = time.perf_counter()
            for _ in range(passes):
                way()
            seconds[name].append((time.perf_counter() - began) / passes)
    return seconds


def _session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
