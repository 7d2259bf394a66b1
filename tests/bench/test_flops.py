"""The arithmetic that a throughput is divided by."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.sections import REFERENCE_MODEL
from tests.bench.flops import flops


def _model(edge: int | str) -> onnx.ModelProto:
    weights = {"filter": (6, 3, 3, 3), "wide": (6, 5), "tall": (4, 5)}
    nodes = [
        helper.make_node("Conv", ["image", "filter"], ["map"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["map", "axes"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "wide"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "tall"], ["logits"], transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, edge, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])
    constants = [numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in weights.items()]
    constants.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    graph = helper.make_graph(nodes, "small", [image], [logits], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_each_multiply_add_counts_twice() -> None:
    convolution, matmul, gemm = (6 * 4 * 4) * (3 * 3 * 3), 5 * 6, 4 * 5
    assert flops(_model(8)) == 2 * (convolution + matmul + gemm)


def test_an_unknown_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match="not known"):
        flops(_model("rows"))


def test_the_reference_model_is_a_resnet50() -> None:
    """4.09 giga multiply-adds at 224 px (He et al.), which grow with the pixels: 352 px here."""
    expected = 2 * 4.09e9 * (352 / 224) ** 2
    assert flops(onnx.load(REFERENCE_MODEL / "model.onnx")) == pytest.approx(expected, rel=0.01)
