"""What the heatmap costs: one pass against the score alone, and against pytorch-grad-cam."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
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
from tests.bench.figure import Figure


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measure(scratch: Path, size: int, rounds: int) -> list[Figure]:
    """Three ways in turn, round by round, so that a noisy machine is noisy to all of them.

    size: edge of the input in pixels. The weights are random: they do not change the time.
    """
    torch.manual_seed(0)
    model = Classifier().eval()
    whole, score_only = scratch / "cam.onnx", scratch / "score.onnx"
    export_onnx(model, size, whole)
    extracted = Extractor(onnx.load(whole)).extract_model(["image"], ["probabilities"])
    onnx.save(extracted, score_only)
    one_pass, alone = _session(whole), _session(score_only)
    image = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    tensor = torch.from_numpy(image)
    with GradCAM(model=model, target_layers=[model.backbone.net.layer4[-1]]) as grad_cam:
        target = [ClassifierOutputTarget(MALIGNANT)]
        ways: dict[str, Callable[[], object]] = {
            "one pass": lambda: one_pass.run(None, {"image": image}),
            "score only": lambda: alone.run(None, {"image": image}),
            "pytorch-grad-cam": lambda: grad_cam(input_tensor=tensor, targets=target),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            way()
        for _ in track(range(rounds), description=f"CAM at {size} px"):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - began)

    def ratio(a: str, b: str) -> float:
        # Round by round, for what disturbs the machine disturbs neighbours alike.
        pairs = zip(seconds[a], seconds[b], strict=True)
        return statistics.median(x / y for x, y in pairs)

    median = {name: statistics.median(values) for name, values in seconds.items()}
    detail = ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in median.items())
    return [
        Figure(
            f"CAM and score ÷ score only, {size} px",
            ratio("one pass", "score only"),
            "≤ 1.03",
            detail,
        ),
        Figure(
            f"pytorch-grad-cam ÷ ours, {size} px",
            ratio("pytorch-grad-cam", "one pass"),
            "≥ 3",
            detail,
        ),
    ]
