"""The model at work, here or on a server: score and CAM in one pass."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dicom_sr.finding import Box, Decision
from service.analysis.batcher import Batcher
from service.analysis.gpu import GPUS, SizedRuns, provider_options
from service.analysis.model_package import ModelPackage
from service.analysis.onnx_runtime import ort
from service.analysis.preprocessing import Preprocessing, cam_to_image, preprocess
from service.sections import AnalysisSettings

_CPU = "CPUExecutionProvider"
INPUT = "image"
OUTPUTS = ("probabilities", "cam", "cam_benign")
DISTANCE = "distance"
"""A further output of packages that have an out-of-distribution gate."""
_ERRORS_ONLY = 3


class InferenceError(Exception):
    """The model cannot be used as it was asked for; the text says what to do."""


@dataclass(frozen=True)
class Score:
    """What the network says of one image.

    probability_malignant, probability_benign: 0–1, their sum is exactly 1.
    cams: Grad-CAM of each class's logit, ``(h, w)`` float32 on the network's own grid.
    distance: how unlike the training images the image is, for the manifest's
        ``out_of_distribution.limit``; None where the package has no gate.
    """

    probability_malignant: float
    probability_benign: float
    cams: Mapping[Decision, NDArray[np.float32]]
    distance: float | None = None


class Runner(Protocol):
    """What computes the network: this process, or a server. Thread-safe."""

    @property
    def provider(self) -> str:
        """What really runs the model: an execution provider, or a server's kind."""

    def run(self, images: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """``(n, 3, size, size)`` to the outputs of ``outputs_of``, ``(n, …)`` each."""

    def what_is_wrong(self) -> str | None:
        """One line for an operator while nothing can be run; None while all is well."""

    def close(self) -> None: ...


class Scorer:
    """A warm model; safe to call from several threads.

    With ``settings.batch`` above 1, images of threads that call at the same time share a run.

    engine_cache: folder for TensorRT's compiled engines, which take minutes to build; without
        one they are built at each start.
    on_run: is told how many images each run scores.

    Raises InferenceError if the model cannot be loaded or used, or if ``require_gpu`` is set and it
    would run on the CPU. A server that is away is waited for: see ``what_is_wrong``.
    """

    def __init__(
        self,
        package: ModelPackage,
        settings: AnalysisSettings,
        engine_cache: Path | None = None,
        on_run: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._manifest = package.manifest
        self._on_run = on_run
        self._runner = _runner(package, settings, engine_cache)
        self._batcher: Batcher | None = None
        if settings.batch > 1:
            self._batcher = Batcher(self._run, settings.batch, settings.batch_wait_ms / 1000)
        try:
            if self.what_is_wrong() is None:
                self.score(np.zeros((64, 64), dtype=np.uint8))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End batcher and runner; a thread that waits for a score gets BatcherClosed."""
        if self._batcher is not None:
            self._batcher.close()
        self._runner.close()

    @property
    def provider(self) -> str:
        """What really runs the model."""
        return self._runner.provider

    def what_is_wrong(self) -> str | None:
        """Why nothing can be scored now, in one line; None while all is well."""
        return self._runner.what_is_wrong()

    def score(self, image: NDArray[np.uint8]) -> Score:
        """Score ``(H, W)`` grey or ``(H, W, 3)`` RGB uint8, already cropped to the box.

        Raises InferenceError if the network's answer is not a probability, or none can be had; if
        that is a server's outage, it is an Outage too.
        """
        pixels = preprocess(image, self._manifest.preprocessing)
        answers = (
            self._run(pixels[None])
            if self._batcher is None
            else self._batcher.submit(pixels).result()
        )
        probabilities, malignant_cam, benign_cam, *gate = answers
        total = float(probabilities[0].astype(np.float64).sum())
        if not abs(total - 1) < 0.01:
            raise InferenceError("the network's output is not a probability: verify the model")
        malignant = float(probabilities[0, self._manifest.malignant_index]) / total
        cams = {Decision.MALIGNANT: malignant_cam[0], Decision.BENIGN: benign_cam[0]}
        return Score(malignant, 1 - malignant, cams, float(gate[0][0]) if gate else None)

    def _run(self, images: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        self._on_run(len(images))
        return self._runner.run(images)

    def unlike_training(self, score: Score) -> bool:
        """Whether the image lies beyond the gate's limit; a distance that is no number does."""
        gate = self._manifest.out_of_distribution
        if gate is None or score.distance is None:
            return False
        return not score.distance <= gate.limit

    def heatmap(self, score: Score, logit: Decision, box: Box) -> NDArray[np.float32]:
        """The CAM of one logit over the box that was scored.

        Returns ``(box.height, box.width)`` float32, maximum 1, or all 0 if nothing raised the
        logit. Raises InferenceError if the CAM is not finite.
        """
        spec = self._manifest.preprocessing
        return heatmap_of(score.cams[logit], box.height, box.width, spec)


class OnnxRunner:
    """An ONNX Runtime session of this process, which serialises what it must.

    No more images are scored at the same time than the cores are enough for: two runs that want
    all of them cost each other more than they gain.
    """

    def __init__(
        self, package: ModelPackage, settings: AnalysisSettings, engine_cache: Path | None
    ) -> None:
        self._session = make_session(package, settings, engine_cache)
        self._outputs = outputs_of(package)
        if settings.require_gpu and self.provider == _CPU:
            raise InferenceError(
                "analysis.require_gpu is set, but the model would run on the CPU. Install "
                "onnxruntime-gpu (the extra `gpu`) in place of onnxruntime, with a driver and "
                "CUDA that it supports, list a GPU provider in analysis.providers, or unset "
                "analysis.require_gpu"
            )
        self._runs = threading.BoundedSemaphore(runs_at_once(settings.threads))
        self._sized_runs: SizedRuns | None = None
        if self.provider in GPUS:
            size = package.manifest.preprocessing.size
            self._sized_runs = SizedRuns(self._session, self._outputs, size, most=settings.batch)

    @property
    def provider(self) -> str:
        """The execution provider that really runs the model."""
        return str(self._session.get_providers()[0])

    def run(self, images: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        with self._runs:
            if self._sized_runs is not None:
                return self._sized_runs.run(images)
            answers: list[NDArray[np.float32]] = self._session.run(
                list(self._outputs), {INPUT: images}
            )
        return answers

    def what_is_wrong(self) -> str | None:
        return None

    def close(self) -> None:
        """Nothing: the session ends with its last user."""


def _runner(package: ModelPackage, settings: AnalysisSettings, engine_cache: Path | None) -> Runner:
    if settings.triton is None:
        return OnnxRunner(package, settings, engine_cache)
    try:
        from service.analysis.triton import TritonRunner
    except ModuleNotFoundError:
        raise InferenceError(
            "analysis.triton needs the extra `triton`: pip install 'secondread[cpu,triton]'"
        ) from None
    return TritonRunner(package, settings, settings.triton)


def runs_at_once(threads: int) -> int:
    """How many runs of so many threads each the cores of this process hold; 0 is all cores."""
    return max(1, len(os.sched_getaffinity(0)) // threads) if threads else 1


def heatmap_of(
    grid: NDArray[np.float32], height: int, width: int, spec: Preprocessing
) -> NDArray[np.float32]:
    """A raw CAM ``(h, w)`` on the image that was preprocessed.

    Returns ``(height, width)`` float32, maximum 1, or all 0. Raises InferenceError if the CAM is
    not finite.
    """
    if not np.isfinite(grid).all():
        raise InferenceError("the network's CAM is not finite: verify the model")
    cam = cam_to_image(grid, height, width, spec)
    highest = cam.max()
    return cam / highest if highest > 0 else cam


def outputs_of(package: ModelPackage) -> tuple[str, ...]:
    """The graph's outputs that the service reads; the gate's distance only where there is one."""
    return OUTPUTS if package.manifest.out_of_distribution is None else (*OUTPUTS, DISTANCE)


def make_session(
    package: ModelPackage, settings: AnalysisSettings, engine_cache: Path | None = None
) -> ort.InferenceSession:
    """A session on the first provider of the settings that works. Raises InferenceError."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.log_severity_level = _ERRORS_ONLY
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "1" if settings.spinning else "0"
    )
    available = ort.get_available_providers()
    wanted = [name for name in settings.providers if name in available]
    if not wanted:
        raise InferenceError(
            f"none of analysis.providers is installed; ONNX Runtime has {', '.join(available)}"
        )
    if wanted[0] in GPUS:
        ort.preload_dlls()
    try:
        return ort.InferenceSession(
            package.model_path,
            options,
            providers=wanted,
            provider_options=[
                provider_options(
                    name,
                    settings,
                    input_name=INPUT,
                    input_size=package.manifest.preprocessing.size,
                    sha256=package.manifest.sha256,
                    engine_cache=engine_cache,
                )
                for name in wanted
            ],
        )
    except Exception as error:
        raise InferenceError(
            f"ONNX Runtime cannot load {package.model_path} ({type(error).__name__}); "
            "run `secondread model verify` on the package"
        ) from error
