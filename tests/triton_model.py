"""Runs inside Triton's Python back end, in an interpreter that knows no environment yet."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


class TritonPythonModel:
    """``model.onnx`` beside this file, by ONNX Runtime."""

    def initialize(self, arguments: dict[str, str]) -> None:
        config = json.loads(arguments["model_config"])
        sys.path.insert(0, config["parameters"]["packages"]["string_value"])
        import onnxruntime

        self.outputs = [output["name"] for output in config["output"]]
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = Path(__file__).with_name("model.onnx")
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        import triton_python_backend_utils as triton

        # Triton's conversion of arrays was built for NumPy 1, and fails silently with NumPy 2;
        # DLPack does not.
        return [self._response(triton, request) for request in requests]

    def _response(self, triton: Any, request: Any) -> Any:
        import numpy as np

        images = np.from_dlpack(triton.get_input_tensor_by_name(request, "image"))
        answers = self.session.run(self.outputs, {"image": images})
        return triton.InferenceResponse(
            [
                triton.Tensor.from_dlpack(name, answer)
                for name, answer in zip(self.outputs, answers, strict=True)
            ]
        )
