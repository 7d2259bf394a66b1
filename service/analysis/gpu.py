"""ONNX Runtime on a GPU: the providers' options, and buffers that stay on the device."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.analysis.onnx_runtime import ort
from service.config import AnalysisSettings

TENSORRT, CUDA = "TensorrtExecutionProvider", "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
DEVICES = {TENSORRT: "cuda", CUDA: "cuda"}
"""Providers that profit from buffers on their device, and its name."""

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


class DeviceRuns:
    """A session whose inputs have their places on the device. Thread-safe: one run at a time.

    device: ``cuda``, or ``cpu``, where it copies for nothing and works all the same.
    most: images of a run.

    The constructor runs every batch size once, so that engines and convolutions are chosen before
    the first image; with TensorRT and an empty cache this takes minutes.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        outputs: Sequence[str],
        input_size: int,
        *,
        most: int,
        device: str,
    ) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._sizes = batch_sizes(most)
        self._staged: dict[int, NDArray[np.float32]] = {}
        self._placed: dict[int, ort.OrtValue] = {}
        self._bindings: dict[int, ort.IOBinding] = {}
        for size in self._sizes:
            shape = (size, 3, input_size, input_size)
            self._staged[size] = np.zeros(shape, dtype=np.float32)
            self._placed[size] = ort.OrtValue.ortvalue_from_numpy(self._staged[size], device, 0)
            binding = session.io_binding()
            binding.bind_ortvalue_input(session.get_inputs()[0].name, self._placed[size])
            for name in outputs:
                binding.bind_output(name, device, 0)
            self._bindings[size] = binding
            session.run_with_iobinding(binding)

    def run(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The outputs, ``(n, …)`` each, for ``(n, 3, size, size)`` with 1 ≤ n ≤ ``most``.

        Between two sizes the rows beyond n hold what was there before; their answers are dropped.
        """
        count = len(images)
        size = next(size for size in self._sizes if size >= count)
        with self._lock:
            self._staged[size][:count] = images
            self._placed[size].update_inplace(self._staged[size])
            self._session.run_with_iobinding(self._bindings[size])
            outputs = self._bindings[size].copy_outputs_to_cpu()
        return [output[:count] for output in outputs]
