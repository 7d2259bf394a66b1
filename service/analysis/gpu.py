"""ONNX Runtime on a GPU: the providers' options, and the sizes of batches that are run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.analysis.onnx_runtime import ort
from service.sections import AnalysisSettings

TENSORRT, CUDA = "TensorrtExecutionProvider", "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
GPUS = (TENSORRT, CUDA)

_DIGITS = 16


def batch_sizes(most: int) -> tuple[int, ...]:
    """1, 2, 4, … and ``most``: the only sizes that a GPU runs.

    A new size costs it a search for its fastest convolutions, so there are few, and all are run
    at the start.
    """
    sizes = {1 << power for power in range(most.bit_length())}
    return tuple(sorted({size for size in sizes if size < most} | {most}))


def provider_options(
    name: str,
    settings: AnalysisSettings,
    *,
    input_name: str,
    input_size: int,
    sha256: str,
    engine_cache: Path | None,
) -> dict[str, str]:
    """Options of an execution provider for ``(1 … settings.batch, 3, size, size)`` inputs.

    sha256: of the model; an engine is that of one model, one precision and one largest batch.
    engine_cache: folder for TensorRT's engines and timings, made if it is missing.
    """
    if name == CUDA:
        options = {
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": str(int(settings.tf32)),
        }
        if settings.gpu_megabytes:
            options["gpu_mem_limit"] = str(settings.gpu_megabytes << 20)
        return options
    if name == TENSORRT:
        shape = f"3x{input_size}x{input_size}"
        options = {
            "trt_fp16_enable": str(settings.fp16),
            "trt_profile_min_shapes": f"{input_name}:1x{shape}",
            "trt_profile_opt_shapes": f"{input_name}:{settings.batch}x{shape}",
            "trt_profile_max_shapes": f"{input_name}:{settings.batch}x{shape}",
        }
        if engine_cache is not None:
            precision = "float16" if settings.fp16 else "float32"
            folder = engine_cache / f"{sha256[:_DIGITS]}-{precision}-{settings.batch}"
            folder.mkdir(parents=True, exist_ok=True)
            options |= {
                "trt_engine_cache_enable": "True",
                "trt_engine_cache_path": str(folder),
                "trt_timing_cache_enable": "True",
                "trt_timing_cache_path": str(engine_cache),
            }
        return options
    if name == OPENVINO:
        # Otherwise it computes in bfloat16 where the processor can.
        options = {"device_type": "CPU", "precision": "FP32"}
        if settings.threads:
            options["num_of_threads"] = str(settings.threads)
        return options
    return {}


class SizedRuns:
    """A session that is only given batches of a few sizes, each of them run once at the start.

    So engines and convolutions are chosen before the first image; with TensorRT and an empty cache
    this takes minutes. Thread-safe.

    most: images of a run.
    """

    def __init__(
        self, session: ort.InferenceSession, outputs: Sequence[str], input_size: int, *, most: int
    ) -> None:
        self._session = session
        self._outputs = list(outputs)
        self._input = session.get_inputs()[0].name
        self._sizes = batch_sizes(most)
        for size in self._sizes:
            self.run(np.zeros((size, 3, input_size, input_size), dtype=np.float32))

    def run(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The outputs, ``(n, …)`` each, for ``(n, 3, size, size)`` with 1 ≤ n ≤ ``most``.

        Between two sizes the batch is filled up with zeros; their answers are dropped.
        """
        count = len(images)
        size = next(size for size in self._sizes if size >= count)
        if size > count:
            filled = np.zeros((size, *images.shape[1:]), dtype=np.float32)
            filled[:count] = images
            images = filled
        outputs = self._session.run(self._outputs, {self._input: images})
        return [output[:count] for output in outputs]
