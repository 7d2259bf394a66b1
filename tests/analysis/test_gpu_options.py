"""What ONNX Runtime's providers are told; no GPU runs here."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.analysis.gpu import CUDA, OPENVINO, TENSORRT, provider_options
from service.sections import AnalysisSettings

SHA256 = "0123456789abcdef" * 4


def options(name: str, cache: Path | None = None, **changes: object) -> dict[str, str]:
    settings = AnalysisSettings.model_validate({"concurrency": 64, **changes})
    return provider_options(
        name, settings, input_name="image", input_size=352, sha256=SHA256, engine_cache=cache
    )


def test_cuda_computes_in_float32_unless_it_is_told() -> None:
    assert options(CUDA)["use_tf32"] == "0"
    assert options(CUDA, tf32=True)["use_tf32"] == "1"
    assert "gpu_mem_limit" not in options(CUDA)
    assert options(CUDA, gpu_megabytes=2048)["gpu_mem_limit"] == "2147483648"


def test_tensorrt_builds_one_engine_for_all_batches() -> None:
    found = options(TENSORRT, batch=8)
    assert found["trt_fp16_enable"] == "False"
    shapes = [found[f"trt_profile_{name}_shapes"] for name in ("min", "opt", "max")]
    assert shapes == ["image:1x3x352x352", "image:8x3x352x352", "image:8x3x352x352"]
    assert "trt_engine_cache_path" not in found


def test_engines_are_kept_apart_by_model_precision_and_batch(tmp_path: Path) -> None:
    variants: list[dict[str, object]] = [{}, {"fp16": True}, {"batch": 4}]
    paths = [options(TENSORRT, tmp_path, **one)["trt_engine_cache_path"] for one in variants]
    assert len(set(paths)) == 3
    assert all(Path(path).is_dir() and SHA256[:16] in Path(path).name for path in paths)


def test_openvino_computes_in_float32() -> None:
    assert options(OPENVINO) == {"device_type": "CPU", "precision": "FP32"}
    assert options(OPENVINO, threads=3)["num_of_threads"] == "3"
    assert OPENVINO not in AnalysisSettings().providers
    assert AnalysisSettings.model_validate({"providers": [OPENVINO]}).providers == (OPENVINO,)


def test_a_batch_that_can_never_fill_is_refused() -> None:
    with pytest.raises(ValidationError, match="concurrency"):
        AnalysisSettings(batch=3, concurrency=2)
